//! Sites: the cluster in each, its pinned token keys, its controller, and what its workloads read.
//!
//! Invariant: a workload counts only inside its own site's controller's channel, and only with a token that the
//! keys pinned for that site verify.

pub mod http;
pub mod ops;
mod sql;
#[cfg(test)]
mod tests;
pub mod workload;
