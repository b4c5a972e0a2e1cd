//! Operators and their service tokens.
//!
//! A token is 32 random bytes as `hf_` and 64 hex digits; the database holds its SHA-256 alone. It expires,
//! carries roles, and may be confined to a site. Nobody binds a role that he does not hold.

pub mod http;
pub mod ops;
mod sql;
