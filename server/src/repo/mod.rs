//! The update repository: metadata, small target files, blobs.
//!
//! `sign.rs` is the only file of the service that signs metadata; `publish.rs` takes what the desk signed,
//! whole or not at all; `verify.rs` loads every result with the device's own client before it counts; `blob/`
//! keeps bytes by their digest. Invariant: nothing is served that a device's client would refuse.

pub mod blob;
pub mod http;
pub mod publish;
mod serve;
pub mod sign;
mod sql;
#[cfg(test)]
mod tests;
mod verify;

pub use sql::{BlobRow, Stored};
pub(crate) use verify::Listed;

use crate::db::Db;
use blob::BlobStore;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// What the repository stands on. Cheap to clone.
#[derive(Clone)]
pub struct Repo {
    pub(crate) db: Db,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) tenant: String,
    keys: Arc<sign::OnlineKeySet>,
    /// DER: `trust/ca.json` must hold it, or no device would find this service again.
    ca_root: Arc<[u8]>,
    /// When the versions last jumped above what a device said it trusts.
    jumped_at: Arc<AtomicI64>,
}

impl Repo {
    /// Over the open online keys and a store of blobs.
    pub fn new(
        db: Db,
        keys: sign::OnlineKeySet,
        blobs: Arc<dyn BlobStore>,
        tenant: &str,
        ca_root: &[u8],
    ) -> Self {
        verify::install_provider();
        Self {
            db,
            blobs,
            tenant: tenant.to_owned(),
            keys: Arc::new(keys),
            ca_root: ca_root.into(),
            jumped_at: Arc::new(AtomicI64::new(i64::MIN)),
        }
    }
}
