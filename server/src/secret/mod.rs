//! Secrets: sealed one data key a version, granted narrowly, read by devices and workloads, never by operators.
//!
//! `seal.rs` is how a value rests; `ops.rs` is who gets it. Invariant: a value is in clear only between
//! `seal::open` and the answer that carries it, in zeroizing memory without Debug.

pub mod http;
pub mod ops;
pub mod seal;
mod sql;
#[cfg(test)]
mod tests;
