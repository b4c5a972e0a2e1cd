//! Algorithm ids, curves and hierarchies.

use super::WireError;
use sha2::{Sha256, Sha384, Sha512};
use std::fmt;
use tpm2_protocol::data::{TpmAlgId, TpmEccCurve, TpmRh};

/// A TPM_ALG_ID as received; known or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlgId(pub u16);

impl AlgId {
    pub const NULL: Self = Self(TpmAlgId::Null.value());
    pub const RSA: Self = Self(TpmAlgId::Rsa.value());
    pub const ECC: Self = Self(TpmAlgId::Ecc.value());
    pub const AES: Self = Self(TpmAlgId::Aes.value());
    pub const CFB: Self = Self(TpmAlgId::Cfb.value());
    pub const SHA1: Self = Self(TpmAlgId::Sha1.value());
    pub const SHA256: Self = Self(TpmAlgId::Sha256.value());
    pub const SHA384: Self = Self(TpmAlgId::Sha384.value());
    pub const SHA512: Self = Self(TpmAlgId::Sha512.value());
    pub const RSASSA: Self = Self(TpmAlgId::Rsassa.value());
    pub const RSAPSS: Self = Self(TpmAlgId::Rsapss.value());
    pub const RSAES: Self = Self(TpmAlgId::Rsaes.value());
    pub const OAEP: Self = Self(TpmAlgId::Oaep.value());
    pub const ECDSA: Self = Self(TpmAlgId::Ecdsa.value());
    pub const ECDH: Self = Self(TpmAlgId::Ecdh.value());

    /// The hash, if it is one of SHA-2; `None` for SHA-1 and everything else.
    pub fn sha2(self) -> Option<Sha2> {
        match self {
            Self::SHA256 => Some(Sha2::Sha256),
            Self::SHA384 => Some(Sha2::Sha384),
            Self::SHA512 => Some(Sha2::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for AlgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TpmAlgId::try_from(self.0) {
            Ok(known) => write!(f, "{known}"),
            Err(_) => write!(f, "TPM_ALG_{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for AlgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash functions that this project computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sha2 {
    Sha256,
    Sha384,
    Sha512,
}

impl Sha2 {
    pub fn alg(self) -> AlgId {
        match self {
            Self::Sha256 => AlgId::SHA256,
            Self::Sha384 => AlgId::SHA384,
            Self::Sha512 => AlgId::SHA512,
        }
    }

    /// Bytes of a digest.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of the parts, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn over<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        match self {
            Self::Sha256 => over::<Sha256>(parts),
            Self::Sha384 => over::<Sha384>(parts),
            Self::Sha512 => over::<Sha512>(parts),
        }
    }

    /// A Name (TPM 2.0 Part 1, clause 16): the algorithm's id, then the digest of the parts.
    pub(super) fn name(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut name = self.alg().0.to_be_bytes().to_vec();
        name.extend(self.digest(parts));
        name
    }
}

/// The NIST curves that keys here may lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) fn from_id(id: u16) -> Result<Self, WireError> {
        match TpmEccCurve::try_from(id) {
            Ok(TpmEccCurve::NistP256) => Ok(Self::P256),
            Ok(TpmEccCurve::NistP384) => Ok(Self::P384),
            Ok(TpmEccCurve::NistP521) => Ok(Self::P521),
            _ => Err(WireError::Unsupported { what: "curveID", value: id.into() }),
        }
    }

    /// TPM_ECC_CURVE.
    pub fn id(self) -> u16 {
        match self {
            Self::P256 => TpmEccCurve::NistP256.value(),
            Self::P384 => TpmEccCurve::NistP384.value(),
            Self::P521 => TpmEccCurve::NistP521.value(),
        }
    }

    /// Bytes of a coordinate.
    pub fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// Where a primary key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    Owner,
    Endorsement,
    Platform,
    Null,
}

impl Hierarchy {
    /// TPM_RH.
    pub fn handle(self) -> u32 {
        match self {
            Self::Owner => TpmRh::Owner.value(),
            Self::Endorsement => TpmRh::Endorsement.value(),
            Self::Platform => TpmRh::Platform.value(),
            Self::Null => TpmRh::Null.value(),
        }
    }
}
