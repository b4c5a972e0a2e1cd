//! TPM2B_PUBLIC and TPMT_PUBLIC (TPM 2.0 Part 2, clause 12.2) of asymmetric keys.

use super::{AlgId, Curve, Hierarchy, Reader, Sha2, SubjectKey, WireError, Writer};
use std::fmt;

const MAX_RSA_BYTES: usize = 512;
/// TPM 2.0 Part 2, 12.2.3.5: an exponent of zero means 65537.
const DEFAULT_EXPONENT: u32 = 65_537;

/// A key's public area, with the bytes as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    bytes: Vec<u8>,
    name_alg: Sha2,
    attributes: Attributes,
    auth_policy: Vec<u8>,
    symmetric: Option<Symmetric>,
    scheme: Option<Scheme>,
    unique: Unique,
}

/// TPMA_OBJECT as the raw bits received, reserved ones included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(pub u32);

/// TPMT_SYM_DEF_OBJECT of a storage key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symmetric {
    pub alg: AlgId,
    pub key_bits: u16,
    pub mode: AlgId,
}

/// A signing, encryption or key exchange scheme; `hash` is `None` for RSAES alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub alg: AlgId,
    pub hash: Option<AlgId>,
}

/// Type, size and value of the key. Numbers are big-endian as received, leading zeros (or their lack) included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unique {
    Rsa { bits: u16, exponent: u32, modulus: Vec<u8> },
    Ecc { curve: Curve, kdf: Option<Scheme>, x: Vec<u8>, y: Vec<u8> },
}

/// The first field in which two public areas differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {ours} here and {theirs} there")]
pub struct Mismatch {
    pub field: &'static str,
    pub ours: String,
    pub theirs: String,
}

impl Public {
    /// Reads a TPM2B_PUBLIC that fills `bytes` exactly.
    pub fn parse_tpm2b(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPM2B_PUBLIC", bytes)?;
        let area = reader.sized("TPM2B_PUBLIC", super::MAX_STRUCTURE_BYTES)?;
        reader.finish("TPM2B_PUBLIC")?;
        Self::parse_tpmt(area)
    }

