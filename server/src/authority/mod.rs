//! Authorities as operators see them: our own CAs, and the anchors of endorsement keys.

mod deny;
pub mod http;
pub mod ops;
mod sql;
