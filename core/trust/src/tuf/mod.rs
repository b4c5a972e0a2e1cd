//! Verify-only TUF: what a device believes of the update repository.
//!
//! Here: our own walk around sigstore-tuf's `TrustedMetadataSet` ([`walk`]), Holdfast's roles on top of it
//! ([`release`], [`assignment`]), the state that outlives a power cut ([`store`]), and what time it is ([`time`]).
//! Not here: sockets, disks, clocks, signing. Bytes come from a [`Source`] and rest in a [`Store`]; both are the
//! caller's, as `std::io` traits are elsewhere.
//! Invariant: trusted versions never decrease, and nothing leaves this folder as [`crate::Verified`] unless the
//! offline keys said what it contains.

pub mod assignment;
mod crypto;
mod error;
mod keys;
pub mod limits;
pub mod release;
pub mod store;
pub mod time;
pub mod walk;

pub use crypto::install_provider;
pub use error::TufError;
pub use walk::{Source, SourceError, Store, Trusted, refresh};

/// A target's description: length, hashes, custom.
pub use sigstore_tuf::TargetFile;
