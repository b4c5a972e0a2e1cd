//! The update repository: metadata, small target files, blobs, deltas.
//!
//! `sign.rs` is the only file of the service that signs metadata; `publish.rs` takes what the desk signed,
//! whole or not at all, after the device's own client has loaded it; `blob/` keeps bytes by their digest;
//! `delta_build.rs` makes deltas. Invariant: nothing is served that a device's client would refuse.

pub mod blob;
pub mod http;
pub mod publish;
pub mod sign;
mod sql;

pub use sql::{BlobRow, Stored};

use crate::db::Db;
use crate::keyring::Keyring;
use blob::BlobStore;
use std::sync::Arc;

/// What the repository stands on. Cheap to clone.
#[derive(Clone)]
pub struct Repo {
    pub(crate) db: Db,
    pub(crate) keyring: Keyring,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) tenant: String,
}
