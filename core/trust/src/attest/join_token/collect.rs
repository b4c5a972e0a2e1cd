//! The device's half: M1 and M3 with a token.

use crate::attest::binding::{Exporter, Transcript};
use holdfast_proto::enroll::{AttestKind, EnrollProof, EnrollStart, JoinTokenProof, JoinTokenStart};
use holdfast_proto::{Bytes, TenantId};

/// M1's bytes. In a recovery `token_id` is empty and the expired certificate (DER) is there.
///
/// # Errors
/// When serialisation fails, which it does not for these types.
pub fn start(
    tenant: TenantId,
    serial: String,
    model: String,
    token_id: String,
    expired_certificate: Option<&[u8]>,
) -> Result<Vec<u8>, serde_json::Error> {
    let join_token =
        Some(JoinTokenStart { token_id, expired_certificate: expired_certificate.map(Bytes::from) });
    serde_json::to_vec(&EnrollStart {
        kind: AttestKind::JoinToken,
        tenant,
        serial,
        model,
        tpm: None,
        join_token,
    })
}

/// M3's body: `token` is the 32 secret bytes of the blob.
///
/// # Errors
/// As [`start`].
pub fn proof(
    m1: &[u8],
    m2: &[u8],
    csr: &[u8],
    token: &[u8; 32],
    exporter: &Exporter,
) -> Result<Vec<u8>, serde_json::Error> {
    body(m1, m2, csr, Transcript::new(m1, m2).token_proof(token, csr, exporter).to_vec())
}

/// What the expired certificate's key signs (ECDSA with SHA-256 over these bytes) in a recovery.
pub fn recovery_message(m1: &[u8], m2: &[u8], csr: &[u8], exporter: &Exporter) -> Vec<u8> {
    Transcript::new(m1, m2).recovery_message(csr, exporter)
}

/// M3's body of a recovery: `signature` is ECDSA-Sig-Value, DER.
///
/// # Errors
/// As [`start`].
pub fn recovery_proof(
    m1: &[u8],
    m2: &[u8],
    csr: &[u8],
    signature: Vec<u8>,
) -> Result<Vec<u8>, serde_json::Error> {
    body(m1, m2, csr, signature)
}

fn body(m1: &[u8], m2: &[u8], csr: &[u8], mac: Vec<u8>) -> Result<Vec<u8>, serde_json::Error> {
    let join_token = Some(JoinTokenProof { mac: Bytes(mac) });
    serde_json::to_vec(&EnrollProof {
        m1: Bytes::from(m1),
        m2: Bytes::from(m2),
        csr: Bytes::from(csr),
        tpm: None,
        join_token,
    })
}
