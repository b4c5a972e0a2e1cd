//! Named transactions: run, commit, and on a lost race run again ([`crate::tx!`]).

use super::later::Later;
use super::{BUSY_TIMEOUT, Db, Dialect, Engine, Error, Retryable, readers, writer};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Executor as _, Transaction};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

const TRIES: u32 = 8;
/// Races that a transaction loses before it runs alone in this process. Small tables are read whole, so on PostgreSQL
/// all who write them meet (13.2.3, predicate locks): without its turn the unlucky one would lose for ever.
const RACES: u32 = 3;

/// What a noun's `sql.rs` speaks to: a transaction ([`crate::tx!`]) or a plain connection ([`Db::read`]).
pub struct Tx {
    inner: Inner,
    dialect: Dialect,
}

enum Inner {
    Sqlite(writer::Turn, Later),
    /// The turn goes after the transaction.
    Postgres(Transaction<'static, Any>, Turn),
    SqliteReader(readers::Reader),
    PostgresReader(PoolConnection<Any>),
}

/// The right to have a transaction open on PostgreSQL.
#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

/// Runs a block in one transaction and commits when it ends Ok: `tx!(state.db, "noun.verb", |tx| { .. Ok(x) })`.
///
/// On a lost race (serialisation failure, deadlock, busy) the block is run again from its start, so it must
/// change nothing but the database. On [`Db::grouped`] it may share its commit with others. `?` and `return` leave
/// the block, not the function. The error type is any that is [`Retryable`](crate::db::Retryable) and made from
/// [`Error`](crate::db::Error); where it cannot be inferred, end the block with `Ok::<_, Refusal>(x)`.
///
/// A macro and not a function over a closure, because a future that borrows both the transaction and the
/// caller's variables cannot be shown to be `Send` through a closure's type.
#[macro_export]
macro_rules! tx {
    ($db:expr, $name:expr, |$tx:ident| $body:expr) => {{
        let mut attempts = $db.attempts($name);
        loop {
            let mut begun = match attempts.begin().await {
                Ok(begun) => begun,
                Err(error) => match attempts.lost(error).await {
                    None => continue,
                    Some(error) => break Err(::core::convert::From::from(error)),
                },
            };
            let ended = {
                let $tx = &mut begun;
                async { $body }.await
            };
            if let Some(ended) = attempts.end(begun, ended).await {
                break ended;
            }
        }
    }};
}

/// The tries of one named transaction.
pub struct Attempts<'d> {
    db: &'d Db,
    name: &'static str,
    grouped: bool,
    made: u32,
}

/// A database whose transactions may share a commit.
#[derive(Clone, Copy)]
pub struct Grouped<'d>(&'d Db);

impl Tx {
    /// The connection, for `query.execute(tx.conn())`.
    pub fn conn(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inner::Sqlite(turn, _) => turn.connection(),
            Inner::Postgres(transaction, _) => transaction,
            Inner::SqliteReader(reader) => reader.connection(),
            Inner::PostgresReader(connection) => connection,
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// For what nothing in this transaction reads, and whose outcome nobody asks for: on SQLite it is said before the
    /// commit, with all of its kind, and what it does wrong is what the commit does wrong. Elsewhere it is said now.
    pub async fn later<'q>(&mut self, query: impl sqlx::Execute<'q, Any> + 'q) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Sqlite(_, later) => later.add(query),
            Inner::Postgres(..) | Inner::SqliteReader(_) | Inner::PostgresReader(_) => {
                self.conn().execute(query).await?;
                Ok(())
            }
        }
    }

    async fn commit(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(turn, later) => turn.commit(later).await,
            Inner::Postgres(transaction, _turn) => Ok(transaction.commit().await?),
            Inner::SqliteReader(_) | Inner::PostgresReader(_) => Ok(()),
        }
    }

    async fn rollback(self) {
        match self.inner {
            Inner::Sqlite(turn, _) => turn.rollback().await,
            Inner::Postgres(transaction, _turn) => {
                // A failed rollback means that the connection is gone, and the transaction with it.
                let _ = transaction.rollback().await;
            }
            Inner::SqliteReader(_) | Inner::PostgresReader(_) => {}
        }
    }
}

impl Db {
    /// For transactions that may share their commit with others that wait (SQLite): what is short and comes in crowds.
    pub fn grouped(&self) -> Grouped<'_> {
        Grouped(self)
    }

    /// For [`crate::tx!`].
    pub fn attempts(&self, name: &'static str) -> Attempts<'_> {
        Attempts { db: self, name, grouped: false, made: 0 }
    }

    /// A connection for reading, outside any transaction: each statement sees the newest commit.
    pub async fn read(&self) -> Result<Tx, Error> {
        let inner = match &self.engine {
            Engine::Sqlite { readers, .. } => Inner::SqliteReader(readers.acquire(BUSY_TIMEOUT).await?),
            Engine::Postgres { pool, .. } => Inner::PostgresReader(pool.acquire().await?),
        };
        Ok(Tx { inner, dialect: self.dialect() })
    }
}

