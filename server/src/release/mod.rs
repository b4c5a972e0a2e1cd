//! Releases and the deltas between them.
//!
//! A release is born when its manifest is published (`repo::publish`) and never edited. A delta is queued by
//! an operator or a rollout, built by the worker, and offered until devices report it bad.

pub mod http;
mod ops;
mod sql;
#[cfg(test)]
mod tests;
pub mod work;

pub use ops::*;
