//! Where CA keys live. One trait, one file a back end.

pub mod file;

/// A CA's private key: it signs, and never shows itself.
pub trait CaKey: rcgen::SigningKey + Send + Sync {}

impl<K: rcgen::SigningKey + Send + Sync> CaKey for K {}
