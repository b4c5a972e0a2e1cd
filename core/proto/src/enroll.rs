//! Enrolment, recovery and renewal: messages M1 to M5 (docs/protocol.md).
//!
//! Every message is kept and hashed as the bytes received; these types are how both sides read them.
//! Unknown fields are refused: a message is bound by its hash, so nothing in it may go unread.

use crate::{Bytes, DeviceId, TenantId};
use serde::{Deserialize, Serialize};

/// Header of M3: base64 of HMAC-SHA-256(secret, T ‖ SHA-256(M3 body)).
pub const PROOF_HEADER: &str = "holdfast-proof";
/// Label of the TLS exporter that binds M3 to its connection (RFC 9266: 32 bytes, empty context).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How a device proves what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttestKind {
    /// TPM 2.0 with an endorsement key: tiers T3 and T4.
    Tpm2,
    /// A one-time token and a software key: tier T0.
    JoinToken,
}

/// M1 Start, device to service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollStart {
    pub kind: AttestKind,
    pub tenant: TenantId,
    /// Claimed serial number; a claim, not a fact.
    pub serial: String,
    /// Claimed model.
    pub model: String,
    /// Present when and only when `kind` is `tpm2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmStart>,
    /// Present when and only when `kind` is `join_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<JoinTokenStart>,
}

/// The TPM's public parts, as read from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TpmStart {
    /// Raw contents of each EK certificate NV index.
    pub ek_certificates: Vec<NvCertificate>,
    /// NV 0x01C00100 to 0x01C001FF in order, raw.
    pub ek_chain: Vec<Bytes>,
    /// TPM2B_PUBLIC of the EK that the device will activate with.
    pub ek_public: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_nonce: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_template: Option<Bytes>,
    /// TPM2B_PUBLIC of the AK.
    pub ak_public: Bytes,
    /// TPM_PT_MANUFACTURER as 8 hex digits, unsigned claim.
    pub manufacturer: String,
    /// Vendor string, unsigned claim.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 ‖ _2, unsigned claim.
    pub firmware_version: u64,
    /// TPM_CAP_PCRS: the allocated banks.
    pub pcr_banks: Vec<PcrBank>,
}

/// One EK certificate as NV holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NvCertificate {
    pub nv_index: u32,
    pub bytes: Bytes,
}

/// One PCR bank and its PCRs. `alg` is a TPM_ALG_ID (11 = SHA-256).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PcrBank {
    pub alg: u16,
    pub pcrs: Vec<u8>,
}

/// M1 part of a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinTokenStart {
    /// Public id of the token; empty in a recovery.
    pub token_id: String,
    /// Recovery of a T0 device: its expired certificate, DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_certificate: Option<Bytes>,
}

/// M2 Challenge, service to device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollChallenge {
    /// Everything the service needs to take M3, sealed under its keyring.
    pub session: Bytes,
    /// 32 bytes.
    pub nonce: Bytes,
    /// When the session ends, Unix seconds by the service's clock.
    pub expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmChallenge>,
}

/// M2 part for a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TpmChallenge {
    /// TPM2B_ID_OBJECT.
    pub credential_blob: Bytes,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Bytes,
    /// What the device key must be; today `ecdsa-p256-sha256`.
    pub device_key: String,
    /// TPM_ALG_ID of the bank to quote.
    pub pcr_bank: u16,
    /// PCR indices to quote, ascending.
    pub pcr_selection: Vec<u8>,
    /// Whether the event log is wanted, if the device has one.
    pub event_log: bool,
}

/// M3 Proof, device to service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollProof {
    /// M1 byte for byte.
    pub m1: Bytes,
    /// M2 byte for byte.
    pub m2: Bytes,
    /// PKCS#10, DER.
    pub csr: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmProof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<JoinTokenProof>,
}

/// M3 part for a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TpmProof {
    /// TPM2B_PUBLIC of the device key.
    pub device_public: Bytes,
    pub certify: Attestation,
    pub quote: Attestation,
    pub pcr_values: Vec<PcrValue>,
    /// TCG event log, binary, at most 1 MiB; inline for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Bytes>,
}

/// A TPMS_ATTEST and the TPMT_SIGNATURE over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// TPMS_ATTEST, as received (without the TPM2B size).
    pub attest: Bytes,
    /// TPMT_SIGNATURE.
    pub signature: Bytes,
}

/// One PCR's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PcrValue {
    pub alg: u16,
    pub index: u8,
    pub value: Bytes,
}

/// M3 part of a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinTokenProof {
    /// HMAC-SHA-256(token, T ‖ SHA-256(CSR) ‖ exporter); in a recovery instead the old key's ECDSA (DER)
    /// over SHA-256(T ‖ SHA-256(CSR) ‖ exporter).
    pub mac: Bytes,
}

/// M4 Issue, service to device (status 200).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollIssued {
    pub device: DeviceId,
    /// Leaf first, then its issuers up to but without the root; DER.
    pub certificate_chain: Vec<Bytes>,
    /// When to renew, Unix seconds (2/3 of life with jitter).
    pub renew_at: i64,
    pub not_after: i64,
}

/// Instead of M4 (status 202 with Retry-After): the proof holds, an operator must say whose device it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollPending {
    /// The attempt's id, for `holdfast device approve`.
    pub enrollment: String,
    pub retry_after_s: u32,
}

/// M5's answer: the record is ACTIVE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledged {
    pub device: DeviceId,
    pub state: crate::api::device::DeviceState,
}
