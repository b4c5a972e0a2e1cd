//! The update repository: what the desk gives the service, and what the service says of its metadata.

use crate::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /api/v1/tuf/keys`: the public halves of the service's online keys, for the desk to sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnlineKeys {
    /// By role: `snapshot`, `timestamp`, `deltas`, `assignment`.
    pub roles: BTreeMap<String, OnlineKey>,
    /// Key epoch of the assignment keys.
    pub assignment_epoch: u64,
    /// The CA roots that `trust/ca.json` shall hold; DER.
    pub ca_roots: Vec<Bytes>,
}

/// One online key: its TUF key id and key object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnlineKey {
    pub key_id: String,
    /// TUF key object (TUF 4.2).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub key: serde_json::Value,
}

/// `POST /api/v1/tuf/publish`: signed metadata and small target files, taken whole or not at all.
///
/// The service verifies the result with the device's own client, re-signs snapshot and timestamp, and
/// registers every release that a product role names for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishTuf {
    pub metadata: Vec<PublishMetadata>,
    #[serde(default)]
    pub files: Vec<PublishFile>,
}

/// One metadata file, bytes as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishMetadata {
    /// `root`, `targets`, `product-<hw>`, `channel-<name>`.
    pub role: String,
    pub bytes: Bytes,
}

/// One small target file: a manifest, `trust/ca.json`, `keys/assignment.json`. At most 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishFile {
    /// Target path.
    pub path: String,
    pub bytes: Bytes,
}

/// Answer to publish, and `GET /api/v1/tuf/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TufStatus {
    pub roles: Vec<RoleStatus>,
    /// Releases that this publish registered; empty for status.
    #[serde(default)]
    pub new_releases: Vec<String>,
}

/// One role's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleStatus {
    pub role: String,
    pub version: u64,
    /// Unix seconds.
    pub expires_at: i64,
    /// True once less than a third of the role's life is left.
    pub renew_soon: bool,
}
