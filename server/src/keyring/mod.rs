//! The keyring: every long-lived key of the service, sealed under a key-encryption key.
//!
//! Names in use: `ca/<name>`, `tuf/<role>`, `enroll/session`, `secret/root`. A row is sealed with AES-256-GCM
//! and the AAD (tenant, name, generation), so that no two rows can be swapped and none put back.
//! Values are zeroizing and have no Debug.

use crate::tx;
pub mod kek;
mod sql;

use crate::db::{Db, Tx};
use kek::KekProvider;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why a key cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key file {path} cannot be used")]
    KekFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the key file {path} has mode {mode:o}, others can read it: chmod 600")]
    KekMode { path: PathBuf, mode: u32 },
    #[error("the key file {path} has {length} bytes instead of 32")]
    KekLength { path: PathBuf, length: usize },
    #[error("{path} holds no number")]
    HighWater { path: PathBuf },
    #[error(
        "the keyring in the database is at generation {found}, this host has seen {seen}: it was restored from \
         an older backup. If that is what you want, start once with --accept-restored-keyring"
    )]
    Restored { found: i64, seen: i64 },
    #[error("the key `{name}` was sealed by {sealed_by}, this host has {here}")]
    OtherKek { name: String, sealed_by: String, here: String },
    #[error("these bytes were not sealed by this keyring, or not for this place")]
    NotOurs,
    #[error("the cryptographic library failed")]
    Crypto,
    #[error(transparent)]
    Db(#[from] crate::db::Error),
}

/// Whether a keyring older than the one last seen may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    Refuse,
    Accept,
}

/// Sealed keys by name. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    db: Db,
    kek: Arc<dyn KekProvider>,
    tenant: String,
}

impl Keyring {
    /// Opens the keyring, after comparing its generation with the highest that the provider has seen.
    pub async fn open_at(
        db: Db,
        kek: Arc<dyn KekProvider>,
        tenant: &str,
        restored: Restored,
    ) -> Result<Self, Error> {
        let found = sql::generation(&mut db.read().await?, tenant).await?;
        let seen = kek.high_water()?;
        if found < seen && restored == Restored::Refuse {
            return Err(Error::Restored { found, seen });
        }
        kek.raise_high_water(found)?;
        Ok(Self { db, kek, tenant: tenant.to_owned() })
    }

    /// The key of that name, if there is one.
    pub async fn open(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.open_in(&mut self.db.read().await?, name).await
    }

    /// As [`Self::open`], within a transaction.
    pub async fn open_in(&self, tx: &mut Tx, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let Some(row) = sql::row(tx, &self.tenant, name).await? else { return Ok(None) };
        if row.kek_id != self.kek.id() {
            return Err(Error::OtherKek {
                name: name.to_owned(),
                sealed_by: row.kek_id,
                here: self.kek.id().to_owned(),
            });
        }
        self.kek.unwrap(&aad(&self.tenant, name, row.generation), &row.sealed).map(Some)
    }

    /// Seals `plain` under `name` (replacing what was there) within a transaction. Call [`Self::committed`]
    /// after it, or use [`Self::seal`].
    pub async fn seal_in(&self, tx: &mut Tx, name: &str, plain: &[u8], now: i64) -> Result<i64, Error> {
        let generation = sql::next_generation(tx, &self.tenant).await?;
        let sealed = self.kek.wrap(&aad(&self.tenant, name, generation), plain)?;
        let row = sql::Row { generation, kek_id: self.kek.id().to_owned(), sealed };
        sql::put(tx, &self.tenant, name, &row, now).await?;
        Ok(generation)
    }

    /// Tells the provider that this generation is in the database.
    pub fn committed(&self, generation: i64) -> Result<(), Error> {
        self.kek.raise_high_water(generation)
    }

    /// Seals `plain` under `name` in its own transaction.
    pub async fn seal(&self, name: &str, plain: &[u8], now: i64) -> Result<(), Error> {
        let generation = tx!(self.db, "keyring.seal", |tx| self.seal_in(tx, name, plain, now).await)?;
        self.committed(generation)
    }

    /// The key of that name; where there is none, `make` makes it, and it is sealed. Two replicas that start
    /// at once end with the same key.
    pub async fn open_or_make(
        &self,
        name: &str,
        now: i64,
        make: impl Fn() -> Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        if let Some(key) = self.open(name).await? {
            return Ok(key);
        }
        let (key, generation) = tx!(self.db, "keyring.make", |tx| {
            if let Some(key) = self.open_in(tx, name).await? {
                return Ok((key, 0));
            }
            let key = make();
            let generation = self.seal_in(tx, name, &key, now).await?;
            Ok::<_, Error>((key, generation))
        })?;
        self.committed(generation)?;
        Ok(key)
    }
}

/// len32 ‖ tenant ‖ len32 ‖ name ‖ generation (8 bytes).
fn aad(tenant: &str, name: &str, generation: i64) -> Vec<u8> {
    let mut aad = Vec::new();
    for part in [tenant, name] {
        aad.extend_from_slice(&(part.len() as u32).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad.extend_from_slice(&generation.to_be_bytes());
    aad
}

impl crate::db::Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_busy())
    }
}

impl From<Error> for crate::refusal::Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

#[cfg(test)]
mod tests;
