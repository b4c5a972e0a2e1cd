//! SQLite's connections for reading.
//!
//! A pool asks every connection that is given back whether it still lives, which costs as much as a read; a file does
//! not go away.

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Opened at the start: a crowd is no time for it, since each reads the whole schema.
const EAGER: u32 = 8;

/// Those that were opened, and who may have one.
pub(super) struct Readers {
    /// Opens and closes them.
    pool: AnyPool,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<PoolConnection<Any>>>,
}

/// A connection, until it is dropped.
pub(super) struct Reader {
    connection: Option<PoolConnection<Any>>,
    readers: Arc<Readers>,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    /// `pool` opens at least as many as there are `places`.
    pub(super) async fn open(pool: AnyPool, places: u32) -> Result<Self, sqlx::Error> {
        let mut idle = Vec::new();
        for _ in 0..places.min(EAGER) {
            idle.push(pool.acquire().await?);
        }
        Ok(Self { pool, places: Arc::new(Semaphore::new(places as usize)), idle: Mutex::new(idle) })
    }

    pub(super) async fn acquire(self: &Arc<Self>, patience: Duration) -> Result<Reader, sqlx::Error> {
        let place = tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Reader { connection: Some(connection), readers: Arc::clone(self), _place: place })
    }

    pub(super) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.places.close();
        let closed = self.pool.close();
        // Whoever comes back from now on finds the pool closed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        closed.await;
    }
}

impl Reader {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        // Unwrap safety: only drop takes it.
        self.connection.as_deref_mut().expect("a reader has a connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.readers.pool.is_closed() {
            idle.extend(self.connection.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::db::Db;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_serves_one_after_the_other_and_a_full_house_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&Db::sqlite_url(&folder.path().join("holdfast.db")), 1).await.unwrap();
        db.migrate().await.unwrap();
        let mut first = db.read().await.unwrap();
        sqlx::query("CREATE TEMP TABLE mine (one TEXT)").execute(first.conn()).await.unwrap();
        let waiting = {
            let db = db.clone();
            tokio::spawn(async move { db.read().await })
        };
        let none = tokio::time::timeout(Duration::from_millis(100), waiting).await;
        assert!(none.is_err(), "two at once");
        drop(first);
        // Only the same connection has the temporary table.
        let mut second = db.read().await.unwrap();
        sqlx::query("SELECT one FROM mine").fetch_all(second.conn()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn closing_waits_for_who_reads_and_lets_nobody_in() {
        let (db, _folder) = crate::testing::sqlite().await;
        let reads = db.read().await.unwrap();
        drop(db.read().await.unwrap());
        let closing = {
            let db = db.clone();
            tokio::spawn(async move { db.close().await })
        };
        while db.read().await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!closing.is_finished());
        drop(reads);
        closing.await.unwrap();
        assert!(!db.is_alive().await);
    }
}
