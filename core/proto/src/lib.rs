//! SAID: the words that go over a wire or into a signed file, and their names.
//!
//! Here: ids, units, request and answer pairs, manifests, problem documents. Serde only.
//! Not here: any check of what a word means (that is `holdfast-trust`), any decision.
//! Invariant: a type here can be built from bytes without believing anything about them.
//!
//! Conventions: JSON; binary as standard base64 with padding ([`Bytes`]); digests as lower-case hex
//! ([`Digest`]); times as Unix seconds (`i64`) unless the name says otherwise.

pub mod api;
pub mod assignment;
pub mod blob;
pub mod bytes;
pub mod enroll;
pub mod id;
pub mod manifest;
pub mod problem;
pub mod report;
pub mod state;

pub use bytes::{Bytes, Digest};
pub use id::{DeviceId, GrantId, ReleaseName, RolloutId, TenantId};
