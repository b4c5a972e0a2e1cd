//! Table `device_report`.

use crate::db::{Error, Tx};
use sqlx::Row as _;

/// What a device last said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) sequence: i64,
    /// -1: it showed no quote yet.
    pub(super) reset_count: i64,
}

pub(super) async fn last(tx: &mut Tx, tenant: &str, device: &str) -> Result<Option<Last>, Error> {
    let row = sqlx::query(
        "SELECT sequence, reset_count FROM device_report WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(tenant)
    .bind(device)
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| Ok(Last { sequence: row.try_get(0)?, reset_count: row.try_get(1)? })).transpose()
}

/// A report's facts.
pub(super) struct Facts<'a> {
    pub(super) sequence: i64,
    pub(super) boot_id: &'a str,
    pub(super) release: &'a str,
    pub(super) floor: i64,
    pub(super) ram_bytes: i64,
    pub(super) reset_count: i64,
    pub(super) assignment: i64,
}

/// Stores a report's facts if its sequence is above the one before; false otherwise.
pub(super) async fn store(
    tx: &mut Tx,
    tenant: &str,
    device: &str,
    facts: &Facts<'_>,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO device_report (tenant_id, device_id, sequence, boot_id, release, floor, ram_bytes, reset_count, \
         assignment, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant_id, device_id) DO UPDATE \
         SET sequence = excluded.sequence, boot_id = excluded.boot_id, release = excluded.release, \
         floor = excluded.floor, ram_bytes = excluded.ram_bytes, reset_count = excluded.reset_count, \
         assignment = excluded.assignment, at = excluded.at WHERE device_report.sequence < excluded.sequence",
    )
    .bind(tenant)
    .bind(device)
    .bind(facts.sequence)
    .bind(facts.boot_id)
    .bind(facts.release)
    .bind(facts.floor)
    .bind(facts.ram_bytes)
    .bind(facts.reset_count)
    .bind(facts.assignment)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The highest assignment that a device trusts.
pub(super) async fn assignment(tx: &mut Tx, tenant: &str, device: &str) -> Result<Option<i64>, Error> {
    let row = sqlx::query("SELECT assignment FROM device_report WHERE tenant_id = $1 AND device_id = $2")
        .bind(tenant)
        .bind(device)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Floor and highest trusted assignment of every device of a tenant.
pub(super) async fn floors(tx: &mut Tx, tenant: &str) -> Result<Vec<(String, i64, i64)>, Error> {
    let rows = sqlx::query("SELECT device_id, floor, assignment FROM device_report WHERE tenant_id = $1")
        .bind(tenant)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
