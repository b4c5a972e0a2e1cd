//! A one-time token and a software key: tier T0.

#[cfg(feature = "attest-collect")]
pub mod collect;
pub mod evidence;
#[cfg(feature = "attest-verify")]
pub mod verify;

#[cfg(feature = "attest-verify")]
pub use verify::{ExpiredCertificate, JoinTokenClaim, JoinTokenProven};
