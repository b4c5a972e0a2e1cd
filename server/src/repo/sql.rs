//! Tables `tuf_metadata`, `tuf_target`, `tuf_seen`, `blob`.

use crate::db::{Error, Tx};
use holdfast_proto::Digest;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// One version of one role's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub role: String,
    pub version: u64,
    pub bytes: Vec<u8>,
    pub expires_at: i64,
    pub published_at: i64,
}

/// A blob that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRow {
    pub sha256: Digest,
    pub length: u64,
    pub block_root: Digest,
}

fn stored(row: &AnyRow) -> Result<Stored, Error> {
    Ok(Stored {
        role: row.try_get(0)?,
        version: row.try_get::<i64, _>(1)? as u64,
        bytes: row.try_get(2)?,
        expires_at: row.try_get(3)?,
        published_at: row.try_get(4)?,
    })
}

pub(super) fn digest(row: &AnyRow, column: usize) -> Result<Digest, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| Error::Sql(sqlx::Error::Decode(Box::new(error))))
}

/// Each role's newest metadata, but for root: every version of root is kept and served.
pub(super) async fn metadata_newest(tx: &mut Tx, tenant: &str) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query(
        "SELECT m.role, m.version, m.bytes, m.expires_at, m.published_at FROM tuf_metadata m \
         JOIN (SELECT role, MAX(version) AS version FROM tuf_metadata WHERE tenant_id = $1 GROUP BY role) n \
         ON m.role = n.role AND m.version = n.version WHERE m.tenant_id = $1 ORDER BY m.role",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn metadata_at(
    tx: &mut Tx,
    tenant: &str,
    role: &str,
    version: Option<u64>,
) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT role, version, bytes, expires_at, published_at FROM tuf_metadata \
         WHERE tenant_id = $1 AND role = $2 AND ($3 = 0 OR version = $3) ORDER BY version DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(role)
    .bind(version.unwrap_or(0) as i64)
    .fetch_optional(tx.conn())
    .await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn metadata_version(tx: &mut Tx, tenant: &str, role: &str) -> Result<Option<u64>, Error> {
    let row = sqlx::query("SELECT MAX(version) FROM tuf_metadata WHERE tenant_id = $1 AND role = $2")
        .bind(tenant)
        .bind(role)
        .fetch_one(tx.conn())
        .await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.map(|version| version as u64))
}

/// Removes what the online roles said long ago: devices in the middle of a walk have long ended it.
pub(super) async fn metadata_prune(tx: &mut Tx, tenant: &str, published_before: i64) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM tuf_metadata WHERE tenant_id = $1 AND role IN ('snapshot', 'timestamp', 'deltas') \
         AND published_at < $2 AND version < (SELECT MAX(n.version) FROM tuf_metadata n \
         WHERE n.tenant_id = $1 AND n.role = tuf_metadata.role)",
    )
    .bind(tenant)
    .bind(published_before)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Every version of root, the oldest first.
pub(super) async fn metadata_roots(tx: &mut Tx, tenant: &str) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query(
        "SELECT role, version, bytes, expires_at, published_at FROM tuf_metadata \
         WHERE tenant_id = $1 AND role = 'root' ORDER BY version",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn metadata_put(tx: &mut Tx, tenant: &str, stored: &Stored) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tuf_metadata (tenant_id, role, version, bytes, expires_at, published_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tenant)
    .bind(&stored.role)
    .bind(stored.version as i64)
    .bind(stored.bytes.clone())
    .bind(stored.expires_at)
    .bind(stored.published_at)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn target_put(
    tx: &mut Tx,
    tenant: &str,
    path: &str,
    sha256: Digest,
    bytes: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tuf_target (tenant_id, path, sha256, bytes) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant_id, path, sha256) DO NOTHING",
    )
    .bind(tenant)
    .bind(path)
    .bind(sha256.to_hex())
    .bind(bytes.to_vec())
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn target_at(
    tx: &mut Tx,
    tenant: &str,
    path: &str,
    sha256: Digest,
) -> Result<Option<Vec<u8>>, Error> {
    let row = sqlx::query("SELECT bytes FROM tuf_target WHERE tenant_id = $1 AND path = $2 AND sha256 = $3")
        .bind(tenant)
        .bind(path)
        .bind(sha256.to_hex())
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The highest version of a role that a device says it trusts; 0 where none said.
pub(super) async fn seen(tx: &mut Tx, tenant: &str, role: &str) -> Result<u64, Error> {
    let row = sqlx::query("SELECT version FROM tuf_seen WHERE tenant_id = $1 AND role = $2")
        .bind(tenant)
        .bind(role)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()?.unwrap_or(0) as u64)
}

pub(super) async fn seen_raise(tx: &mut Tx, tenant: &str, role: &str, version: u64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tuf_seen (tenant_id, role, version) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id, role) DO UPDATE SET version = excluded.version \
         WHERE tuf_seen.version < excluded.version",
    )
    .bind(tenant)
    .bind(role)
    .bind(version as i64)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn blob_put(tx: &mut Tx, tenant: &str, blob: &BlobRow, now: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO blob (tenant_id, sha256, length, block_root, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (tenant_id, sha256) DO NOTHING",
    )
    .bind(tenant)
    .bind(blob.sha256.to_hex())
    .bind(blob.length as i64)
    .bind(blob.block_root.to_hex())
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn blob_row(tx: &mut Tx, tenant: &str, sha256: Digest) -> Result<Option<BlobRow>, Error> {
    let row = sqlx::query("SELECT sha256, length, block_root FROM blob WHERE tenant_id = $1 AND sha256 = $2")
        .bind(tenant)
        .bind(sha256.to_hex())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let length = row.try_get::<i64, _>(1)? as u64;
        Ok(BlobRow { sha256: digest(&row, 0)?, length, block_root: digest(&row, 2)? })
    })
    .transpose()
}

/// True when a blob's block list has this digest: lists are served like blobs.
pub(super) async fn is_block_list(tx: &mut Tx, tenant: &str, sha256: Digest) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM blob WHERE tenant_id = $1 AND block_root = $2 LIMIT 1")
        .bind(tenant)
        .bind(sha256.to_hex())
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.is_some())
}