impl<'d> Grouped<'d> {
    /// For [`crate::tx!`].
    pub fn attempts(self, name: &'static str) -> Attempts<'d> {
        Attempts { grouped: true, ..self.0.attempts(name) }
    }
}

impl Attempts<'_> {
    /// SQLite: BEGIN IMMEDIATE, or a savepoint of a group; PostgreSQL: SERIALIZABLE.
    pub async fn begin(&mut self) -> Result<Tx, Error> {
        self.made += 1;
        let inner = match &self.db.engine {
            Engine::Sqlite { line, .. } => {
                let turn = line.begin(self.grouped && self.made == 1).await?;
                Inner::Sqlite(turn, Later::default())
            }
            Engine::Postgres { pool, turn } => {
                let turn = Arc::clone(turn);
                let turn = if self.made > RACES {
                    Turn::Alone(turn.write_owned().await)
                } else {
                    Turn::Shared(turn.read_owned().await)
                };
                let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
                Inner::Postgres(pool.begin_with(begin).await?, turn)
            }
        };
        Ok(Tx { inner, dialect: self.db.dialect() })
    }

    /// Commits or rolls back; `None`: the race was lost, run the block again.
    pub async fn end<T, E: From<Error> + Retryable>(
        &mut self,
        tx: Tx,
        result: Result<T, E>,
    ) -> Option<Result<T, E>> {
        let result = match result {
            Ok(value) => match tx.commit().await {
                Ok(()) => return Some(Ok(value)),
                Err(error) => Err(E::from(error)),
            },
            Err(error) => {
                tx.rollback().await;
                Err(error)
            }
        };
        match result {
            Err(error) if error.is_retryable() => {
                if self.made >= TRIES {
                    return Some(Err(Error::Contended { name: self.name, tries: TRIES }.into()));
                }
                self.pause().await;
                None
            }
            other => Some(other),
        }
    }

    /// A begin that failed; `None`: try again.
    pub async fn lost(&mut self, error: Error) -> Option<Error> {
        if self.made >= TRIES || !error.is_retryable() {
            return Some(error);
        }
        self.pause().await;
        None
    }

    async fn pause(&self) {
        tracing::debug!(tx.name = self.name, attempt = self.made, "a transaction lost a race");
        tokio::time::sleep(Duration::from_millis(crate::chance::below(10 << self.made))).await;
    }
}

#[cfg(test)]
mod tests {
    use crate::db::{Db, lease};
    use sqlx::Row as _;
    use std::time::Duration;

    /// `tasks` callers at once, each of whom reads the whole table and adds a row to it: no two can both commit.
    async fn crowd(db: &Db, tasks: usize, turns: usize) {
        let started = (0..tasks).map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for turn in 0..turns {
                    let name = format!("{task}-{turn}");
                    let added = tx!(db, "test.crowd", |tx| {
                        let all = sqlx::query("SELECT name FROM leases").fetch_all(tx.conn()).await?;
                        // What a transaction does beside the database: it lets the others begin.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        lease::acquire(tx, &name, &all.len().to_string(), 10, 100).await
                    });
                    assert_eq!(added.unwrap_or_else(|why| panic!("{name}: {why}")), Some(1));
                }
            })
        });
        for task in started.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        // As if they had come one by one: each counted another number of rows.
        let mut tx = db.read().await.unwrap();
        let rows = sqlx::query("SELECT holder FROM leases").fetch_all(tx.conn()).await.unwrap();
        let mut counted: Vec<usize> =
            rows.iter().map(|row| row.get::<String, _>(0).parse().unwrap()).collect();
        counted.sort_unstable();
        assert_eq!(counted, (0..tasks * turns).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_loses_every_race_on_postgresql() {
        let db = Db::open(&crate::testing::postgres::fresh_database().await, 16).await.unwrap();
        db.migrate().await.unwrap();
        crowd(&db, 16, 5).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_loses_every_race_on_sqlite() {
        let (db, _folder) = crate::testing::sqlite().await;
        crowd(&db, 16, 5).await;
    }

    crate::both_databases! {
        async fn what_is_said_later_is_there_after_the_commit_in_its_order(db: Db) {
            tx!(db, "test.later", |tx| {
                let insert = "INSERT INTO leases (name, holder, fence, expires_at) VALUES ($1, $2, $3, $4)";
                for (name, fence) in [("one", 1_i64), ("two", 2)] {
                    let query = sqlx::query(insert).bind(name).bind("somebody").bind(fence).bind(10_i64);
                    tx.later(query).await?;
                }
                let update = "UPDATE leases SET fence = fence + $2 WHERE name = $1";
                tx.later(sqlx::query(update).bind("two").bind(40_i64)).await
            })
            .unwrap();
            let mut tx = db.read().await.unwrap();
            let select = "SELECT name, fence FROM leases ORDER BY name";
            let rows = sqlx::query(select).fetch_all(tx.conn()).await.unwrap();
            let rows: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            assert_eq!(rows, [("one".to_owned(), 1), ("two".to_owned(), 42)]);
        }
    }
}
