//! What goes wrong with a database.

/// A failed query, connection or migration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no database speaks `{scheme}`: use sqlite:///path or postgres://user@host/name")]
    Scheme { scheme: String },
    #[error("the database refused a query")]
    Sql(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("transaction `{name}` lost {tries} races in a row")]
    Contended { name: &'static str, tries: u32 },
    #[error("a commit that was shared with others failed")]
    Fallen,
    #[error("the service ended before a commit was confirmed")]
    Unknown,
}

/// Errors that know whether the transaction may simply be run again.
pub trait Retryable {
    fn is_retryable(&self) -> bool;
}

impl Error {
    /// Serialisation failure, deadlock, or a locked file: nothing is wrong but the moment.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => match error.code().as_deref() {
                Some("40001" | "40P01" | "55P03") => true, // PostgreSQL: serialization, deadlock, lock timeout
                Some("5" | "6" | "261" | "517" | "773") => true, // SQLite: BUSY, LOCKED and their kin
                _ => false,
            },
            Self::Sql(sqlx::Error::PoolTimedOut) | Self::Contended { .. } | Self::Fallen => true,
            _ => false,
        }
    }

    /// A unique index said no.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        self.is_busy()
    }
}
