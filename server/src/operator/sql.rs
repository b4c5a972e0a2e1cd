//! Table `tokens`.

use crate::db::{Error, Tx};
use holdfast_proto::api::operator::TokenInfo;
use sqlx::Row as _;
use sqlx::any::AnyRow;

const COLUMNS: &str =
    "id, name, roles, scope, created_by, created_at, expires_at, revoked_at, tenant_id, principal";

/// A row: its tenant and what operators see of it.
pub(super) struct TokenRow {
    pub(super) tenant: String,
    pub(super) principal: String,
    /// `installation`, `tenant`, `site/<site>`.
    pub(super) scope: String,
    pub(super) info: TokenInfo,
}

/// Whose a new token is; a token with a site is confined to it, whatever `scope` says.
pub(super) struct Owner<'a> {
    pub(super) tenant: &'a str,
    pub(super) principal: &'a str,
    pub(super) scope: &'a str,
}

fn token(row: &AnyRow) -> Result<TokenRow, sqlx::Error> {
    let roles: String = row.try_get("roles")?;
    let scope: String = row.try_get("scope")?;
    Ok(TokenRow {
        tenant: row.try_get("tenant_id")?,
        principal: row.try_get("principal")?,
        scope: scope.clone(),
        info: TokenInfo {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            roles: roles.split(',').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
            site: scope.strip_prefix("site/").map(str::to_owned),
            created_by: row.try_get("created_by")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
        },
    })
}

pub(super) async fn insert(
    tx: &mut Tx,
    owner: &Owner<'_>,
    hash: &[u8],
    info: &TokenInfo,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tokens (tenant_id, id, hash, name, roles, scope, created_by, created_at, expires_at, \
         principal) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(owner.tenant)
    .bind(info.id.as_str())
    .bind(hash)
    .bind(info.name.as_str())
    .bind(info.roles.join(","))
    .bind(info.site.as_ref().map_or(owner.scope.to_owned(), |site| format!("site/{site}")))
    .bind(info.created_by.as_str())
    .bind(info.created_at)
    .bind(info.expires_at)
    .bind(owner.principal)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn by_hash(tx: &mut Tx, hash: &[u8]) -> Result<Option<TokenRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE hash = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| token(&row)).transpose()?)
}

pub(super) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<TokenInfo>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| token(&row).map(|row| row.info)).transpose()?)
}

pub(super) async fn list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<TokenInfo>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(after).bind(limit);
    let rows = query.fetch_all(tx.conn()).await?;
    Ok(rows.iter().map(|row| token(row).map(|row| row.info)).collect::<Result<_, _>>()?)
}

/// False: it was revoked already, or there is none.
pub(super) async fn revoke(tx: &mut Tx, tenant: &str, id: &str, now: i64) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE tokens SET revoked_at = $3 WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL",
    )
    .bind(tenant)
    .bind(id)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn any(tx: &mut Tx) -> Result<bool, Error> {
    Ok(sqlx::query("SELECT id FROM tokens LIMIT 1").fetch_optional(tx.conn()).await?.is_some())
}
