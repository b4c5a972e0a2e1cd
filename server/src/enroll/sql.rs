//! Tables `enrollments`, `enroll_nonces` and `evidence_inputs`.

use crate::db::{Error, Tx, from_json, json};
use holdfast_proto::api::device::Check;
use holdfast_proto::api::enrollment::{Enrollment, EnrollmentState};
use holdfast_proto::{Bytes, DeviceId, Digest};
use holdfast_trust::attest::Reason;
use serde::{Deserialize, Serialize};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _};
use std::collections::BTreeMap;

/// An attempt's row.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// What operators see in lists.
    pub(super) shown: Enrollment,
    pub(super) checks: Vec<Check>,
    pub(super) inputs: Vec<InputName>,
    pub(super) policy_version: String,
    pub(super) roots_version: String,
    pub(super) signer: Option<String>,
    pub(super) certificate_serial: Option<String>,
    pub(super) exporter: Option<Bytes>,
    /// Given with an approval, for the record that it will make.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) version: i64,
}

/// An input by its content's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InputName {
    pub(super) name: String,
    pub(super) sha256: Digest,
}

/// What stands of an EK and a serial.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// An operator or the device will go on with it: pending, conflict or approved.
    pub(super) open: Option<Attempt>,
    /// An operator said no, and has not taken it back.
    pub(super) refused: Option<Attempt>,
}

/// Who spent a nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) enrollment: String,
    /// SHA-256 of the M3 that spent it, hex.
    pub(super) m3: String,
}

const COLUMNS: &str = "id, purpose, kind, state, serial, model, device_id, reason, ek_hash, tier, root_class, checks, \
     inputs, policy_version, roots_version, signer, certificate_serial, exporter, labels, created_at, updated_at, version";

fn word<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    let Some(text) = row.try_get::<Option<String>, _>(column)? else { return Ok(None) };
    let value = serde_json::from_value(serde_json::Value::String(text));
    value
        .map(Some)
        .map_err(|source| sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() })
}

fn needed<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error> {
    let null = || sqlx::Error::ColumnDecode { index: column.to_owned(), source: "unexpected null".into() };
    word(row, column)?.ok_or_else(null)
}

/// A word of the wire as the text that its column holds.
pub(super) fn text_of<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

fn attempt(row: &AnyRow) -> Result<Attempt, sqlx::Error> {
    Ok(Attempt {
        shown: Enrollment {
            id: row.try_get("id")?,
            purpose: needed(row, "purpose")?,
            kind: needed(row, "kind")?,
            state: needed(row, "state")?,
            serial: row.try_get("serial")?,
            model: row.try_get("model")?,
            device: row.try_get::<Option<String>, _>("device_id")?.map(DeviceId::new),
            reason: row.try_get("reason")?,
            ek_hash: word(row, "ek_hash")?,
            tier: word(row, "tier")?,
            root_class: word(row, "root_class")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        },
        checks: from_json(row, 11)?,
        inputs: from_json(row, 12)?,
        policy_version: row.try_get("policy_version")?,
        roots_version: row.try_get("roots_version")?,
        signer: row.try_get("signer")?,
        certificate_serial: row.try_get("certificate_serial")?,
        exporter: row.try_get::<Option<Vec<u8>>, _>("exporter")?.map(Bytes),
        labels: from_json(row, 18)?,
        version: row.try_get("version")?,
    })
}

/// Writes a new attempt, or what became of one that was at `version - 1`; false: it moved meanwhile.
pub(super) async fn attempt_put(tx: &mut Tx, tenant: &str, attempt: &Attempt) -> Result<bool, Error> {
    Ok(put(tenant, attempt).execute(tx.conn()).await?.rows_affected() == 1)
}

/// Writes a new attempt.
pub(super) async fn attempt_add(tx: &mut Tx, tenant: &str, attempt: &Attempt) -> Result<(), Error> {
    tx.later(put(tenant, attempt)).await
}

