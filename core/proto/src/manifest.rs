//! What a release is: the manifest at `products/<hw>/<release>.json`, signed by the product role.

use crate::{Bytes, Digest, ReleaseName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a release holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReleaseKind {
    Firmware,
    Oci,
    Both,
}

/// A release, whole: every artefact that belongs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this document; 1.
    pub schema: u32,
    pub release: ReleaseName,
    /// The maker's version, for people.
    pub version: String,
    /// Hardware ids that may install it.
    pub hardware: Vec<String>,
    pub kind: ReleaseKind,
    /// Anti-rollback: never below the highest that the device has committed.
    pub security_counter: u64,
    /// The lowest release (by name) or counter that it may come from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_counter_from: Option<u64>,
    /// Name of the health profile; its commands stand in the device's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_profile: Option<String>,
    pub artefacts: Vec<Artefact>,
    /// PCR or file reference values, by name, for appraisal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reference_measurements: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Digest>,
    /// A device whose floor is this may install the release although its counter is lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_downgrade_from: Option<u64>,
}

/// One artefact of a release. Its bytes are the blob `sha256`; its block list is the blob `block_root`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Which installer target takes it, e.g. `rootfs`.
    pub name: String,
    /// Bytes.
    pub length: u64,
    pub sha256: Digest,
    /// SHA-256 over the block list (32-byte SHA-256 of each 256 KiB block, in order).
    pub block_root: Digest,
}

/// `custom` of a target `delta/<base>-<output>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeltaCustom {
    pub base: Digest,
    pub output: Digest,
    /// `full`, `bsdiff` or `zstd_patch`.
    pub codec: String,
    /// RAM that applying it takes, bytes.
    pub ram_bytes: u64,
    /// Block root of the patch file itself.
    pub block_root: Digest,
}

/// Target `trust/ca.json`: the CA roots that verify the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaBundle {
    pub version: u64,
    /// DER certificates.
    pub roots: Vec<Bytes>,
}

/// Target `keys/assignment.json`: who may sign assignments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentKeys {
    pub epoch: u64,
    /// TUF key objects by key id.
    pub keys: BTreeMap<String, serde_json::Value>,
    pub threshold: u32,
}
