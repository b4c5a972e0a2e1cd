//! BELIEVED: the only place where untrusted bytes become trusted values.
//!
//! No input or output, no clock (`now` is an argument), no randomness, no crypto provider: signature algorithms
//! come from the caller as [`rustls_pki_types::SignatureVerificationAlgorithm`]s.
//! Invariant: nothing is issued or installed without a [`Verified`], and only this crate makes one.

pub mod attest;
#[cfg(feature = "attest-verify")]
pub mod chain;
#[cfg(feature = "attest-verify")]
pub mod csr;
pub mod limits;
#[cfg(feature = "tuf")]
pub mod tuf;
mod verified;
#[cfg(feature = "workload")]
pub mod workload;

pub use verified::Verified;
