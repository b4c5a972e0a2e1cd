//! Certificate authorities: our own, and the anchors that endorsement keys are believed by.

use crate::Bytes;
use crate::api::device::RootClass;
use serde::{Deserialize, Serialize};

/// One of our CAs, `GET /api/v1/authorities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authority {
    /// `root`, `tenant`, `device`, `server`.
    pub name: String,
    /// `active`, `old`, `revoked`.
    pub state: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// Hex.
    pub serial: String,
    pub not_before: i64,
    pub not_after: i64,
    /// DER.
    pub certificate: Bytes,
}

/// `POST /api/v1/authorities/ek-roots`: believe endorsement keys below this certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddEkRoot {
    /// DER.
    pub certificate: Bytes,
    pub class: RootClass,
    /// What it may certify; at least one.
    pub certifies: Vec<Certifies>,
    /// Intermediates below it that TPMs do not carry; DER.
    #[serde(default)]
    pub intermediates: Vec<Bytes>,
}

/// A manufacturer as certificates and as the TPM name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Certifies {
    /// Attribute 2.23.133.2.1 of the EK certificate's SAN, e.g. `id:00001014`.
    pub san_id: String,
    /// TPM_PT_MANUFACTURER, 8 hex digits or its four characters, e.g. `IBM`.
    pub tpm_id: String,
}

/// An anchor, as `GET /api/v1/authorities/ek-roots` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EkRoot {
    pub id: String,
    pub subject: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    pub class: RootClass,
    pub certifies: Vec<Certifies>,
    pub not_after: i64,
    pub added_by: String,
    pub added_at: i64,
}

/// What a denial is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DenialKind {
    /// An endorsement key, by SHA-256 of its SubjectPublicKeyInfo.
    Ek,
    /// An EK certificate or its issuer, by serial number.
    CertificateSerial,
    /// Firmware of a manufacturer, from one version to another.
    Firmware,
}

/// `POST /api/v1/authorities/ek-denials`: refuse it whatever else it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DenyEk {
    pub kind: DenialKind,
    /// 64 hex digits; a serial number in hex; `MANUFACTURER:FROM-TO` with versions of up to 16 hex digits.
    pub value: String,
    /// Why; needed.
    pub reason: String,
}

/// A denial, as `GET /api/v1/authorities/ek-denials` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EkDenial {
    pub kind: DenialKind,
    pub value: String,
    pub reason: String,
    pub added_by: String,
    pub added_at: i64,
}
