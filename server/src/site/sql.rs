//! Tables `site` and `controller_token`.

use crate::db::{Error, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A site's row; `jwks` as it was pinned.
#[derive(Debug, Clone)]
pub(super) struct SiteRow {
    pub(super) site: String,
    pub(super) cluster: String,
    pub(super) issuer: String,
    pub(super) jwks: String,
    pub(super) created_at: i64,
    pub(super) mac: Vec<u8>,
}

const COLUMNS: &str = "site, cluster, issuer, jwks, created_at, mac";

fn site(row: &AnyRow) -> Result<SiteRow, Error> {
    Ok(SiteRow {
        site: row.try_get(0)?,
        cluster: row.try_get(1)?,
        issuer: row.try_get(2)?,
        jwks: row.try_get(3)?,
        created_at: row.try_get(4)?,
        mac: row.try_get(5)?,
    })
}

pub(super) async fn site_row(tx: &mut Tx, tenant: &str, name: &str) -> Result<Option<SiteRow>, Error> {
    let text = format!("SELECT {COLUMNS} FROM site WHERE tenant_id = $1 AND site = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant).bind(name).fetch_optional(tx.conn()).await?;
    row.as_ref().map(site).transpose()
}

pub(super) async fn site_list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<SiteRow>, Error> {
    let text =
        format!("SELECT {COLUMNS} FROM site WHERE tenant_id = $1 AND site > $2 ORDER BY site LIMIT $3");
    let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant).bind(after).bind(limit);
    query.fetch_all(tx.conn()).await?.iter().map(site).collect()
}

pub(super) async fn site_insert(tx: &mut Tx, tenant: &str, row: &SiteRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO site (tenant_id, site, cluster, issuer, jwks, created_at, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tenant)
    .bind(&row.site)
    .bind(&row.cluster)
    .bind(&row.issuer)
    .bind(&row.jwks)
    .bind(row.created_at)
    .bind(row.mac.as_slice())
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn controller_token_insert(
    tx: &mut Tx,
    tenant: &str,
    site: &str,
    hash: &[u8],
    expires_at: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO controller_token (tenant_id, hash, site, expires_at, used_at) VALUES ($1, $2, $3, $4, 0)",
    )
    .bind(tenant)
    .bind(hash)
    .bind(site)
    .bind(expires_at)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Spends the token; false: there is no such token for this site that is unused and in its time.
pub(super) async fn controller_token_spend(
    tx: &mut Tx,
    tenant: &str,
    site: &str,
    hash: &[u8],
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE controller_token SET used_at = $4 \
         WHERE tenant_id = $1 AND hash = $2 AND site = $3 AND used_at = 0 AND expires_at > $4",
    )
    .bind(tenant)
    .bind(hash)
    .bind(site)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