fn put<'q>(tenant: &'q str, attempt: &'q Attempt) -> Query<'q, Any, AnyArguments> {
    let shown = &attempt.shown;
    let sql = format!(
        "INSERT INTO enrollments ({COLUMNS}, tenant_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
         $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, \
         state = excluded.state, model = excluded.model, device_id = excluded.device_id, reason = excluded.reason, \
         tier = excluded.tier, root_class = excluded.root_class, checks = excluded.checks, inputs = excluded.inputs, \
         policy_version = excluded.policy_version, roots_version = excluded.roots_version, signer = excluded.signer, \
         certificate_serial = excluded.certificate_serial, exporter = excluded.exporter, labels = excluded.labels, \
         updated_at = excluded.updated_at, version = excluded.version WHERE enrollments.tenant_id = excluded.tenant_id \
         AND enrollments.version = excluded.version - 1"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(shown.id.as_str())
        .bind(text_of(&shown.purpose))
        .bind(text_of(&shown.kind))
        .bind(text_of(&shown.state))
        .bind(shown.serial.as_str())
        .bind(shown.model.as_str())
        .bind(shown.device.as_ref().map(DeviceId::as_str))
        .bind(shown.reason.as_str())
        .bind(shown.ek_hash.map(|hash| hash.to_hex()))
        .bind(shown.tier.map(|tier| text_of(&tier)))
        .bind(shown.root_class.map(|class| text_of(&class)))
        .bind(json(&attempt.checks))
        .bind(json(&attempt.inputs))
        .bind(attempt.policy_version.as_str())
        .bind(attempt.roots_version.as_str())
        .bind(attempt.signer.as_deref())
        .bind(attempt.certificate_serial.as_deref())
        .bind(attempt.exporter.as_ref().map(|bytes| bytes.0.as_slice()))
        .bind(json(&attempt.labels))
        .bind(shown.created_at)
        .bind(shown.updated_at)
        .bind(attempt.version)
        .bind(tenant)
}

pub(super) async fn attempt_by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Attempt>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM enrollments WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| attempt(&row)).transpose()?)
}

/// The newest attempts of this EK for this serial that are still of weight.
pub(super) async fn attempts_of_claim(
    tx: &mut Tx,
    tenant: &str,
    (serial, ek_hash): (&str, Option<Digest>),
) -> Result<Standing, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM enrollments WHERE tenant_id = $1 AND serial = $2 AND COALESCE(ek_hash, '') = $3 \
         AND (state IN ('pending', 'conflict', 'approved') OR (state = 'refused' AND reason = $4)) \
         ORDER BY updated_at DESC, id DESC"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(serial)
        .bind(ek_hash.map(|hash| hash.to_hex()).unwrap_or_default())
        .bind(Reason::OperatorRefused.code())
        .fetch_all(tx.conn())
        .await?;
    let mut standing = Standing::default();
    for row in &rows {
        let attempt = attempt(row)?;
        let place = match attempt.shown.state {
            EnrollmentState::Refused => &mut standing.refused,
            _ => &mut standing.open,
        };
        place.get_or_insert(attempt);
    }
    Ok(standing)
}

/// What an attempt by TPM is judged under.
pub(super) struct Under {
    /// Of anchors and denials.
    pub(super) trust_version: String,
    /// A claim or a record names this EK, or an operator approved it for this serial.
    pub(super) is_listed: bool,
}

/// Three nouns' tables in one query, since it is asked with every M1 and M3.
pub(super) const UNDER: &str = "SELECT COALESCE((SELECT version FROM ek_trust WHERE tenant_id = $1), ''), \
     CAST(CASE WHEN EXISTS (SELECT 1 FROM devices WHERE tenant_id = $1 AND ek_hash = $3) \
     OR EXISTS (SELECT 1 FROM devices WHERE tenant_id = $1 AND claimed_ek_hash = $3) OR 'approved' = \
     (SELECT state FROM enrollments WHERE tenant_id = $1 AND serial = $2 AND ek_hash = $3 \
     AND state IN ('pending', 'conflict', 'approved') ORDER BY updated_at DESC, id DESC LIMIT 1) \
     THEN 1 ELSE 0 END AS BIGINT)";

pub(super) async fn under(tx: &mut Tx, tenant: &str, serial: &str, ek_hash: Digest) -> Result<Under, Error> {
    let row =
        sqlx::query(UNDER).bind(tenant).bind(serial).bind(ek_hash.to_hex()).fetch_one(tx.conn()).await?;
    Ok(Under { trust_version: row.try_get(0)?, is_listed: row.try_get::<i64, _>(1)? == 1 })
}

