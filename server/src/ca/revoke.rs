//! Revocation: a certificate's state in our own table, asked on every request.

use super::sql;
use crate::db::{Error, Tx};

/// Revokes every certificate of `subject` that is not revoked yet; how many there were.
pub async fn all_of(
    tx: &mut Tx,
    tenant: &str,
    profile: &str,
    subject: &str,
    reason: &str,
    now: i64,
) -> Result<u64, Error> {
    sql::revoke_all(tx, tenant, profile, subject, reason, now).await
}

/// Revokes those of `subject` but the one with serial `but`: the end of a renewal.
pub async fn all_but(
    tx: &mut Tx,
    tenant: &str,
    subject: &str,
    but: &str,
    reason: &str,
    now: i64,
) -> Result<u64, Error> {
    sql::revoke_others(tx, tenant, subject, but, reason, now).await
}

/// The certificate with this serial, whoever asks; `None`: never issued by us.
pub async fn lookup(tx: &mut Tx, serial: &str) -> Result<Option<(String, super::Certificate)>, Error> {
    sql::by_serial(tx, serial).await
}

/// The newest certificate of `subject`.
pub async fn newest_of(
    tx: &mut Tx,
    tenant: &str,
    profile: &str,
    subject: &str,
) -> Result<Option<super::Certificate>, Error> {
    sql::newest(tx, tenant, profile, subject).await
}
