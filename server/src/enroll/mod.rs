//! Enrolment, renewal and recovery: M1 to M5, attempts, evidence.
//!
//! What a device must show is judged by `holdfast_trust::attest` alone; whose it is, by `holdfast_decide::identity`.
//! Here are the rows that both are asked about, and one transaction that writes what they said.
//!
//! M1 writes nothing. M3 spends its nonce under a unique index in the transaction that issues. A record becomes
//! ACTIVE with M5, and only then are its older certificates revoked.

mod attempts;
mod believed;
mod evidence;
pub mod http;
mod issue;
pub mod ops;
mod prove;
mod rows;
pub mod session;
mod sql;
mod start;
#[cfg(test)]
mod tests;
pub mod work;
