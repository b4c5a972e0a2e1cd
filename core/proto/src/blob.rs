//! What a device carries from the line: `holdfast device blob` writes it, `holdfast-device` reads it.

use crate::{Bytes, TenantId};
use serde::{Deserialize, Serialize};

/// The blob, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceBlob {
    pub schema: u32,
    pub tenant: TenantId,
    /// Base URL of the device API, `https://host:port`.
    pub url: String,
    /// CA roots that verify the service until TUF's bundle does; DER.
    pub ca_roots: Vec<Bytes>,
    /// The TUF root.json that trust starts from, raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuf_root: Option<Bytes>,
    pub hardware: String,
    pub channel: String,
    /// No time before this is believed, Unix seconds.
    pub minimum_time: i64,
    /// A join token, for devices without a TPM: id and the 32 secret bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<JoinTokenSecret>,
}

/// A join token as the device carries it. No Debug of the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinTokenSecret {
    pub id: String,
    pub secret: Bytes,
}

impl std::fmt::Debug for JoinTokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinTokenSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What `holdfast-device manufacture` prints, and `holdfast device register|import` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ManufactureRecord {
    pub serial: String,
    pub model: String,
    /// The EK certificate, DER, where the TPM has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_certificate: Option<Bytes>,
    /// SHA-256 of the EK's SubjectPublicKeyInfo (DER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_hash: Option<crate::Digest>,
    /// The AK's Name (nameAlg ‖ digest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak_name: Option<Bytes>,
}
