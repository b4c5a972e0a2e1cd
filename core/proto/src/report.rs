//! `PUT /v1/report`: what a device says of itself. Signed by the device key, numbered, queued while offline.

use crate::enroll::{Attestation, PcrValue};
use crate::{Bytes, Digest, ReleaseName};
use serde::{Deserialize, Serialize};

/// Header: base64 of the device key's ECDSA P-256 signature (DER) over SHA-256([`REPORT_CONTEXT`] ‖ body).
pub const REPORT_SIGNATURE_HEADER: &str = "holdfast-signature";
/// Prefix of what is hashed and signed.
pub const REPORT_CONTEXT: &[u8] = b"holdfast/report/1";
/// Cap of the body, bytes.
pub const REPORT_MAX_BYTES: usize = 1 << 20;

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Rises by one with each report of this device.
    pub sequence: u64,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Which assignment this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<AssignmentRef>,
    pub progress: Progress,
    pub running: Running,
    pub versions: TrustedVersions,
    /// Bytes fetched for this assignment so far, and by which codec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// Evidence for Arming and Confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Last lines of what went wrong, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Names an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AssignmentRef {
    pub epoch: u64,
    pub sequence: u64,
    pub attempt: u32,
}

/// Where the device stands with its assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "word", rename_all = "snake_case", deny_unknown_fields)]
pub enum Progress {
    /// Nothing under way.
    Idle,
    Accepted,
    Fetching,
    Staged,
    Arming,
    Trial,
    Confirmed,
    /// It ran and was taken back; `code` says why.
    RolledBack {
        code: String,
    },
    /// It will not be installed; `code` says why.
    Refused {
        code: String,
    },
    /// It could not be installed.
    Failed {
        code: String,
    },
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Running {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    /// Digest of the manifest that was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Digests of the running artefacts, by name.
    pub artefacts: std::collections::BTreeMap<String, Digest>,
    /// The floor: highest security counter committed.
    pub floor: u64,
    pub slot: String,
    /// Declared RAM for applying deltas, bytes.
    pub ram_bytes: u64,
}

/// Metadata versions that the device trusts; the service jumps above the highest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustedVersions {
    pub root: u64,
    pub timestamp: u64,
    pub snapshot: u64,
    pub assignment: u64,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// `full`, `bsdiff`, `zstd_patch`.
    pub codec: String,
    /// Bytes fetched over the network.
    pub bytes: u64,
    /// Bytes of the artefacts in full.
    pub full_bytes: u64,
}

/// A quote made for this report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The service's nonce that it answers ([`crate::state::NONCE_HEADER`]).
    pub nonce: Bytes,
    /// Absent where the device has no TPM: level *claimed* at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Attestation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pcr_values: Vec<PcrValue>,
    /// Event log since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Bytes>,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportAccepted {
    /// The highest sequence that the service holds.
    pub sequence: u64,
}
