//! Grants: who may read which secret. Proposed by one person, in effect once another approves.
//!
//! A row carries a MAC under the root of the secret store: a writer of the database cannot make a grant.

pub mod http;
pub mod ops;
mod sql;