/// The attempt that the device's newest certificate came of.
pub(super) async fn attempt_of_device(
    tx: &mut Tx,
    tenant: &str,
    device: &str,
) -> Result<Option<Attempt>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM enrollments WHERE tenant_id = $1 AND device_id = $2 AND state = 'issued' \
         ORDER BY updated_at DESC, id DESC LIMIT 1"
    );
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(device).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| attempt(&row)).transpose()?)
}

/// In the order of ids, after `after`; every state where none is given.
pub(super) async fn attempt_list(
    tx: &mut Tx,
    tenant: &str,
    state: Option<EnrollmentState>,
    after: &str,
    limit: i64,
) -> Result<Vec<Attempt>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM enrollments WHERE tenant_id = $1 AND id > $2 AND ($3 = '' OR state = $3) \
         ORDER BY id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(after)
        .bind(state.map(|state| text_of(&state)).unwrap_or_default())
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.iter().map(attempt).collect::<Result<_, _>>()?)
}

/// Spends a nonce under its unique index; `Some`: it was spent before, and by whom.
pub(super) async fn nonce_spend(
    tx: &mut Tx,
    tenant: &str,
    nonce: &[u8],
    by: &Spent,
    expires_at: i64,
) -> Result<Option<Spent>, Error> {
    let done = sqlx::query(
        "INSERT INTO enroll_nonces (tenant_id, nonce, enrollment, m3, expires_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (nonce) DO NOTHING",
    )
    .bind(tenant)
    .bind(nonce)
    .bind(by.enrollment.as_str())
    .bind(by.m3.as_str())
    .bind(expires_at)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 1 {
        return Ok(None);
    }
    let row = sqlx::query("SELECT enrollment, m3 FROM enroll_nonces WHERE nonce = $1")
        .bind(nonce)
        .fetch_one(tx.conn())
        .await?;
    Ok(Some(Spent { enrollment: row.try_get(0)?, m3: row.try_get(1)? }))
}

/// Forgets nonces whose session ended before `ended_before`: the session's end refuses them.
pub(super) async fn nonce_forget(tx: &mut Tx, ended_before: i64) -> Result<u64, Error> {
    let query = sqlx::query("DELETE FROM enroll_nonces WHERE expires_at < $1").bind(ended_before);
    Ok(query.execute(tx.conn()).await?.rows_affected())
}

/// Keeps inputs under their hashes; the same bytes are kept once.
pub(super) async fn inputs_keep(
    tx: &mut Tx,
    tenant: &str,
    inputs: &[(Digest, &[u8])],
    now: i64,
) -> Result<(), Error> {
    if inputs.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        (0..inputs.len()).map(|n| format!("($1, ${}, ${}, $2)", 2 * n + 3, 2 * n + 4)).collect();
    let sql = format!(
        "INSERT INTO evidence_inputs (tenant_id, sha256, bytes, created_at) VALUES {} \
         ON CONFLICT (tenant_id, sha256) DO NOTHING",
        rows.join(", ")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(now);
    for (sha256, bytes) in inputs {
        query = query.bind(sha256.to_hex()).bind(*bytes);
    }
    tx.later(query).await
}

/// Removes an input that no attempt of this serial names any more; inputs hold the serial, so no other's names them.
pub(super) async fn input_drop(tx: &mut Tx, tenant: &str, serial: &str, sha256: Digest) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM evidence_inputs WHERE tenant_id = $1 AND sha256 = $3 AND NOT EXISTS (SELECT 1 FROM enrollments e \
         WHERE e.tenant_id = $1 AND e.serial = $2 AND e.inputs LIKE '%' || $3 || '%')",
    )
    .bind(tenant)
    .bind(serial)
    .bind(sha256.to_hex())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How many attempts wait for an operator, counted up to `most`.
pub(super) async fn waiting(tx: &mut Tx, tenant: &str, most: i64) -> Result<i64, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) FROM (SELECT 1 AS one FROM enrollments WHERE tenant_id = $1 \
         AND state IN ('pending', 'conflict') LIMIT $2) AS waiting",
    )
    .bind(tenant)
    .bind(most)
    .fetch_one(tx.conn())
    .await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn input(tx: &mut Tx, tenant: &str, sha256: Digest) -> Result<Option<Vec<u8>>, Error> {
    let query = sqlx::query("SELECT bytes FROM evidence_inputs WHERE tenant_id = $1 AND sha256 = $2");
    let row = query.bind(tenant).bind(sha256.to_hex()).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