    /// Reads a TPMT_PUBLIC that fills `bytes` exactly.
    pub fn parse_tpmt(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes)?;
        let kind = AlgId(reader.u16("type")?);
        let name_alg = AlgId(reader.u16("nameAlg")?);
        let name_alg =
            name_alg.sha2().ok_or(WireError::Unsupported { what: "nameAlg", value: name_alg.0.into() })?;
        let attributes = Attributes(reader.u32("objectAttributes")?);
        let auth_policy = reader.sized("authPolicy", 64)?.to_vec();
        let symmetric = read_symmetric(&mut reader)?;
        let scheme = read_scheme(&mut reader, "scheme")?;
        let unique = match kind {
            AlgId::RSA => read_rsa(&mut reader)?,
            AlgId::ECC => read_ecc(&mut reader)?,
            AlgId(other) => return Err(WireError::Unsupported { what: "type", value: other.into() }),
        };
        reader.finish("TPMT_PUBLIC")?;
        if !auth_policy.is_empty() && auth_policy.len() != name_alg.len_bytes() {
            return Err(WireError::Invalid { what: "authPolicy", why: "not as long as a nameAlg digest" });
        }
        Ok(Self { bytes: bytes.to_vec(), name_alg, attributes, auth_policy, symmetric, scheme, unique })
    }

    /// The TPMT_PUBLIC as received.
    pub fn as_tpmt(&self) -> &[u8] {
        &self.bytes
    }

    /// The TPM2B_PUBLIC as received.
    pub fn to_tpm2b(&self) -> Vec<u8> {
        Writer::default().sized(&self.bytes).done()
    }

    pub fn name_alg(&self) -> Sha2 {
        self.name_alg
    }

    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    pub fn auth_policy(&self) -> &[u8] {
        &self.auth_policy
    }

    pub fn symmetric(&self) -> Option<Symmetric> {
        self.symmetric
    }

    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    pub fn unique(&self) -> &Unique {
        &self.unique
    }

    /// The Name: nameAlg ‖ H(TPMT_PUBLIC as received).
    pub fn name(&self) -> Vec<u8> {
        self.name_alg.name(&[&self.bytes])
    }

    /// The Qualified Name of this key as a *primary* of `hierarchy`: nameAlg ‖ H(handle ‖ Name).
    pub fn qualified_name(&self, hierarchy: Hierarchy) -> Vec<u8> {
        self.name_alg.name(&[&hierarchy.handle().to_be_bytes(), &self.name()])
    }

    /// The key itself, numbers without leading zeros (RSA) or padded to the curve's size (ECC).
    pub fn subject_key(&self) -> Result<SubjectKey, WireError> {
        match &self.unique {
            Unique::Rsa { exponent, modulus, .. } => {
                let modulus = strip_zeros(modulus);
                if modulus.is_empty() {
                    return Err(WireError::Invalid { what: "unique.rsa", why: "no modulus" });
                }
                Ok(SubjectKey::Rsa { modulus: modulus.to_vec(), exponent: *exponent })
            }
            Unique::Ecc { curve, x, y, .. } => {
                if x.is_empty() || y.is_empty() {
                    return Err(WireError::Invalid { what: "unique.ecc", why: "no point" });
                }
                let size = curve.coordinate_bytes();
                Ok(SubjectKey::Ecc { curve: *curve, x: left_pad(x, size), y: left_pad(y, size) })
            }
        }
    }

    /// The key as SubjectPublicKeyInfo, DER (RFC 3279, RFC 5480). Nothing is said about the point being on the curve.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, WireError> {
        Ok(self.subject_key()?.to_spki_der())
    }

    /// Compares field by field; numbers compare as numbers, since some stacks strip leading zeros.
    /// An exponent of zero equals 65537. The first difference is the error.
    pub fn equal_after_left_padding(&self, other: &Self) -> Result<(), Mismatch> {
        same("nameAlg", &self.name_alg, &other.name_alg)?;
        same("objectAttributes", &self.attributes, &other.attributes)?;
        same("authPolicy", &Hex(&self.auth_policy), &Hex(&other.auth_policy))?;
        same("symmetric", &self.symmetric, &other.symmetric)?;
        same("scheme", &self.scheme, &other.scheme)?;
        match (&self.unique, &other.unique) {
            (
                Unique::Rsa { bits, exponent, modulus },
                Unique::Rsa { bits: their_bits, exponent: their_exponent, modulus: their_modulus },
            ) => {
                same("keyBits", bits, their_bits)?;
                same("exponent", exponent, their_exponent)?;
                same("modulus", &Hex(strip_zeros(modulus)), &Hex(strip_zeros(their_modulus)))
            }
            (
                Unique::Ecc { curve, kdf, x, y },
                Unique::Ecc { curve: their_curve, kdf: their_kdf, x: their_x, y: their_y },
            ) => {
                same("curveID", curve, their_curve)?;
                same("kdf", kdf, their_kdf)?;
                same("unique.x", &Hex(strip_zeros(x)), &Hex(strip_zeros(their_x)))?;
                same("unique.y", &Hex(strip_zeros(y)), &Hex(strip_zeros(their_y)))
            }
            (Unique::Rsa { .. }, Unique::Ecc { .. }) => same("type", &AlgId::RSA, &AlgId::ECC),
            (Unique::Ecc { .. }, Unique::Rsa { .. }) => same("type", &AlgId::ECC, &AlgId::RSA),
        }
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Public")
            .field("name_alg", &self.name_alg)
            .field("attributes", &self.attributes)
            .field("scheme", &self.scheme)
            .field("symmetric", &self.symmetric)
            .field("unique", &self.unique)
            .finish_non_exhaustive()
    }
}

