//! Tables `ek_roots`, `ek_denials` and `ek_trust`.

use crate::db::{Error, Tx};
use holdfast_proto::Bytes;
use holdfast_proto::api::authority::{DenialKind, EkDenial, EkRoot};
use sqlx::Row as _;

/// An anchor with its certificates.
#[derive(Debug, Clone)]
pub struct EkAnchor {
    pub shown: EkRoot,
    /// DER.
    pub certificate: Vec<u8>,
    /// DER.
    pub intermediates: Vec<Vec<u8>>,
}

pub(super) async fn has_ek_root(tx: &mut Tx, tenant: &str, fingerprint: &str) -> Result<bool, Error> {
    let row = sqlx::query("SELECT id FROM ek_roots WHERE tenant_id = $1 AND fingerprint = $2")
        .bind(tenant)
        .bind(fingerprint)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.is_some())
}

pub(super) async fn insert_ek_root(tx: &mut Tx, tenant: &str, anchor: &EkAnchor) -> Result<(), Error> {
    let shown = &anchor.shown;
    let intermediates: Vec<Bytes> = anchor.intermediates.iter().map(|der| Bytes(der.clone())).collect();
    sqlx::query(
        "INSERT INTO ek_roots (tenant_id, id, fingerprint, subject, class, certifies, certificate, \
         intermediates, not_after, added_by, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(tenant)
    .bind(shown.id.as_str())
    .bind(shown.fingerprint.as_str())
    .bind(shown.subject.as_str())
    .bind(crate::db::json(&shown.class))
    .bind(crate::db::json(&shown.certifies))
    .bind(anchor.certificate.as_slice())
    .bind(crate::db::json(&intermediates))
    .bind(shown.not_after)
    .bind(shown.added_by.as_str())
    .bind(shown.added_at)
    .execute(tx.conn())
    .await?;
    trust_changed(tx, tenant).await
}

/// What was read of anchors and denials is good as long as this stays; empty until the first change.
pub async fn trust_version(tx: &mut Tx, tenant: &str) -> Result<String, Error> {
    let query = sqlx::query("SELECT version FROM ek_trust WHERE tenant_id = $1").bind(tenant);
    let row = query.fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// By chance and not by counting: what was read in a transaction that fell is never taken for what came after.
async fn trust_changed(tx: &mut Tx, tenant: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO ek_trust (tenant_id, version) VALUES ($1, $2) \
         ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version",
    )
    .bind(tenant)
    .bind(hex::encode(crate::chance::bytes::<16>()))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Every anchor of the tenant, oldest first.
pub async fn ek_roots(tx: &mut Tx, tenant: &str) -> Result<Vec<EkAnchor>, Error> {
    let rows = sqlx::query(
        "SELECT id, subject, fingerprint, class, certifies, not_after, added_by, added_at, certificate, \
         intermediates FROM ek_roots WHERE tenant_id = $1 ORDER BY added_at, id",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            let intermediates: Vec<Bytes> = crate::db::from_json(&row, 9)?;
            Ok(EkAnchor {
                shown: EkRoot {
                    id: row.try_get(0)?,
                    subject: row.try_get(1)?,
                    fingerprint: row.try_get(2)?,
                    class: crate::db::from_json(&row, 3)?,
                    certifies: crate::db::from_json(&row, 4)?,
                    not_after: row.try_get(5)?,
                    added_by: row.try_get(6)?,
                    added_at: row.try_get(7)?,
                },
                certificate: row.try_get(8)?,
                intermediates: intermediates.into_iter().map(|der| der.0).collect(),
            })
        })
        .collect()
}

/// What the tenant denies.
pub async fn denials(tx: &mut Tx, tenant: &str) -> Result<Vec<EkDenial>, Error> {
    let rows = sqlx::query(
        "SELECT kind, value, reason, added_by, added_at FROM ek_denials WHERE tenant_id = $1 ORDER BY kind, value",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    let denial = |row: &sqlx::any::AnyRow| {
        Ok(EkDenial {
            kind: crate::db::from_json(row, 0)?,
            value: row.try_get(1)?,
            reason: row.try_get(2)?,
            added_by: row.try_get(3)?,
            added_at: row.try_get(4)?,
        })
    };
    Ok(rows.iter().map(denial).collect::<Result<_, sqlx::Error>>()?)
}

/// False: it was denied before.
pub(super) async fn denial_insert(tx: &mut Tx, tenant: &str, denial: &EkDenial) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO ek_denials (tenant_id, kind, value, reason, added_by, added_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (tenant_id, kind, value) DO NOTHING",
    )
    .bind(tenant)
    .bind(crate::db::json(&denial.kind))
    .bind(denial.value.as_str())
    .bind(denial.reason.as_str())
    .bind(denial.added_by.as_str())
    .bind(denial.added_at)
    .execute(tx.conn())
    .await?;
    let is_new = done.rows_affected() == 1;
    if is_new {
        trust_changed(tx, tenant).await?;
    }
    Ok(is_new)
}

/// False: there was none.
pub(super) async fn denial_delete(
    tx: &mut Tx,
    tenant: &str,
    kind: DenialKind,
    value: &str,
) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM ek_denials WHERE tenant_id = $1 AND kind = $2 AND value = $3")
        .bind(tenant)
        .bind(crate::db::json(&kind))
        .bind(value)
        .execute(tx.conn())
        .await?;
    let was_there = done.rows_affected() == 1;
    if was_there {
        trust_changed(tx, tenant).await?;
    }
    Ok(was_there)
}
