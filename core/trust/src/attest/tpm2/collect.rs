//! The device's half: M1 and M3 put together from bytes that the TPM gave. No parser of certificates here.

use super::evidence::TpmProof;
use crate::attest::binding::{Exporter, Transcript};
use holdfast_proto::enroll::{AttestKind, EnrollChallenge, EnrollProof, EnrollStart, TpmChallenge, TpmStart};
use holdfast_proto::{Bytes, TenantId};

/// Why M2 is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    #[error("M2 is not the JSON that the protocol says")]
    Json(#[from] serde_json::Error),
    #[error("M2 has no part for a TPM")]
    NoTpm,
    #[error("the nonce has {0} bytes, not 32")]
    Nonce(usize),
    #[error("the service asks for a device key of kind `{0}`, which this client does not make")]
    DeviceKey(String),
}

/// M1's bytes; keep them: M3 repeats them.
///
/// # Errors
/// When serialisation fails, which it does not for these types.
pub fn start(
    tenant: TenantId,
    serial: String,
    model: String,
    tpm: TpmStart,
) -> Result<Vec<u8>, serde_json::Error> {
    let kind = AttestKind::Tpm2;
    serde_json::to_vec(&EnrollStart { kind, tenant, serial, model, tpm: Some(tpm), join_token: None })
}

/// Reads M2.
///
/// # Errors
/// [`ChallengeError`].
pub fn challenge(m2: &[u8]) -> Result<TpmChallenge, ChallengeError> {
    let challenge: EnrollChallenge = serde_json::from_slice(m2)?;
    if challenge.nonce.len() != 32 {
        return Err(ChallengeError::Nonce(challenge.nonce.len()));
    }
    let tpm = challenge.tpm.ok_or(ChallengeError::NoTpm)?;
    if tpm.device_key != super::evidence::DEVICE_KEY {
        return Err(ChallengeError::DeviceKey(tpm.device_key));
    }
    Ok(tpm)
}

/// What TPM2_Certify and TPM2_Quote must carry as qualifying data.
pub fn qualifying_data(
    m1: &[u8],
    m2: &[u8],
    csr: &[u8],
    event_log: Option<&[u8]>,
    exporter: &Exporter,
) -> ([u8; 32], [u8; 32]) {
    let transcript = Transcript::new(m1, m2);
    (transcript.certify(csr, exporter), transcript.quote(event_log, exporter))
}

/// M3's body and its `Holdfast-Proof` (raw; the header is its base64). `secret` is what ActivateCredential gave.
///
/// # Errors
/// As [`start`].
pub fn proof(
    m1: &[u8],
    m2: &[u8],
    csr: &[u8],
    tpm: TpmProof,
    secret: &[u8; 32],
) -> Result<(Vec<u8>, [u8; 32]), serde_json::Error> {
    let message = EnrollProof {
        m1: Bytes::from(m1),
        m2: Bytes::from(m2),
        csr: Bytes::from(csr),
        tpm: Some(tpm),
        join_token: None,
    };
    let body = serde_json::to_vec(&message)?;
    let proof = Transcript::new(m1, m2).proof(secret, &body);
    Ok((body, proof))
}
