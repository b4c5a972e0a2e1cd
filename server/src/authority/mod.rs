//! Authorities as operators see them: our own CAs, and the anchors of endorsement keys.

pub mod http;
pub mod ops;
mod sql;
