//! TPMT_PUBLIC: a key's public area (Part 2, 12.2.4). Names are computed over the bytes received.

use super::{WireError, der, exact, hash, unwrap_2b};
use tpm2_protocol::data::{TpmAlgId, TpmtPublic, TpmuAsymScheme, TpmuPublicId, TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode};

/// Object attributes (Part 2, 8.3), as raw bits: bits that we do not know stay visible.
pub mod attribute {
    pub const FIXED_TPM: u32 = 1 << 1;
    pub const ST_CLEAR: u32 = 1 << 2;
    pub const FIXED_PARENT: u32 = 1 << 4;
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub const USER_WITH_AUTH: u32 = 1 << 6;
    pub const ADMIN_WITH_POLICY: u32 = 1 << 7;
    /// firmwareLimited, of newer TPMs.
    pub const FIRMWARE_LIMITED: u32 = 1 << 8;
    /// svnLimited, of newer TPMs.
    pub const SVN_LIMITED: u32 = 1 << 9;
    pub const NO_DA: u32 = 1 << 10;
    pub const ENCRYPTED_DUPLICATION: u32 = 1 << 11;
    pub const RESTRICTED: u32 = 1 << 16;
    pub const DECRYPT: u32 = 1 << 17;
    pub const SIGN: u32 = 1 << 18;
}

/// A curve that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// TPM_ECC_CURVE (Part 4 of the algorithm registry).
    pub fn id(self) -> u16 {
        match self {
            Self::P256 => 3,
            Self::P384 => 4,
            Self::P521 => 5,
        }
    }

    /// Bytes of a coordinate.
    pub fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn of(id: u16) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.id() == id)
    }
}

/// A key's public numbers, big-endian, as received (leading zeros kept or missing as they were).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `exponent` 0 of the wire is told as 65537.
    Rsa { bits: u16, exponent: u32, modulus: Vec<u8> },
    Ecc { curve: Curve, x: Vec<u8>, y: Vec<u8> },
}

/// An asymmetric scheme and its hash; both 0x0010 (null) when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub alg: u16,
    pub hash: u16,
}

/// TPM_ALG_NULL.
pub const ALG_NULL: u16 = 0x0010;
pub const ALG_RSASSA: u16 = 0x0014;
pub const ALG_RSAPSS: u16 = 0x0016;
pub const ALG_ECDSA: u16 = 0x0018;
pub const ALG_AES: u16 = 0x0006;
pub const ALG_CFB: u16 = 0x0043;

/// A parsed public area together with the bytes that it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    bytes: Vec<u8>,
    pub name_alg: u16,
    /// Raw TPMA_OBJECT ([`attribute`]).
    pub attributes: u32,
    pub auth_policy: Vec<u8>,
    /// Algorithm, key bits, mode; none for TPM_ALG_NULL.
    pub symmetric: Option<(u16, u16, u16)>,
    pub scheme: Scheme,
    pub kdf: u16,
    pub key: Key,
}

impl Public {
    /// Parses a TPM2B_PUBLIC.
    ///
    /// # Errors
    /// When the bytes are not exactly one structure, or the key is neither RSA nor on a named curve.
    pub fn parse_2b(bytes: &[u8]) -> Result<Self, WireError> {
        Self::parse(unwrap_2b("TPM2B_PUBLIC", bytes)?)
    }

