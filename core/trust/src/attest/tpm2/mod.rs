//! TPM 2.0 with an endorsement key: tiers T4 (certificate) and T3 (listed EK).

#[cfg(feature = "attest-collect")]
pub mod collect;
pub mod evidence;

#[cfg(feature = "attest-verify")]
mod ak;
#[cfg(feature = "attest-verify")]
pub mod appraise;
#[cfg(feature = "attest-verify")]
pub(crate) mod curve;
#[cfg(feature = "attest-verify")]
pub mod ek;
#[cfg(feature = "attest-verify")]
pub mod quote;
#[cfg(feature = "attest-verify")]
pub mod report;
#[cfg(feature = "attest-verify")]
mod roca;
#[cfg(feature = "attest-verify")]
mod vendor;
#[cfg(feature = "attest-verify")]
pub mod verify;

#[cfg(feature = "attest-verify")]
pub use appraise::{Clock, Reboot};
#[cfg(feature = "attest-verify")]
pub use ek::EkCertificate;
#[cfg(feature = "attest-verify")]
pub use evidence::ek_hash;
#[cfg(feature = "attest-verify")]
pub use quote::{LogFacts, QuoteFacts};
#[cfg(feature = "attest-verify")]
pub use report::{Booted, BootedExpectation, Expected, verify_report};
#[cfg(feature = "attest-verify")]
pub use verify::{EkBasis, TpmClaim, TpmProven};