impl Attributes {
    pub const FIXED_TPM: u32 = 1 << 1;
    pub const ST_CLEAR: u32 = 1 << 2;
    pub const FIXED_PARENT: u32 = 1 << 4;
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub const USER_WITH_AUTH: u32 = 1 << 6;
    pub const ADMIN_WITH_POLICY: u32 = 1 << 7;
    /// firmwareLimited of newer TPMs.
    pub const FIRMWARE_LIMITED: u32 = 1 << 8;
    /// svnLimited of newer TPMs.
    pub const SVN_LIMITED: u32 = 1 << 9;
    pub const NO_DA: u32 = 1 << 10;
    pub const ENCRYPTED_DUPLICATION: u32 = 1 << 11;
    pub const RESTRICTED: u32 = 1 << 16;
    pub const DECRYPT: u32 = 1 << 17;
    pub const SIGN: u32 = 1 << 18;
    pub const X509_SIGN: u32 = 1 << 19;
    /// Every bit that the specification gives a meaning.
    pub const KNOWN: u32 = Self::FIXED_TPM
        | Self::ST_CLEAR
        | Self::FIXED_PARENT
        | Self::SENSITIVE_DATA_ORIGIN
        | Self::USER_WITH_AUTH
        | Self::ADMIN_WITH_POLICY
        | Self::FIRMWARE_LIMITED
        | Self::SVN_LIMITED
        | Self::NO_DA
        | Self::ENCRYPTED_DUPLICATION
        | Self::RESTRICTED
        | Self::DECRYPT
        | Self::SIGN
        | Self::X509_SIGN;

    /// Whether every bit of `mask` is set.
    pub fn all_of(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    /// Whether any bit of `mask` is set.
    pub fn any_of(self, mask: u32) -> bool {
        self.0 & mask != 0
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>, WireError> {
    match AlgId(reader.u16("symmetric")?) {
        AlgId::NULL => Ok(None),
        alg @ AlgId::AES => {
            let key_bits = reader.u16("symmetric.keyBits")?;
            Ok(Some(Symmetric { alg, key_bits, mode: AlgId(reader.u16("symmetric.mode")?) }))
        }
        AlgId(other) => Err(WireError::Unsupported { what: "symmetric", value: other.into() }),
    }
}

fn read_scheme(reader: &mut Reader<'_>, what: &'static str) -> Result<Option<Scheme>, WireError> {
    // The KDF schemes, MGF1 to KDF1_SP800_108, have the same layout as the signing schemes.
    const KDFS: [u16; 4] = [0x0007, 0x0020, 0x0021, 0x0022];
    match AlgId(reader.u16(what)?) {
        AlgId::NULL => Ok(None),
        alg @ AlgId::RSAES => Ok(Some(Scheme { alg, hash: None })),
        alg @ (AlgId::RSASSA | AlgId::RSAPSS | AlgId::OAEP | AlgId::ECDSA | AlgId::ECDH) => {
            Ok(Some(Scheme { alg, hash: Some(AlgId(reader.u16(what)?)) }))
        }
        alg if KDFS.contains(&alg.0) => Ok(Some(Scheme { alg, hash: Some(AlgId(reader.u16(what)?)) })),
        AlgId(other) => Err(WireError::Unsupported { what, value: other.into() }),
    }
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<Unique, WireError> {
    let bits = reader.u16("keyBits")?;
    let exponent = match reader.u32("exponent")? {
        0 => DEFAULT_EXPONENT,
        other => other,
    };
    let modulus = reader.sized("unique.rsa", MAX_RSA_BYTES)?.to_vec();
    if strip_zeros(&modulus).len() * 8 > usize::from(bits) {
        return Err(WireError::Invalid { what: "unique.rsa", why: "longer than keyBits" });
    }
    Ok(Unique::Rsa { bits, exponent, modulus })
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<Unique, WireError> {
    let curve = Curve::from_id(reader.u16("curveID")?)?;
    let kdf = read_scheme(reader, "kdf")?;
    let size = curve.coordinate_bytes();
    let x = reader.sized("unique.x", size)?.to_vec();
    let y = reader.sized("unique.y", size)?.to_vec();
    Ok(Unique::Ecc { curve, kdf, x, y })
}

fn same<T: PartialEq + fmt::Debug>(field: &'static str, ours: &T, theirs: &T) -> Result<(), Mismatch> {
    if ours == theirs {
        return Ok(());
    }
    Err(Mismatch { field, ours: format!("{ours:?}"), theirs: format!("{theirs:?}") })
}

#[derive(PartialEq)]
struct Hex<'a>(&'a [u8]);

impl fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The number without leading zero bytes.
pub(crate) fn strip_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The number in `size` bytes; longer numbers lose leading zeros only.
pub(crate) fn left_pad(number: &[u8], size: usize) -> Vec<u8> {
    let number = strip_zeros(number);
    let mut padded = vec![0; size.saturating_sub(number.len())];
    padded.extend_from_slice(number);
    padded
}
