//! Blobs by SHA-256: artefacts, their block lists, patches. One trait, one registry.

mod files;

pub use files::Files;

use holdfast_proto::Digest;
use std::path::PathBuf;

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the blob has SHA-256 {actual}, {announced} was announced")]
    Digest { announced: Digest, actual: Digest },
    #[error("the blob is longer than the cap of {cap} bytes")]
    TooLong { cap: u64 },
    #[error("the disk is full: nothing was stored")]
    NoSpace(#[source] std::io::Error),
    #[error("the blob store failed")]
    Io(#[from] std::io::Error),
}

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    pub sha256: Digest,
    pub length: u64,
    /// SHA-256 over the block list, itself stored as a blob.
    pub block_root: Digest,
}

/// A write in progress: bytes in, then [`Incoming::finish`]; dropped unfinished, it leaves nothing.
pub trait Incoming: Send {
    /// # Errors
    /// When the cap is passed or the disk is full.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError>;

    /// Durable when it returns.
    ///
    /// # Errors
    /// When the digest is not the one announced.
    fn finish(self: Box<Self>) -> Result<StoredBlob, BlobError>;
}

/// Keeps bytes by their digest. Blocking: call it off the async threads.
pub trait BlobStore: Send + Sync {
    /// Begins a blob that shall have the digest `announced`, at most `cap` bytes.
    ///
    /// # Errors
    /// When nothing can be written.
    fn begin(&self, announced: Digest, cap: u64) -> Result<Box<dyn Incoming>, BlobError>;

    /// Where the blob can be read, if it is there.
    fn path(&self, digest: Digest) -> Option<PathBuf>;
}
