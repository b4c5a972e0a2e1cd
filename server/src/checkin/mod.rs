//! A device checks in: what the service wants of it (`GET /v1/state`), what it says of itself (`PUT /v1/report`).
//!
//! A poll that brings nothing is a 304 without a write: when a device was last seen and when its lease ends are kept
//! in memory and flushed in batches. Invariant: nothing is believed of a report but what its signature, its sequence
//! and its evidence carry.

pub mod http;
pub mod nonce;
pub mod ops;
mod sql;
#[cfg(test)]
mod tests;
pub mod work;
