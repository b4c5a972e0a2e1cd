//! Named transactions: run, commit, and on a lost race run again ([`crate::tx!`]).

use super::{Db, Dialect, Error, Retryable, Turns, writer};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Transaction};
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
    Sqlite(writer::Turn),
    /// The turn goes after the transaction.
    Postgres(Transaction<'static, Any>, Turn),
    Connection(PoolConnection<Any>),
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
/// change nothing but the database. `grouped |tx|` may share its commit with others that wait (SQLite): for what is
/// short and comes in crowds. `?` and `return` leave the block, not the function. The error type is any
/// that is [`Retryable`](crate::db::Retryable) and made from [`Error`](crate::db::Error); where it cannot be
/// inferred, end the block with `Ok::<_, Refusal>(x)`.
///
/// A macro and not a function over a closure, because a future that borrows both the transaction and the
/// caller's variables cannot be shown to be `Send` through a closure's type.
#[macro_export]
macro_rules! tx {
    (@ $attempts:expr, |$tx:ident| $body:expr) => {{
        let mut attempts = $attempts;
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
    ($db:expr, $name:expr, grouped |$tx:ident| $body:expr) => {
        $crate::tx!(@ $db.attempts($name).grouped(), |$tx| $body)
    };
    ($db:expr, $name:expr, |$tx:ident| $body:expr) => {
        $crate::tx!(@ $db.attempts($name), |$tx| $body)
    };
}

/// The tries of one named transaction.
pub struct Attempts<'d> {
    db: &'d Db,
    name: &'static str,
    grouped: bool,
    made: u32,
}

impl Tx {
    /// The connection, for `query.execute(tx.conn())`.
    pub fn conn(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inner::Sqlite(turn) => turn.connection(),
            Inner::Postgres(transaction, _) => transaction,
            Inner::Connection(connection) => connection,
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn commit(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(turn) => turn.commit().await,
            Inner::Postgres(transaction, _turn) => Ok(transaction.commit().await?),
            Inner::Connection(_) => Ok(()),
        }
    }

    async fn rollback(self) {
        match self.inner {
            Inner::Sqlite(turn) => turn.rollback().await,
            Inner::Postgres(transaction, _turn) => {
                // A failed rollback means that the connection is gone, and the transaction with it.
                let _ = transaction.rollback().await;
            }
            Inner::Connection(_) => {}
        }
    }
}

impl Db {
    /// For [`crate::tx!`].
    pub fn attempts(&self, name: &'static str) -> Attempts<'_> {
        Attempts { db: self, name, grouped: false, made: 0 }
    }

    /// A connection for reading, outside any transaction: each statement sees the newest commit.
    pub async fn read(&self) -> Result<Tx, Error> {
        Ok(Tx { inner: Inner::Connection(self.pool.acquire().await?), dialect: self.dialect })
    }
}

impl Attempts<'_> {
    /// May share its commit, as long as nothing went wrong.
    #[must_use]
    pub fn grouped(self) -> Self {
        Self { grouped: true, ..self }
    }

    /// SQLite: BEGIN IMMEDIATE, or a savepoint of a group; PostgreSQL: SERIALIZABLE.
    pub async fn begin(&mut self) -> Result<Tx, Error> {
        self.made += 1;
        let dialect = self.db.dialect;
        let inner = match &self.db.turns {
            Turns::Sqlite(line) => Inner::Sqlite(line.begin(self.grouped && self.made == 1).await?),
            Turns::Postgres(turn) => {
                let turn = Arc::clone(turn);
                let turn = if self.made > RACES {
                    Turn::Alone(turn.write_owned().await)
                } else {
                    Turn::Shared(turn.read_owned().await)
                };
                let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
                Inner::Postgres(self.db.pool.begin_with(begin).await?, turn)
            }
        };
        Ok(Tx { inner, dialect })
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
}
