//! Verify-only TUF: what a device believes of the update repository.
//!
//! Here: the client workflow as step machines over bytes received ([`walk`], [`search`], both [`step::Machine`]s)
//! around sigstore-tuf's `TrustedMetadataSet`; Holdfast's roles on top of it ([`release`], [`assignment`]); the state
//! that outlives a power cut ([`store`]); and what time it is ([`time`]).
//! Not here: sockets, disks, clocks, signing. Bytes come from a [`Source`] and rest in a [`Store`]; both are the
//! caller's, as `std::io` traits are elsewhere. Who cannot block takes the machines themselves.
//! Invariant: trusted versions never decrease, and nothing leaves this folder as [`crate::Verified`] unless the
//! offline keys said what it contains.

pub mod assignment;
mod crypto;
mod error;
mod keys;
pub mod limits;
pub mod release;
pub mod search;
pub mod step;
pub mod store;
pub mod time;
pub mod trusted;
pub mod walk;

pub use crypto::install_provider;
pub use error::TufError;
pub use step::{Source, SourceError, Store};
pub use trusted::{Trusted, check_target};
pub use walk::refresh;

/// A target's description: length, hashes, custom.
pub use sigstore_tuf::TargetFile;
