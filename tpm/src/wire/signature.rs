//! TPMT_SIGNATURE (Part 2, 11.3.4).

use super::{WireError, der, exact};
use tpm2_protocol::data::{TpmtSignature, TpmuSignature};

/// A signature by an RSA or ECDSA key; `hash` is what the signature claims, to be compared with the key's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    RsaSsa { hash: u16, bytes: Vec<u8> },
    RsaPss { hash: u16, bytes: Vec<u8> },
    Ecdsa { hash: u16, r: Vec<u8>, s: Vec<u8> },
}

impl Signature {
    /// Parses exactly one signature.
    ///
    /// # Errors
    /// When the bytes are not exactly one TPMT_SIGNATURE of these three kinds.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let signature: TpmtSignature = exact("TPMT_SIGNATURE", bytes)?;
        Ok(match &signature.signature {
            TpmuSignature::Rsassa(rsa) => Self::RsaSsa { hash: rsa.hash.value(), bytes: rsa.sig.to_vec() },
            TpmuSignature::Rsapss(rsa) => Self::RsaPss { hash: rsa.hash.value(), bytes: rsa.sig.to_vec() },
            TpmuSignature::Ecdsa(ecc) => Self::Ecdsa {
                hash: ecc.hash.value(),
                r: ecc.signature_r.to_vec(),
                s: ecc.signature_s.to_vec(),
            },
            _ => {
                let what = format!("the signature algorithm {:?}", signature.sig_alg);
                return Err(WireError::Unsupported { structure: "TPMT_SIGNATURE", what });
            }
        })
    }

    /// Scheme and hash, as TPM_ALG_IDs.
    pub fn scheme(&self) -> super::Scheme {
        match self {
            Self::RsaSsa { hash, .. } => super::Scheme { alg: super::public::ALG_RSASSA, hash: *hash },
            Self::RsaPss { hash, .. } => super::Scheme { alg: super::public::ALG_RSAPSS, hash: *hash },
            Self::Ecdsa { hash, .. } => super::Scheme { alg: super::public::ALG_ECDSA, hash: *hash },
        }
    }

    /// The signature as X.509 verifiers take it: RSA's bytes, or ECDSA's DER SEQUENCE (RFC 3279 2.2.3).
    pub fn to_x509(&self) -> Vec<u8> {
        match self {
            Self::RsaSsa { bytes, .. } | Self::RsaPss { bytes, .. } => bytes.clone(),
            Self::Ecdsa { r, s, .. } => der::sequence(&[&der::unsigned(r), &der::unsigned(s)]),
        }
    }
}
