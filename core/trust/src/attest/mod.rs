//! Attested enrolment: what a device must show, and what is believed of it.
//!
//! Each kind has its folder: `evidence.rs` (what is said), `collect.rs` (the device's half), `verify.rs` (the
//! service's half), tests. [`registry::KINDS`] lists them; one conformance suite runs over all.
//! [`start`] judges M1, [`prove`] judges M3. Nothing here issues, stores or remembers: whether a nonce was spent,
//! and to whom a serial number belongs, are the service's rows ([`reason::Reason`] names those refusals too).

pub mod binding;
pub mod join_token;
pub mod reason;
pub mod tpm2;

#[cfg(feature = "attest-verify")]
pub mod eventlog;
#[cfg(feature = "attest-verify")]
pub mod inspect;
#[cfg(feature = "attest-verify")]
mod ledger;
#[cfg(feature = "attest-verify")]
pub mod policy;
#[cfg(feature = "attest-verify")]
pub mod registry;
#[cfg(feature = "attest-verify")]
mod verify;

pub use binding::{Exporter, Transcript};
pub use reason::Reason;

#[cfg(feature = "attest-verify")]
pub use ledger::Refusal;
#[cfg(feature = "attest-verify")]
pub(crate) use ledger::{Failures, Ledger};
#[cfg(feature = "attest-verify")]
pub use policy::{DenyList, FirmwareRange, Policy, Recovery, Unlisted};
#[cfg(feature = "attest-verify")]
pub use verify::{Attempt, Claim, Known, Proof, Proven, Secret, Session, Started, TpmSession, prove, start};