    /// Parses a TPMT_PUBLIC.
    ///
    /// # Errors
    /// As [`Public::parse_2b`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let public: TpmtPublic = exact("TPMT_PUBLIC", bytes)?;
        let unsupported = |what: String| WireError::Unsupported { structure: "TPMT_PUBLIC", what };
        let attributes = raw_attributes(bytes)?;
        let (symmetric, scheme, kdf, key) = match (&public.parameters, &public.unique) {
            (TpmuPublicParms::Rsa(parms), TpmuPublicId::Rsa(modulus)) => (
                symmetric(&parms.symmetric.key_bits, &parms.symmetric.mode).map_err(unsupported)?,
                scheme(parms.scheme.scheme, &parms.scheme.details),
                ALG_NULL,
                Key::Rsa {
                    bits: parms.key_bits.value(),
                    exponent: match parms.exponent.value() {
                        0 => 65_537,
                        exponent => exponent,
                    },
                    modulus: modulus.to_vec(),
                },
            ),
            (TpmuPublicParms::Ecc(parms), TpmuPublicId::Ecc(point)) => (
                symmetric(&parms.symmetric.key_bits, &parms.symmetric.mode).map_err(unsupported)?,
                scheme(parms.scheme.scheme, &parms.scheme.details),
                parms.kdf.scheme.value(),
                Key::Ecc {
                    curve: Curve::of(parms.curve_id.value())
                        .ok_or_else(|| unsupported(format!("the curve {:?}", parms.curve_id)))?,
                    x: point.x.to_vec(),
                    y: point.y.to_vec(),
                },
            ),
            _ => return Err(unsupported(format!("an object of type {:?}", public.object_type))),
        };
        let name_alg = public.name_alg.value();
        if hash::digest(name_alg, &[]).is_none() {
            return Err(unsupported(format!("the name algorithm {name_alg:#06x}")));
        }
        let auth_policy = public.auth_policy.to_vec();
        Ok(Self { bytes: bytes.to_vec(), name_alg, attributes, auth_policy, symmetric, scheme, kdf, key })
    }

    /// TPMT_PUBLIC as received.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The Name: nameAlg ‖ H(TPMT_PUBLIC) (Part 1, clause 16).
    pub fn name(&self) -> Vec<u8> {
        // Unwrap safety: parse() refused every name algorithm that digest() does not know.
        let digest = hash::digest(self.name_alg, &[&self.bytes]).unwrap();
        [&self.name_alg.to_be_bytes()[..], &digest].concat()
    }

    /// True when all of `bits` are set.
    pub fn has(&self, bits: u32) -> bool {
        self.attributes & bits == bits
    }

    /// SubjectPublicKeyInfo, DER (RFC 5280).
    pub fn spki(&self) -> Vec<u8> {
        match &self.key {
            Key::Rsa { exponent, modulus, .. } => {
                let key = der::sequence(&[&der::unsigned(modulus), &der::unsigned(&exponent.to_be_bytes())]);
                der::sequence(&[&RSA_ALGORITHM, &der::bit_string(&key)])
            }
            Key::Ecc { curve, x, y } => {
                let point = [&[4][..], &left_padded(x, curve.bytes()), &left_padded(y, curve.bytes())].concat();
                let algorithm = match curve {
                    Curve::P256 => der::sequence(&[&EC_PUBLIC_KEY, &P256_OID]),
                    Curve::P384 => der::sequence(&[&EC_PUBLIC_KEY, &P384_OID]),
                    Curve::P521 => der::sequence(&[&EC_PUBLIC_KEY, &P521_OID]),
                };
                der::sequence(&[&algorithm, &der::bit_string(&point)])
            }
        }
    }

    /// Field by field the same key and template, numbers compared after left-padding (some stacks strip
    /// leading zeros). Names are not compared by this: they are over the bytes received.
    pub fn equals_padded(&self, other: &Self) -> bool {
        let keys = match (&self.key, &other.key) {
            (Key::Rsa { bits, exponent, modulus }, Key::Rsa { bits: b, exponent: e, modulus: m }) => {
                bits == b && exponent == e && stripped(modulus) == stripped(m)
            }
            (Key::Ecc { curve, x, y }, Key::Ecc { curve: c, x: ox, y: oy }) => {
                curve == c && stripped(x) == stripped(ox) && stripped(y) == stripped(oy)
            }
            _ => false,
        };
        keys && self.name_alg == other.name_alg
            && self.attributes == other.attributes
            && self.auth_policy == other.auth_policy
            && self.symmetric == other.symmetric
            && self.scheme == other.scheme
            && self.kdf == other.kdf
    }
}

/// `bytes` without leading zeros.
pub fn stripped(bytes: &[u8]) -> &[u8] {
    // Unwrap safety: the count is at most the length.
    &bytes[bytes.iter().take_while(|b| **b == 0).count()..]
}

/// `bytes` with leading zeros up to `length`.
pub fn left_padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let bytes = stripped(bytes);
    [vec![0; length.saturating_sub(bytes.len())].as_slice(), bytes].concat()
}

/// The four bytes after type and nameAlg: tpm2-protocol keeps unknown bits, but promises nothing of them.
fn raw_attributes(bytes: &[u8]) -> Result<u32, WireError> {
    let field = bytes.get(4..8).and_then(|field| field.try_into().ok());
    field
        .map(u32::from_be_bytes)
        .ok_or_else(|| WireError::Malformed { structure: "TPMT_PUBLIC", why: "no attributes".into() })
}

fn symmetric(bits: &TpmuSymKeyBits, mode: &TpmuSymMode) -> Result<Option<(u16, u16, u16)>, String> {
    match (bits, mode) {
        (TpmuSymKeyBits::Null, TpmuSymMode::Null) => Ok(None),
        (TpmuSymKeyBits::Aes(bits), TpmuSymMode::Aes(mode)) => Ok(Some((ALG_AES, bits.value(), mode.value()))),
        other => Err(format!("the symmetric definition {other:?}")),
    }
}

fn scheme(alg: TpmAlgId, details: &TpmuAsymScheme) -> Scheme {
    let hash = match details {
        TpmuAsymScheme::Hash(scheme) => scheme.hash_alg.value(),
        TpmuAsymScheme::Null => ALG_NULL,
    };
    Scheme { alg: alg.value(), hash }
}

/// rsaEncryption with NULL (1.2.840.113549.1.1.1).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];
/// id-ecPublicKey (1.2.840.10045.2.1).
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// secp256r1 (1.2.840.10045.3.1.7).
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// secp384r1 (1.3.132.0.34).
const P384_OID: [u8; 7] = [0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];
/// secp521r1 (1.3.132.0.35).
const P521_OID: [u8; 7] = [0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x23];
