//! What a TPM says of itself: the wire's words are [`holdfast_proto::enroll::TpmStart`] and `TpmProof`; here is
//! what both halves compute from them.

pub use holdfast_proto::enroll::{
    Attestation, NvCertificate, PcrBank, PcrValue, TpmChallenge, TpmProof, TpmStart,
};

/// Banks that a quote may be asked over, best first (TPM_ALG_ID): SHA-256, SHA-384. Never SHA-1.
pub const BANKS: [u16; 2] = [0x000B, 0x000C];
/// PCRs that software may reset at will: never trusted.
pub const UNTRUSTED_PCRS: [u8; 2] = [16, 23];
/// The device key that a challenge asks for today.
pub const DEVICE_KEY: &str = "ecdsa-p256-sha256";

/// The bank to quote: SHA-256, else SHA-384, if it holds every PCR of `selection`.
pub fn usable_bank(banks: &[PcrBank], selection: &[u8]) -> Option<u16> {
    let holds = |alg: &u16| {
        banks.iter().any(|bank| bank.alg == *alg && selection.iter().all(|pcr| bank.pcrs.contains(pcr)))
    };
    BANKS.into_iter().find(holds)
}

/// The EK's hash, by which lists name it: SHA-256 of its SubjectPublicKeyInfo. None when it is no TPM2B_PUBLIC.
#[cfg(feature = "attest-verify")]
pub fn ek_hash(ek_public: &[u8]) -> Option<holdfast_proto::Digest> {
    let public = holdfast_tpm::wire::Public::parse_tpm2b(ek_public).ok()?;
    Some(holdfast_proto::Digest(crate::attest::binding::sha256(&[&public.to_spki_der().ok()?])))
}
