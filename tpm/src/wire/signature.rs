//! TPMT_SIGNATURE (TPM 2.0 Part 2, clause 11.3.4).

use super::{AlgId, Reader, WireError, der, public::left_pad, public::strip_zeros};

const MAX_RSA_BYTES: usize = 512;
const MAX_ECC_BYTES: usize = 66;

/// A signature with the scheme and hash that *it* claims; a verifier holds them against the key's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub scheme: AlgId,
    pub hash: AlgId,
    pub value: SignatureValue,
}

/// The numbers, big-endian as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureValue {
    Rsa(Vec<u8>),
    Ecdsa { r: Vec<u8>, s: Vec<u8> },
}

impl Signature {
    /// Reads a TPMT_SIGNATURE (RSASSA, RSAPSS, ECDSA) that fills `bytes` exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes)?;
        let signature = Self::read(&mut reader)?;
        reader.finish("TPMT_SIGNATURE")?;
        Ok(signature)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let scheme = AlgId(reader.u16("sigAlg")?);
        if ![AlgId::RSASSA, AlgId::RSAPSS, AlgId::ECDSA].contains(&scheme) {
            return Err(WireError::Unsupported { what: "sigAlg", value: scheme.0.into() });
        }
        let hash = AlgId(reader.u16("signature.hash")?);
        let value = if scheme == AlgId::ECDSA {
            SignatureValue::Ecdsa {
                r: reader.sized("signatureR", MAX_ECC_BYTES)?.to_vec(),
                s: reader.sized("signatureS", MAX_ECC_BYTES)?.to_vec(),
            }
        } else {
            SignatureValue::Rsa(reader.sized("signature.sig", MAX_RSA_BYTES)?.to_vec())
        };
        Ok(Self { scheme, hash, value })
    }

    /// The signature as X.509 and TLS carry it: ECDSA-Sig-Value in DER, or the RSA number.
    pub fn to_x509(&self) -> Vec<u8> {
        match &self.value {
            SignatureValue::Rsa(number) => number.clone(),
            SignatureValue::Ecdsa { r, s } => der::ecdsa_signature(r, s),
        }
    }

    /// r ‖ s, each in `coordinate_bytes`; `None` if it is no ECDSA signature or a number is too long.
    pub fn to_fixed(&self, coordinate_bytes: usize) -> Option<Vec<u8>> {
        match &self.value {
            SignatureValue::Ecdsa { r, s }
                if strip_zeros(r).len() <= coordinate_bytes && strip_zeros(s).len() <= coordinate_bytes =>
            {
                Some([left_pad(r, coordinate_bytes), left_pad(s, coordinate_bytes)].concat())
            }
            _ => None,
        }
    }
}
