//! Tables `keyring` and `keyring_head`.

use crate::db::{Error, Tx};
use sqlx::Row as _;

pub(super) struct Row {
    pub(super) generation: i64,
    pub(super) kek_id: String,
    pub(super) sealed: Vec<u8>,
}

pub(super) async fn row(tx: &mut Tx, tenant: &str, name: &str) -> Result<Option<Row>, Error> {
    let row =
        sqlx::query("SELECT generation, kek_id, sealed FROM keyring WHERE tenant_id = $1 AND name = $2")
            .bind(tenant)
            .bind(name)
            .fetch_optional(tx.conn())
            .await?;
    row.map(|row| Ok(Row { generation: row.try_get(0)?, kek_id: row.try_get(1)?, sealed: row.try_get(2)? }))
        .transpose()
}

pub(super) async fn generation(tx: &mut Tx, tenant: &str) -> Result<i64, Error> {
    let row = sqlx::query("SELECT generation FROM keyring_head WHERE tenant_id = $1")
        .bind(tenant)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
}

pub(super) async fn next_generation(tx: &mut Tx, tenant: &str) -> Result<i64, Error> {
    sqlx::query(
        "INSERT INTO keyring_head (tenant_id, generation) VALUES ($1, 1) \
         ON CONFLICT (tenant_id) DO UPDATE SET generation = keyring_head.generation + 1",
    )
    .bind(tenant)
    .execute(tx.conn())
    .await?;
    generation(tx, tenant).await
}

pub(super) async fn put(tx: &mut Tx, tenant: &str, name: &str, row: &Row, now: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO keyring (tenant_id, name, generation, kek_id, sealed, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, name) DO UPDATE SET \
         generation = excluded.generation, kek_id = excluded.kek_id, sealed = excluded.sealed, \
         created_at = excluded.created_at",
    )
    .bind(tenant)
    .bind(name)
    .bind(row.generation)
    .bind(row.kek_id.as_str())
    .bind(row.sealed.as_slice())
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}
