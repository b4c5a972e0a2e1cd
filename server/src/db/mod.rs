//! The database: pool, dialects, named transactions, leases. No tables here; each noun has its `sql.rs`.
//!
//! One typed query style on both dialects (sqlx's `Any` driver, `$1` placeholders): ids TEXT, times BIGINT
//! Unix seconds, bytes BLOB/BYTEA, flags BIGINT 0/1. SQL differs only where [`Tx::dialect`] is asked.

mod error;
mod later;
pub mod lease;
mod readers;
mod tx;
mod writer;

pub use error::{Error, Retryable};
pub use tx::{Attempts, Tx};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Executor as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

/// The embedded tenant. Every table has `tenant_id`; the tenant always comes from the authenticated actor.
pub const DEFAULT_TENANT: &str = "default";

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// A database and its connections. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    /// One writes at a time, and waits in line for it: that is fair where SQLite's own busy loop is not.
    Sqlite { readers: Arc<readers::Readers>, line: Arc<writer::Line> },
    /// Transactions share the turn until one has lost too many races.
    Postgres { pool: AnyPool, turn: Arc<tokio::sync::RwLock<()>> },
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// A checkpoint writes each page once, however often it changed: at most 16 MB of log save it much of its work.
/// What a savepoint may need to go back is kept in memory: bytes of secrets and evidence have no place in `/tmp`, which
/// may not be writable either.
const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 10000; PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";

impl Db {
    /// Opens `sqlite:///path` or `postgres://...`; a missing SQLite file is created (mode 0600).
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let dialect = if url.starts_with("sqlite:") {
            Dialect::Sqlite
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Dialect::Postgres
        } else {
            let scheme = url.split(':').next().unwrap_or_default().to_owned();
            return Err(Error::Scheme { scheme });
        };
        let options = AnyConnectOptions::from_str(url)?;
        // SQLite: one more for migrations, which need no reader's place.
        let most = max_connections.saturating_add((dialect == Dialect::Sqlite).into());
        let pool = pool_options(dialect, most).connect_with(options.clone()).await?;
        let engine = match dialect {
            Dialect::Sqlite => {
                let writer = pool_options(dialect, 1).connect_with(options).await?;
                let readers = Arc::new(readers::Readers::open(pool, max_connections).await?);
                Engine::Sqlite { readers, line: Arc::new(writer::Line::new(writer)) }
            }
            Dialect::Postgres => Engine::Postgres { pool, turn: Arc::default() },
        };
        Ok(Self { engine })
    }

    /// The URL of a SQLite file, created when absent.
    pub fn sqlite_url(path: &Path) -> String {
        format!("sqlite://{}?mode=rwc", path.display())
    }

    pub fn dialect(&self) -> Dialect {
        match &self.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Applies the migrations that this program carries and the database lacks.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrator = match self.dialect() {
            Dialect::Sqlite => &sqlx::migrate!("../migrations/sqlite"),
            Dialect::Postgres => &sqlx::migrate!("../migrations/postgres"),
        };
        let pool = match &self.engine {
            Engine::Sqlite { readers, .. } => readers.pool(),
            Engine::Postgres { pool, .. } => pool,
        };
        Ok(migrator.run(pool).await?)
    }

    /// True when the database answers.
    pub async fn is_alive(&self) -> bool {
        let answers =
            async { sqlx::query("SELECT 1").execute(self.read().await?.conn()).await.map_err(Error::from) };
        matches!(tokio::time::timeout(Duration::from_secs(2), answers).await, Ok(Ok(_)))
    }

    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { readers, line } => {
                line.end().await;
                readers.close().await;
            }
            Engine::Postgres { pool, .. } => pool.close().await,
        }
    }
}

fn pool_options(dialect: Dialect, max_connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(BUSY_TIMEOUT)
        // A server may have gone away since; a file has not.
        .test_before_acquire(dialect == Dialect::Postgres)
        .after_connect(move |conn, _| {
            Box::pin(async move {
                if dialect == Dialect::Sqlite {
                    conn.execute(SQLITE_PRAGMAS).await?;
                }
                Ok(())
            })
        })
}

/// A value as JSON text, for columns that hold lists and maps.
pub fn json<T: serde::Serialize>(value: &T) -> String {
    // Unwrap safety: our own wire types have string keys and no failing serializers.
    serde_json::to_string(value).expect("a wire type is JSON")
}

/// The inverse of [`json`]; a text that does not read is a decode error of that column.
pub fn from_json<T: serde::de::DeserializeOwned>(
    row: &sqlx::any::AnyRow,
    index: usize,
) -> Result<T, sqlx::Error> {
    let text: String = sqlx::Row::try_get(row, index)?;
    serde_json::from_str(&text)
        .map_err(|source| sqlx::Error::ColumnDecode { index: index.to_string(), source: source.into() })
}
