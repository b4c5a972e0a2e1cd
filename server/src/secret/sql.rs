//! Tables `secret` and `secret_version`.

use crate::db::{Error, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A secret's pointer row.
#[derive(Debug, Clone)]
pub(super) struct SecretRow {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) current_version: u64,
    pub(super) content_type: String,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) mac: Vec<u8>,
}

/// One version's row.
#[derive(Debug, Clone)]
pub(super) struct VersionRow {
    pub(super) version: u64,
    pub(super) epoch: u32,
    pub(super) content_type: String,
    pub(super) length: u64,
    pub(super) sealed: Vec<u8>,
}

const COLUMNS: &str = "path, id, current_version, content_type, created_at, updated_at, mac";

fn secret(row: &AnyRow) -> Result<SecretRow, Error> {
    Ok(SecretRow {
        path: row.try_get(0)?,
        id: row.try_get(1)?,
        current_version: row.try_get::<i64, _>(2)? as u64,
        content_type: row.try_get(3)?,
        created_at: row.try_get(4)?,
        updated_at: row.try_get(5)?,
        mac: row.try_get(6)?,
    })
}

pub(super) async fn secret_row(tx: &mut Tx, tenant: &str, path: &str) -> Result<Option<SecretRow>, Error> {
    let text = format!("SELECT {COLUMNS} FROM secret WHERE tenant_id = $1 AND path = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant).bind(path).fetch_optional(tx.conn()).await?;
    row.as_ref().map(secret).transpose()
}

pub(super) async fn secret_list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<SecretRow>, Error> {
    let text =
        format!("SELECT {COLUMNS} FROM secret WHERE tenant_id = $1 AND path > $2 ORDER BY path LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(tenant)
        .bind(after)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(secret).collect()
}

pub(super) async fn secret_put(tx: &mut Tx, tenant: &str, row: &SecretRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO secret (tenant_id, path, id, current_version, content_type, created_at, updated_at, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, path) DO UPDATE SET \
         current_version = excluded.current_version, content_type = excluded.content_type, \
         updated_at = excluded.updated_at, mac = excluded.mac",
    )
    .bind(tenant)
    .bind(&row.path)
    .bind(&row.id)
    .bind(row.current_version as i64)
    .bind(&row.content_type)
    .bind(row.created_at)
    .bind(row.updated_at)
    .bind(row.mac.clone())
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn version_put(
    tx: &mut Tx,
    tenant: &str,
    secret: &str,
    row: &VersionRow,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO secret_version (tenant_id, secret_id, version, epoch, content_type, length, sealed, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(tenant)
    .bind(secret)
    .bind(row.version as i64)
    .bind(i64::from(row.epoch))
    .bind(&row.content_type)
    .bind(row.length as i64)
    .bind(row.sealed.clone())
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn version_row(
    tx: &mut Tx,
    tenant: &str,
    secret: &str,
    version: u64,
) -> Result<Option<VersionRow>, Error> {
    let row = sqlx::query(
        "SELECT version, epoch, content_type, length, sealed FROM secret_version \
         WHERE tenant_id = $1 AND secret_id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(secret)
    .bind(version as i64)
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        Ok(VersionRow {
            version: row.try_get::<i64, _>(0)? as u64,
            epoch: row.try_get::<i64, _>(1)? as u32,
            content_type: row.try_get(2)?,
            length: row.try_get::<i64, _>(3)? as u64,
            sealed: row.try_get(4)?,
        })
    })
    .transpose()
}
