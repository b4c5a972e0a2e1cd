//! The session token of M2: what M3 needs, AEAD-sealed under the service's keyring, so that any replica can
//! take M3 and nothing rests in the database.
//!
//! Invariant: a token opens only under the key of this installation, and only once it says SHA-256 of the
//! very M1 that M3 repeats (checked by the caller).

use crate::keyring::kek::{aead_key, open_with, seal_with};
use crate::keyring::{Error, Keyring};
use aws_lc_rs::aead::LessSafeKey;
use holdfast_proto::api::enrollment::EnrollmentPurpose;
use holdfast_proto::{Bytes, Digest};
use holdfast_trust::attest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const AAD: &[u8] = b"holdfast/enroll-session/1";

/// The key that seals sessions.
pub struct SessionKey(LessSafeKey);

/// What is sealed. No Debug: it holds the secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub purpose: EnrollmentPurpose,
    /// SHA-256 of M1 as received.
    pub m1: Digest,
    pub nonce: Bytes,
    pub expires_at: i64,
    /// The secret that the TPM must release; empty for a join token.
    pub secret: Bytes,
    /// The TPM's part; none for a join token.
    pub tpm: Option<TpmSession>,
    /// For a renewal: the device that asked, by its certificate.
    pub device: Option<String>,
}

/// What of a TPM M3 is held against.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmSession {
    pub ek_hash: Digest,
    pub ak_name: Bytes,
    pub pcr_bank: u16,
    pub pcr_selection: Vec<u8>,
}

impl Session {
    /// As the verifier takes it; `secret` is the token's for a join token, and replaces the sealed one.
    pub fn for_verifier(&self, secret: Option<[u8; 32]>) -> Option<attest::Session> {
        let sealed = <[u8; 32]>::try_from(self.secret.0.as_slice()).ok();
        Some(attest::Session {
            m1: self.m1,
            nonce: self.nonce.0.as_slice().try_into().ok()?,
            expires_at: self.expires_at,
            secret: secret.or(sealed).map(attest::Secret),
            tpm: self.tpm.as_ref().map(|tpm| attest::TpmSession {
                ek_hash: tpm.ek_hash,
                ak_name: tpm.ak_name.0.clone(),
                pcr_bank: tpm.pcr_bank,
                pcr_selection: tpm.pcr_selection.clone(),
            }),
        })
    }
}

impl SessionKey {
    pub async fn open_or_make(keyring: &Keyring, now: i64) -> Result<Self, Error> {
        let make = || Zeroizing::new(crate::chance::bytes::<32>().to_vec());
        Ok(Self(aead_key(&keyring.open_or_make("enroll/session", now, make).await?)?))
    }

    pub fn seal(&self, session: &Session) -> Result<Vec<u8>, Error> {
        let plain = Zeroizing::new(serde_json::to_vec(session).map_err(|_| Error::Crypto)?);
        seal_with(&self.0, AAD, &plain)
    }

    /// `None`: not sealed here.
    pub fn open(&self, sealed: &[u8]) -> Option<Session> {
        let plain = open_with(&self.0, AAD, sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// For other short secrets of enrolment (join tokens): bound to `name`.
    pub fn seal_bytes(&self, name: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        seal_with(&self.0, &[b"holdfast/join-token/1:", name].concat(), plain)
    }

    pub fn open_bytes(&self, name: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        open_with(&self.0, &[b"holdfast/join-token/1:", name].concat(), sealed)
    }
}
