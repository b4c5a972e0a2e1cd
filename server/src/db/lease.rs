//! Leases: who may run a job now, with a fencing number that rises with every change of hands.

use super::{Error, Tx};
use sqlx::Row as _;

/// Takes or renews the lease `name` for `holder` until `now + ttl_s`. `None`: another holds it.
/// The number is the fence: a write that carries an older one must be refused.
pub async fn acquire(
    tx: &mut Tx,
    name: &str,
    holder: &str,
    ttl_s: i64,
    now: i64,
) -> Result<Option<i64>, Error> {
    let row = sqlx::query("SELECT holder, expires_at, fence FROM leases WHERE name = $1")
        .bind(name)
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else {
        sqlx::query("INSERT INTO leases (name, holder, expires_at, fence) VALUES ($1, $2, $3, 1)")
            .bind(name)
            .bind(holder)
            .bind(now + ttl_s)
            .execute(tx.conn())
            .await?;
        return Ok(Some(1));
    };
    let (held_by, expires_at, fence) =
        (row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?, row.try_get::<i64, _>(2)?);
    if held_by != holder && expires_at > now {
        return Ok(None);
    }
    let fence = if held_by == holder { fence } else { fence + 1 };
    sqlx::query("UPDATE leases SET holder = $2, expires_at = $3, fence = $4 WHERE name = $1")
        .bind(name)
        .bind(holder)
        .bind(now + ttl_s)
        .bind(fence)
        .execute(tx.conn())
        .await?;
    Ok(Some(fence))
}

/// Gives the lease up, if `holder` has it.
pub async fn release(tx: &mut Tx, name: &str, holder: &str) -> Result<(), Error> {
    sqlx::query("UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2")
        .bind(name)
        .bind(holder)
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tx;

    crate::both_databases! {
        async fn one_holder_at_a_time_and_the_fence_rises(db: crate::db::Db) {
            let take = async |holder: &str, now: i64| {
                tx!(db, "lease.test", |tx| acquire(tx, "planner", holder, 10, now).await).unwrap()
            };
            assert_eq!(take("a", 100).await, Some(1));
            assert_eq!(take("b", 105).await, None);
            assert_eq!(take("a", 109).await, Some(1));
            assert_eq!(take("b", 118).await, None);
            assert_eq!(take("b", 119).await, Some(2));
            tx!(db, "lease.test", |tx| release(tx, "planner", "b").await).unwrap();
            assert_eq!(take("a", 119).await, Some(3));
        }
    }
}
