//! Test support: a fresh database for each test, on both dialects.

pub(crate) mod desk;
pub(crate) mod device;
pub(crate) mod log;
pub(crate) mod postgres;
pub(crate) mod service;
pub(crate) mod tpm;

use crate::db::Db;

/// A fresh, migrated SQLite database and the folder that holds it.
pub(crate) async fn sqlite() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&Db::sqlite_url(&folder.path().join("holdfast.db")), 4).await.unwrap();
    db.migrate().await.unwrap();
    (db, folder)
}

/// A fresh, migrated PostgreSQL database.
pub(crate) async fn postgres() -> Db {
    let db = Db::open(&postgres::fresh_database().await, 4).await.unwrap();
    db.migrate().await.unwrap();
    db
}

/// How SQLite goes about a statement, step by step.
pub(crate) async fn sqlite_plan(sqlite: &Db, sql: &str) -> Vec<String> {
    use sqlx::Row as _;
    let mut tx = sqlite.read().await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let steps = sqlx::query(explain).fetch_all(tx.conn()).await.unwrap();
    assert!(!steps.is_empty(), "no plan for {sql}");
    steps.iter().map(|step| step.get("detail")).collect()
}

/// Every step of SQLite's plan for a statement finds its rows by more than the tenant, which may have 100,000.
pub(crate) async fn assert_reads_few_rows(sqlite: &Db, sql: &str) {
    // One row for each tenant, few rollouts, none at all.
    let few = ["INDEX sqlite_autoindex_ek_trust", "INDEX sqlite_autoindex_rollout", "CONSTANT ROW"];
    for step in sqlite_plan(sqlite, sql).await {
        let reads_all = step.ends_with("(tenant_id=?)") || step.starts_with("SCAN ");
        assert!(!reads_all || few.iter().any(|few| step.contains(few)), "{step}: {sql}");
    }
}

/// Defines each `async fn name(db: Db) { .. }` as two tests, `name::sqlite` and `name::postgres`, each with a
/// fresh database.
#[macro_export]
macro_rules! both_databases {
    ($(async fn $name:ident($db:ident: $ty:ty) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a test need not use everything around it")]
            use super::*;

            async fn run($db: $ty) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let (db, _folder) = $crate::testing::sqlite().await;
                run(db).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                run($crate::testing::postgres().await).await;
            }
        }
    )+};
}
