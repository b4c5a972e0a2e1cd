//! Tables `authorities` and `certificates`.

use super::hierarchy::Stored;
use crate::db::{Error, Tx};
use holdfast_proto::Bytes;
use holdfast_proto::api::authority::Authority;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A certificate's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateState {
    Issued,
    Revoked,
}

/// A row of `certificates`.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Hex.
    pub serial: String,
    /// Fingerprint of the issuing CA.
    pub issuer: String,
    /// `device`, `controller`, `server`.
    pub profile: String,
    /// Device id, site, or `holdfastd`.
    pub subject: String,
    pub not_before: i64,
    pub not_after: i64,
    pub state: CertificateState,
    pub der: Vec<u8>,
}

const COLUMNS: &str = "serial, issuer, profile, subject, not_before, not_after, state, certificate";

fn certificate(row: &AnyRow) -> Result<Certificate, sqlx::Error> {
    Ok(Certificate {
        serial: row.try_get("serial")?,
        issuer: row.try_get("issuer")?,
        profile: row.try_get("profile")?,
        subject: row.try_get("subject")?,
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        state: match row.try_get::<String, _>("state")?.as_str() {
            "issued" => CertificateState::Issued,
            _ => CertificateState::Revoked,
        },
        der: row.try_get("certificate")?,
    })
}

pub(super) async fn insert(tx: &mut Tx, tenant: &str, row: &Certificate, now: i64) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO certificates (tenant_id, serial, issuer, profile, subject, not_before, not_after, state, \
         certificate, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'issued', $8, $9)",
    )
    .bind(tenant)
    .bind(row.serial.as_str())
    .bind(row.issuer.as_str())
    .bind(row.profile.as_str())
    .bind(row.subject.as_str())
    .bind(row.not_before)
    .bind(row.not_after)
    .bind(row.der.as_slice())
    .bind(now);
    tx.later(query).await
}

pub(super) async fn by_serial(tx: &mut Tx, serial: &str) -> Result<Option<(String, Certificate)>, Error> {
    let sql = format!("SELECT tenant_id, {COLUMNS} FROM certificates WHERE serial = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(serial).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, certificate(&row)?))).transpose()?)
}

pub(super) async fn newest(
    tx: &mut Tx,
    tenant: &str,
    profile: &str,
    subject: &str,
) -> Result<Option<Certificate>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM certificates WHERE tenant_id = $1 AND profile = $2 AND subject = $3 \
         ORDER BY created_at DESC, not_after DESC, serial DESC LIMIT 1"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(profile).bind(subject);
    Ok(query.fetch_optional(tx.conn()).await?.map(|row| certificate(&row)).transpose()?)
}

pub(super) async fn revoke_all(
    tx: &mut Tx,
    tenant: &str,
    profile: &str,
    subject: &str,
    reason: &str,
    now: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE certificates SET state = 'revoked', revoked_at = $4, revoke_reason = $5 \
         WHERE tenant_id = $1 AND profile = $2 AND subject = $3 AND state = 'issued'",
    )
    .bind(tenant)
    .bind(profile)
    .bind(subject)
    .bind(now)
    .bind(reason)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

pub(super) async fn revoke_others(
    tx: &mut Tx,
    tenant: &str,
    subject: &str,
    but: &str,
    reason: &str,
    now: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE certificates SET state = 'revoked', revoked_at = $4, revoke_reason = $5 \
         WHERE tenant_id = $1 AND profile = 'device' AND subject = $2 AND serial <> $3 AND state = 'issued'",
    )
    .bind(tenant)
    .bind(subject)
    .bind(but)
    .bind(now)
    .bind(reason)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

pub(super) async fn authority(tx: &mut Tx, tenant: &str, name: &str) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT certificate, fingerprint, serial, not_before, not_after FROM authorities \
         WHERE tenant_id = $1 AND name = $2 AND state = 'active'",
    )
    .bind(tenant)
    .bind(name)
    .fetch_optional(tx.conn())
    .await?;
    let stored = row.map(|row| {
        Ok::<_, sqlx::Error>(Stored {
            certificate: row.try_get(0)?,
            fingerprint: row.try_get(1)?,
            serial: row.try_get(2)?,
            not_before: row.try_get(3)?,
            not_after: row.try_get(4)?,
        })
    });
    Ok(stored.transpose()?)
}

pub(super) async fn insert_authority(
    tx: &mut Tx,
    tenant: &str,
    name: &str,
    row: &Stored,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO authorities (tenant_id, name, state, certificate, fingerprint, serial, not_before, \
         not_after, created_at) VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8)",
    )
    .bind(tenant)
    .bind(name)
    .bind(row.certificate.as_slice())
    .bind(row.fingerprint.as_str())
    .bind(row.serial.as_str())
    .bind(row.not_before)
    .bind(row.not_after)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Our CAs, for operators.
pub async fn authorities(tx: &mut Tx, tenant: &str) -> Result<Vec<Authority>, Error> {
    let rows = sqlx::query(
        "SELECT name, state, fingerprint, serial, not_before, not_after, certificate FROM authorities \
         WHERE tenant_id = $1 ORDER BY created_at, name",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await?;
    let authorities = rows.into_iter().map(|row| {
        Ok::<_, sqlx::Error>(Authority {
            name: row.try_get(0)?,
            state: row.try_get(1)?,
            fingerprint: row.try_get(2)?,
            serial: row.try_get(3)?,
            not_before: row.try_get(4)?,
            not_after: row.try_get(5)?,
            certificate: Bytes(row.try_get(6)?),
        })
    });
    Ok(authorities.collect::<Result<_, _>>()?)
}
