//! Enrolment attempts and the evidence behind each decision.

use crate::api::device::{Check, RootClass, Tier};
use crate::enroll::AttestKind;
use crate::{Bytes, DeviceId, Digest};
use serde::{Deserialize, Serialize};

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentState {
    /// The proof holds; an operator must say whose device it is.
    Pending,
    /// Same serial, another endorsement key: an operator must decide.
    Conflict,
    /// Approved; the device starts again at M1.
    Approved,
    Issued,
    Refused,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentPurpose {
    Enroll,
    Renew,
    Recover,
}

/// An attempt, `GET /api/v1/enrollments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrollment {
    pub id: String,
    pub purpose: EnrollmentPurpose,
    pub kind: AttestKind,
    pub state: EnrollmentState,
    /// Claimed.
    pub serial: String,
    /// Claimed.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Stable code of the refusal, conflict or wait; empty once issued.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_hash: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_class: Option<RootClass>,
    pub created_at: i64,
    pub updated_at: i64,
}

/// An attempt with everything that was decided from, `GET /api/v1/enrollments/{id}` and
/// `GET /api/v1/devices/{id}/evidence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EvidenceRecord {
    pub enrollment: Enrollment,
    pub checks: Vec<Check>,
    /// Raw inputs, content-addressed; the spent secret among them.
    pub inputs: Vec<EvidenceInput>,
    /// Version of the rules that judged.
    pub policy_version: String,
    /// SHA-256 over the anchors that were believed, hex.
    pub roots_version: String,
    /// Fingerprint of the issuing CA; none when nothing was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Serial of the certificate issued, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_serial: Option<String>,
    /// Exporter of the connection that carried M3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter: Option<Bytes>,
}

/// One raw input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EvidenceInput {
    /// `m1`, `m2`, `m3`, `secret`, `proof`.
    pub name: String,
    pub sha256: Digest,
    pub bytes: Bytes,
}

/// `POST /api/v1/enrollments/{id}/approve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveEnrollment {
    /// Why; required where the attempt is a conflict.
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// `POST /api/v1/enrollments/{id}/refuse`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefuseEnrollment {
    /// Why; needed.
    pub reason: String,
}
