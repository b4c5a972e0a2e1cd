//! Table `audit`: append and read, never update.

use super::Entry;
use crate::db::{Error, Tx};
use holdfast_proto::api::audit::AuditRow;
use sqlx::Row as _;

pub(super) async fn insert(tx: &mut Tx, entry: &Entry<'_>, now: i64) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO audit (tenant_id, at, actor, action, resource, outcome, reason) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(entry.tenant)
    .bind(now)
    .bind(entry.actor.to_text())
    .bind(entry.action)
    .bind(entry.resource.as_str())
    .bind(entry.outcome.as_str())
    .bind(entry.reason.as_str());
    tx.later(query).await
}

/// Which rows; empty text matches all.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub resource: &'a str,
    pub action: &'a str,
    pub outcome: &'a str,
}

/// What is not asked for is not in the condition, so that the resource's index serves whoever names one.
fn listing(filter: &Filter<'_>) -> String {
    let resource = if filter.resource.is_empty() { "$3 = ''" } else { "resource = $3" };
    format!(
        "SELECT seq, at, actor, action, resource, outcome, reason FROM audit \
         WHERE tenant_id = $1 AND {resource} AND seq < $2 AND ($4 = '' OR action = $4) \
         AND ($5 = '' OR outcome = $5) ORDER BY seq DESC LIMIT $6"
    )
}

/// Newest first, rows before `before`.
pub async fn list(
    tx: &mut Tx,
    tenant: &str,
    filter: &Filter<'_>,
    before: i64,
    limit: i64,
) -> Result<Vec<AuditRow>, Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(listing(filter)))
        .bind(tenant)
        .bind(before)
        .bind(filter.resource)
        .bind(filter.action)
        .bind(filter.outcome)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(AuditRow {
                seq: row.try_get(0)?,
                at: row.try_get(1)?,
                actor: row.try_get(2)?,
                action: row.try_get(3)?,
                resource: row.try_get(4)?,
                outcome: row.try_get(5)?,
                reason: row.try_get(6)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_history_of_one_resource_is_found_by_its_index() {
        let (db, _folder) = crate::testing::sqlite().await;
        let filter = Filter { resource: "device/1", ..Filter::default() };
        let plan = crate::testing::sqlite_plan(&db, &listing(&filter)).await;
        assert!(plan.iter().any(|step| step.contains("resource=?")), "{plan:?}");
    }
}
