//! Tables `release`, `release_channel`, `delta`.

use crate::db::{Error, Tx};
use holdfast_proto::api::release::{Delta, DeltaState, Release};
use holdfast_proto::manifest::{DeltaCustom, Manifest};
use holdfast_proto::{Digest, ReleaseName};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A release's row with its manifest.
#[derive(Debug, Clone)]
pub struct ReleaseRow {
    pub hardware: String,
    pub manifest: Manifest,
    pub manifest_sha256: Digest,
    /// Bytes of the manifest as signed.
    pub manifest_len: u64,
    pub published_at: i64,
}

/// A delta that is offered.
#[derive(Debug, Clone)]
pub(super) struct OfferedDelta {
    pub(super) custom: DeltaCustom,
    pub(super) patch: Digest,
    pub(super) length: u64,
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Sql(sqlx::Error::Decode(Box::new(error)))
}

fn digest(row: &AnyRow, column: usize) -> Result<Digest, Error> {
    row.try_get::<String, _>(column)?.parse().map_err(decode)
}

const RELEASE_COLUMNS: &str = "hardware, manifest, manifest_sha256, published_at";

fn release(row: &AnyRow) -> Result<ReleaseRow, Error> {
    let bytes: Vec<u8> = row.try_get(1)?;
    Ok(ReleaseRow {
        hardware: row.try_get(0)?,
        manifest: serde_json::from_slice(&bytes).map_err(decode)?,
        manifest_sha256: digest(row, 2)?,
        manifest_len: bytes.len() as u64,
        published_at: row.try_get(3)?,
    })
}

/// True when it is new; false when the very same is there already.
pub(super) async fn release_put(
    tx: &mut Tx,
    tenant: &str,
    row: &ReleaseRow,
    bytes: &[u8],
) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO release (tenant_id, hardware, release, version, security_counter, manifest_sha256, manifest, \
         published_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, hardware, release) DO NOTHING",
    )
    .bind(tenant)
    .bind(&row.hardware)
    .bind(row.manifest.release.as_str())
    .bind(&row.manifest.version)
    .bind(row.manifest.security_counter as i64)
    .bind(row.manifest_sha256.to_hex())
    .bind(bytes.to_vec())
    .bind(row.published_at)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn release_row(
    tx: &mut Tx,
    tenant: &str,
    hardware: &str,
    name: &str,
) -> Result<Option<ReleaseRow>, Error> {
    let text =
        select(RELEASE_COLUMNS, "FROM release WHERE tenant_id = $1 AND hardware = $2 AND release = $3");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(hardware)
        .bind(name)
        .fetch_optional(tx.conn())
        .await?;
    row.as_ref().map(release).transpose()
}

