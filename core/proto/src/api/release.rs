//! Releases, their artefacts and the deltas between them.

use crate::{Digest, ReleaseName};
use serde::{Deserialize, Serialize};

/// A release, as an operator sees it. Born when its manifest is published; never edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    pub hardware: String,
    pub release: ReleaseName,
    pub version: String,
    pub security_counter: u64,
    /// Digest of the manifest.
    pub manifest: Digest,
    pub artefacts: Vec<crate::manifest::Artefact>,
    /// Channels that list it now.
    pub channels: Vec<String>,
    pub published_at: i64,
}

/// Answer to `PUT /api/v1/artifacts/{sha256}` (body: the raw bytes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArtifactStored {
    pub sha256: Digest,
    /// Bytes.
    pub length: u64,
    /// SHA-256 over the block list, which the service stores as a blob of its own.
    pub block_root: Digest,
}

/// A delta between two artefacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delta {
    pub base: Digest,
    pub output: Digest,
    pub state: DeltaState,
    /// `full`, `bsdiff`, `zstd_patch`; of the cheapest, once built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Bytes on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes of the output.
    pub full_bytes: u64,
    /// Why there is none, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a delta stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeltaState {
    Queued,
    Published,
    /// Not worth it (above 70 % of full) or not possible within the limits.
    Declined,
    /// Reported bad by devices; no longer offered.
    Withdrawn,
}

/// `POST /api/v1/deltas`: build the deltas from one release to another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BuildDeltas {
    pub hardware: String,
    pub from: ReleaseName,
    pub to: ReleaseName,
}
