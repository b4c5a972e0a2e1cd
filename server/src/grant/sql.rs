//! Table `access_grant`.

use crate::db::{Error, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A grant's row; `proposal` is the JSON of the request as it was accepted.
#[derive(Debug, Clone)]
pub(super) struct GrantRow {
    pub(super) id: String,
    pub(super) proposal: String,
    /// `proposed`, `active`, `withdrawing` (a deny whose withdrawal waits for another person), `withdrawn`.
    pub(super) state: String,
    pub(super) proposed_by: String,
    /// Empty until somebody approved.
    pub(super) approved_by: String,
    /// Empty until somebody wished a deny gone.
    pub(super) withdraw_proposed_by: String,
    pub(super) created_at: i64,
    pub(super) version: i64,
    pub(super) mac: Vec<u8>,
}

const COLUMNS: &str =
    "id, proposal, state, proposed_by, approved_by, created_at, version, mac, withdraw_proposed_by";

fn grant(row: &AnyRow) -> Result<GrantRow, Error> {
    Ok(GrantRow {
        id: row.try_get(0)?,
        proposal: row.try_get(1)?,
        state: row.try_get(2)?,
        proposed_by: row.try_get(3)?,
        approved_by: row.try_get(4)?,
        created_at: row.try_get(5)?,
        version: row.try_get(6)?,
        mac: row.try_get(7)?,
        withdraw_proposed_by: row.try_get(8)?,
    })
}

pub(super) async fn grant_row(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<GrantRow>, Error> {
    let text = format!("SELECT {COLUMNS} FROM access_grant WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant).bind(id).fetch_optional(tx.conn()).await?;
    row.as_ref().map(grant).transpose()
}

pub(super) async fn grant_list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<GrantRow>, Error> {
    let text =
        format!("SELECT {COLUMNS} FROM access_grant WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(after)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(grant).collect()
}

/// Also those whose withdrawal is only wished.
pub(super) async fn grant_in_effect(tx: &mut Tx, tenant: &str) -> Result<Vec<GrantRow>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM access_grant WHERE tenant_id = $1 AND state IN ('active', 'withdrawing') ORDER BY id"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant).fetch_all(tx.conn()).await?;
    rows.iter().map(grant).collect()
}

pub(super) async fn grant_insert(tx: &mut Tx, tenant: &str, row: &GrantRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO access_grant (tenant_id, id, proposal, state, proposed_by, approved_by, created_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant)
    .bind(&row.id)
    .bind(&row.proposal)
    .bind(&row.state)
    .bind(&row.proposed_by)
    .bind(&row.approved_by)
    .bind(row.created_at)
    .bind(row.version)
    .bind(row.mac.clone())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Compare-and-set on the version before.
pub(super) async fn grant_change(tx: &mut Tx, tenant: &str, row: &GrantRow) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE access_grant SET state = $4, approved_by = $5, version = $6, mac = $7, withdraw_proposed_by = $8 \
         WHERE tenant_id = $1 AND id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(&row.id)
    .bind(row.version - 1)
    .bind(&row.state)
    .bind(&row.approved_by)
    .bind(row.version)
    .bind(row.mac.clone())
    .bind(&row.withdraw_proposed_by)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
