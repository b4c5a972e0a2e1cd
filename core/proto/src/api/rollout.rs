//! Rollouts, their phases and assignments.

use crate::{DeviceId, ReleaseName, RolloutId};
use serde::{Deserialize, Serialize};

/// `POST /api/v1/rollouts`: a rollout as drafted; `POST /api/v1/rollouts/{id}/start` begins it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateRollout {
    pub hardware: String,
    pub release: ReleaseName,
    /// Kubernetes label selector over devices; empty matches all of the hardware.
    #[serde(default)]
    pub selector: String,
    /// In order; none means: one device, then the rest.
    #[serde(default)]
    pub phases: Vec<PhaseSpec>,
    /// Failure rate that stops a phase; default 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_rate: Option<f64>,
    /// A device unfinished so long after Arming is lost; default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after_s: Option<u64>,
    /// Lease of an offer; default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
    /// `claimed`, `booted` or `full`; default `claimed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_evidence: Option<EvidenceLevel>,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PhaseSpec {
    /// `1` (devices), `10%`, or `rest`.
    pub size: String,
    /// Seconds to wait after the phase's devices have ended, before the gate.
    #[serde(default)]
    pub soak_s: u64,
    /// Stop at so many failures; default 1 in phases under 20 devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
}

/// How well a device's word that it runs a release is backed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvidenceLevel {
    /// Signed by the device key over a nonce given after Arming, with a new boot id.
    Claimed,
    /// A quote too, with resetCount above the one at Arming and the slot's digest measured.
    Booted,
    /// A verity root in the measured command line too.
    Full,
}

/// A rollout, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    pub id: RolloutId,
    pub hardware: String,
    pub release: ReleaseName,
    pub selector: String,
    /// `Draft`, `Running`, `Paused(gate)`, `RollingBack`, `RolledBack`, `Completed`, ...
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub phases: Vec<Phase>,
    /// The planner's report, in words, newest run.
    pub report: Vec<String>,
    pub created_at: i64,
    /// Row version, for If-Match.
    pub version: i64,
}

/// One phase as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Phase {
    pub spec: PhaseSpec,
    /// `Waiting`, `Admit`, `Soak`, `Gate`, `Done`.
    pub state: String,
    pub devices: u32,
    pub confirmed: u32,
    pub failed: u32,
    pub rolled_back: u32,
    pub lost: u32,
}

/// One device's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    pub device: DeviceId,
    pub rollout: RolloutId,
    pub release: ReleaseName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseName>,
    pub phase: u32,
    pub epoch: u64,
    pub sequence: u64,
    pub attempt: u32,
    /// `Pending`, `Offered`, ..., `Confirmed`, `RolledBack`, ...
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceLevel>,
    /// What was moved, as the device reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_bytes: Option<u64>,
    pub updated_at: i64,
}