/// By hardware and name after `after` (`hardware/name`).
pub(super) async fn release_list(
    tx: &mut Tx,
    tenant: &str,
    hardware: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<ReleaseRow>, Error> {
    let text = select(
        RELEASE_COLUMNS,
        "FROM release WHERE tenant_id = $1 AND ($2 = '' OR hardware = $2) AND hardware || '/' || release > $3 \
         ORDER BY hardware || '/' || release LIMIT $4",
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(hardware)
        .bind(after)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(release).collect()
}

fn select(columns: &str, rest: &str) -> String {
    format!("SELECT {columns} {rest}")
}

pub(super) async fn channels_of(
    tx: &mut Tx,
    tenant: &str,
    hardware: &str,
    name: &str,
) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(
        "SELECT channel FROM release_channel WHERE tenant_id = $1 AND hardware = $2 AND release = $3 ORDER BY channel",
    )
    .bind(tenant)
    .bind(hardware)
    .bind(name)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Channel, hardware and name of everything that is listed.
pub(super) async fn channels_all(tx: &mut Tx, tenant: &str) -> Result<Vec<(String, String, String)>, Error> {
    let rows = sqlx::query(
        "SELECT channel, hardware, release FROM release_channel WHERE tenant_id = $1 ORDER BY channel, hardware, release",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Replaces what a channel lists.
pub(super) async fn channel_set(
    tx: &mut Tx,
    tenant: &str,
    channel: &str,
    listed: &[(String, String)],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM release_channel WHERE tenant_id = $1 AND channel = $2")
        .bind(tenant)
        .bind(channel)
        .execute(tx.conn())
        .await?;
    for (hardware, name) in listed {
        sqlx::query(
            "INSERT INTO release_channel (tenant_id, channel, hardware, release) VALUES ($1, $2, $3, $4)",
        )
        .bind(tenant)
        .bind(channel)
        .bind(hardware)
        .bind(name)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

const DELTA_COLUMNS: &str = "base, output, state, codec, length, full_bytes, reason";

fn delta(row: &AnyRow) -> Result<Delta, Error> {
    let (state, codec, reason): (String, String, String) =
        (row.try_get(2)?, row.try_get(3)?, row.try_get(6)?);
    let state: DeltaState = serde_json::from_value(serde_json::Value::String(state)).map_err(decode)?;
    let built = matches!(state, DeltaState::Published | DeltaState::Withdrawn);
    Ok(Delta {
        base: digest(row, 0)?,
        output: digest(row, 1)?,
        state,
        codec: built.then_some(codec),
        bytes: if built { Some(row.try_get::<i64, _>(4)? as u64) } else { None },
        full_bytes: row.try_get::<i64, _>(5)? as u64,
        reason: Some(reason).filter(|text| !text.is_empty()),
    })
}

/// Queues a delta unless there is a row already.
pub(super) async fn delta_queue(
    tx: &mut Tx,
    tenant: &str,
    base: Digest,
    output: Digest,
    full_bytes: u64,
    now: i64,
) -> Result<(), Error> {
    let zero = Digest([0; 32]).to_hex();
    sqlx::query(
        "INSERT INTO delta (tenant_id, base, output, state, codec, patch, length, ram_bytes, block_root, full_bytes, \
         reason, created_at) VALUES ($1, $2, $3, 'queued', '', $4, 0, 0, $4, $5, '', $6) \
         ON CONFLICT (tenant_id, base, output) DO NOTHING",
    )
    .bind(tenant)
    .bind(base.to_hex())
    .bind(output.to_hex())
    .bind(zero)
    .bind(full_bytes as i64)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn delta_row(
    tx: &mut Tx,
    tenant: &str,
    base: Digest,
    output: Digest,
) -> Result<Option<Delta>, Error> {
    let text = select(DELTA_COLUMNS, "FROM delta WHERE tenant_id = $1 AND base = $2 AND output = $3");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(base.to_hex())
        .bind(output.to_hex())
        .fetch_optional(tx.conn())
        .await?;
    row.as_ref().map(delta).transpose()
}

pub(super) async fn delta_list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Delta>, Error> {
    let text = select(
        DELTA_COLUMNS,
        "FROM delta WHERE tenant_id = $1 AND base || '-' || output > $2 ORDER BY base || '-' || output LIMIT $3",
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(after)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(delta).collect()
}

/// The oldest delta that waits to be built.
pub(super) async fn delta_next(tx: &mut Tx, tenant: &str) -> Result<Option<(Digest, Digest)>, Error> {
    let row = sqlx::query(
        "SELECT base, output FROM delta WHERE tenant_id = $1 AND state = 'queued' ORDER BY created_at, base LIMIT 1",
    )
    .bind(tenant)
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| Ok((digest(&row, 0)?, digest(&row, 1)?))).transpose()
}

/// Compare-and-set from `queued` to what came of it.
pub(super) async fn delta_built(tx: &mut Tx, tenant: &str, built: &OfferedDelta) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE delta SET state = 'published', codec = $4, patch = $5, length = $6, ram_bytes = $7, block_root = $8 \
         WHERE tenant_id = $1 AND base = $2 AND output = $3 AND state = 'queued'",
    )
    .bind(tenant)
    .bind(built.custom.base.to_hex())
    .bind(built.custom.output.to_hex())
    .bind(&built.custom.codec)
    .bind(built.patch.to_hex())
    .bind(built.length as i64)
    .bind(built.custom.ram_bytes as i64)
    .bind(built.custom.block_root.to_hex())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delta_declined(
    tx: &mut Tx,
    tenant: &str,
    base: Digest,
    output: Digest,
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE delta SET state = 'declined', reason = $4 \
         WHERE tenant_id = $1 AND base = $2 AND output = $3 AND state = 'queued'",
    )
    .bind(tenant)
    .bind(base.to_hex())
    .bind(output.to_hex())
    .bind(reason)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A device says that this delta, which is offered, does not give its output; how many devices say so now.
pub(super) async fn delta_reported_bad(
    tx: &mut Tx,
    tenant: &str,
    (base, output): (Digest, Digest),
    device: &str,
    now: i64,
) -> Result<i64, Error> {
    sqlx::query(
        "INSERT INTO delta_bad_report (tenant_id, base, output, device_id, at) SELECT $1, $2, $3, $4, $5 FROM delta \
         WHERE tenant_id = $1 AND base = $2 AND output = $3 AND state = 'published' \
         ON CONFLICT (tenant_id, base, output, device_id) DO NOTHING",
    )
    .bind(tenant)
    .bind(base.to_hex())
    .bind(output.to_hex())
    .bind(device)
    .bind(now)
    .execute(tx.conn())
    .await?;
    let row = sqlx::query(
        "SELECT COUNT(*) FROM delta_bad_report WHERE tenant_id = $1 AND base = $2 AND output = $3",
    )
    .bind(tenant)
    .bind(base.to_hex())
    .bind(output.to_hex())
    .fetch_one(tx.conn())
    .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn delta_withdraw(
    tx: &mut Tx,
    tenant: &str,
    base: Digest,
    output: Digest,
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE delta SET state = 'withdrawn', reason = $4 \
         WHERE tenant_id = $1 AND base = $2 AND output = $3 AND state = 'published'",
    )
    .bind(tenant)
    .bind(base.to_hex())
    .bind(output.to_hex())
    .bind(reason)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delta_offered(tx: &mut Tx, tenant: &str) -> Result<Vec<OfferedDelta>, Error> {
    let rows = sqlx::query(
        "SELECT base, output, codec, patch, length, ram_bytes, block_root FROM delta \
         WHERE tenant_id = $1 AND state = 'published' ORDER BY base, output",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let custom = DeltaCustom {
                base: digest(row, 0)?,
                output: digest(row, 1)?,
                codec: row.try_get(2)?,
                ram_bytes: row.try_get::<i64, _>(5)? as u64,
                block_root: digest(row, 6)?,
            };
            Ok(OfferedDelta { custom, patch: digest(row, 3)?, length: row.try_get::<i64, _>(4)? as u64 })
        })
        .collect()
}

impl ReleaseRow {
    /// As an operator sees it.
    pub(super) fn to_api(&self, channels: Vec<String>) -> Release {
        Release {
            hardware: self.hardware.clone(),
            release: ReleaseName::from(self.manifest.release.as_str()),
            version: self.manifest.version.clone(),
            security_counter: self.manifest.security_counter,
            manifest: self.manifest_sha256,
            artefacts: self.manifest.artefacts.clone(),
            channels,
            published_at: self.published_at,
        }
    }
}
