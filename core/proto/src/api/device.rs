//! Devices, their claims, enrolment attempts and evidence.

use crate::blob::ManufactureRecord;
use crate::{DeviceId, Digest, ReleaseName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A device record's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeviceState {
    Pending,
    Active,
    Suspended,
    Retired,
    Scrapped,
}

/// Tier of trust, T0 (software key) to T4 (EK certificate chained to a maker's root).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Tier {
    T0,
    T1,
    T2,
    T3,
    T4,
}

/// What kind of root an EK chains to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RootClass {
    Software,
    Virtual,
    Firmware,
    Discrete,
}

/// A device, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    pub id: DeviceId,
    pub serial: String,
    pub model: String,
    pub state: DeviceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_class: Option<RootClass>,
    /// Labels that selectors match.
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_hash: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Serial number (hex) and end of the current certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<i64>,
    /// Row version, for If-Match.
    pub version: i64,
}

/// `POST /api/v1/devices`: the claim before enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterDevice {
    pub record: ManufactureRecord,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One check of an evidence record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// Stable rule id, kebab-case, e.g. `ek-certificate-path`.
    pub rule: String,
    pub result: CheckResult,
    /// What was compared, for people; nothing secret.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    Pass,
    Fail,
    /// Did not hold, but policy lets it through; always logged.
    Noted,
    Skipped,
}

/// `POST /api/v1/devices/import`: many claims, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportDevices {
    /// At most 1000.
    pub devices: Vec<RegisterDevice>,
}

/// Its answer, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Imported {
    pub devices: Vec<Device>,
}

/// `POST /api/v1/devices/{id}/quarantine`, `/reinstate`, `/retire`: why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StateChange {
    pub reason: String,
}

/// `PUT /api/v1/devices/{id}/labels`: all of them; takes If-Match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetLabels {
    pub labels: BTreeMap<String, String>,
}

/// `POST /api/v1/devices/tokens`: a one-time join token for a device without a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    pub serial: String,
    pub model: String,
    /// Seconds; at most 90 days.
    pub ttl_s: u64,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Its answer; the secret is shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinTokenCreated {
    pub join_token: crate::blob::JoinTokenSecret,
    pub device: DeviceId,
    pub expires_at: i64,
}

/// `POST /api/v1/devices/blob`: what a device carries. The same as query of `GET`, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BlobRequest {
    pub hardware: String,
    pub channel: String,
    /// Base URL that devices use; none: the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<crate::blob::JoinTokenSecret>,
}
