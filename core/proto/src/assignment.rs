//! Which release a device shall run: a `_type: targets` envelope signed by the assignment keys.
//!
//! `signed.targets` names exactly one manifest path with its length and SHA-256, and no artefact;
//! `signed.version` equals `sequence`; the rest stands in `signed["x-holdfast-assignment"]`.

use crate::DeviceId;
use serde::{Deserialize, Serialize};

/// Name of the extension in `signed`.
pub const ASSIGNMENT_FIELD: &str = "x-holdfast-assignment";
/// Name of the signed time in timestamp's `signed`: Unix seconds.
pub const ISSUED_AT_FIELD: &str = "x-holdfast-issued-at";

/// The extension's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentBody {
    pub device: DeviceId,
    /// Key epoch (`keys/assignment.json`).
    pub epoch: u64,
    /// Rises within the epoch.
    pub sequence: u64,
    /// Seconds that the lease lasts from the receipt of each confirmation.
    pub lease_s: u64,
    pub attempt: u32,
    /// `active`, or `withdrawn`: drop it before Arming, revert it in Trial.
    pub state: AssignmentWord,
    /// `default`, or a priority class name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// What the service says of the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AssignmentWord {
    Active,
    /// Keep what you hold, but do not arm (the rollout is paused).
    Paused,
    Withdrawn,
}
