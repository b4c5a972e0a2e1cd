//! Keys in software: EC by aws-lc-rs with each curve's own hash, by `p256` and `p384` with any other; RSA by `rsa`
//! (which alone still signs with SHA-1).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as alg, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
use holdfast_tpm::wire::{Curve, SubjectKey, der};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use std::sync::OnceLock;

/// A private key.
#[derive(Clone)]
pub enum Key {
    Ec { curve: Curve, pkcs8: Vec<u8> },
    Rsa(Box<rsa::RsaPrivateKey>),
}

/// Hash of a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        use rsa::sha2::Digest as _;
        match self {
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => rsa::sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => rsa::sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => rsa::sha2::Sha512::digest(message).to_vec(),
        }
    }
}

impl Key {
    pub fn p256() -> Self {
        Self::ec(Curve::P256)
    }

    pub fn ec(curve: Curve) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(asn1(curve, Hash::Sha256), &SystemRandom::new()).unwrap();
        Self::Ec { curve, pkcs8: document.as_ref().to_vec() }
    }

    /// One of two RSA-2048 keys, made once: making them is slow.
    pub fn rsa(which: usize) -> Self {
        static KEYS: [OnceLock<rsa::RsaPrivateKey>; 2] = [OnceLock::new(), OnceLock::new()];
        let make = || rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        Self::Rsa(Box::new(KEYS[which].get_or_init(make).clone()))
    }

    pub fn subject(&self) -> SubjectKey {
        match self {
            Self::Ec { curve, pkcs8 } => {
                let pair = EcdsaKeyPair::from_pkcs8(asn1(*curve, Hash::Sha256), pkcs8).unwrap();
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                SubjectKey::Ecc { curve: *curve, x: x.to_vec(), y: y.to_vec() }
            }
            Self::Rsa(key) => SubjectKey::Rsa { modulus: key.n().to_bytes_be(), exponent: 65_537 },
        }
    }

    pub fn spki(&self) -> Vec<u8> {
        self.subject().to_spki_der()
    }

    /// As X.509 wants it.
    pub fn sign(&self, hash: Hash, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec { curve, pkcs8 } => match (curve, hash) {
                (Curve::P256, Hash::Sha256) | (Curve::P384, Hash::Sha384) | (Curve::P521, _) => {
                    let pair = EcdsaKeyPair::from_pkcs8(asn1(*curve, hash), pkcs8).unwrap();
                    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
                }
                (Curve::P256, _) => {
                    let key = p256::ecdsa::SigningKey::from_pkcs8_der(pkcs8).unwrap();
                    let signature: p256::ecdsa::Signature = key.sign_prehash(&hash.of(message)).unwrap();
                    signature.to_der().as_bytes().to_vec()
                }
                (Curve::P384, _) => {
                    let key = p384::ecdsa::SigningKey::from_pkcs8_der(pkcs8).unwrap();
                    let signature: p384::ecdsa::Signature = key.sign_prehash(&hash.of(message)).unwrap();
                    signature.to_der().as_bytes().to_vec()
                }
            },
            Self::Rsa(key) => {
                let padding = match hash {
                    Hash::Sha1 => rsa::Pkcs1v15Sign::new::<sha1::Sha1>(),
                    Hash::Sha256 => rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>(),
                    Hash::Sha384 => rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha384>(),
                    Hash::Sha512 => rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha512>(),
                };
                key.sign(padding, &hash.of(message)).unwrap()
            }
        }
    }

    /// AlgorithmIdentifier, DER.
    pub fn algorithm(&self, hash: Hash) -> Vec<u8> {
        let (oid, null): (&[u8], bool) = match (self, hash) {
            (Self::Ec { .. }, Hash::Sha1) => (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 1], false),
            (Self::Ec { .. }, Hash::Sha256) => (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2], false),
            (Self::Ec { .. }, Hash::Sha384) => (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 3], false),
            (Self::Ec { .. }, Hash::Sha512) => (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 4], false),
            (Self::Rsa(_), Hash::Sha1) => (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 5], true),
            (Self::Rsa(_), Hash::Sha256) => (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 11], true),
            (Self::Rsa(_), Hash::Sha384) => (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 12], true),
            (Self::Rsa(_), Hash::Sha512) => (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 13], true),
        };
        let parameters = if null { der::element(der::NULL, &[]) } else { Vec::new() };
        der::element(der::SEQUENCE, &[&der::element(der::OID, &[oid]), &parameters])
    }

    /// TPMT_SIGNATURE with the scheme's own algorithm ids.
    pub fn tpm_sign(&self, hash: Hash, message: &[u8]) -> Vec<u8> {
        let hash_id = match hash {
            Hash::Sha1 => 4_u16,
            Hash::Sha256 => 0x0B,
            Hash::Sha384 => 0x0C,
            Hash::Sha512 => 0x0D,
        };
        let signature = self.sign(hash, message);
        match self {
            Self::Ec { curve, .. } => {
                let mut outer = signature.as_slice();
                let mut numbers = der::read("signature", der::SEQUENCE, &mut outer).unwrap();
                let r = padded(der::read("r", der::INTEGER, &mut numbers).unwrap(), curve.coordinate_bytes());
                let s = padded(der::read("s", der::INTEGER, &mut numbers).unwrap(), curve.coordinate_bytes());
                [&0x0018_u16.to_be_bytes()[..], &hash_id.to_be_bytes(), &sized(&r), &sized(&s)].concat()
            }
            Self::Rsa(_) => {
                [&0x0014_u16.to_be_bytes()[..], &hash_id.to_be_bytes(), &sized(&signature)].concat()
            }
        }
    }
}

/// A TPM2B.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn padded(number: &[u8], size: usize) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    [&vec![0; size - number.len()], number].concat()
}

/// The algorithms that aws-lc-rs signs with; the curve's own hash where it has no other.
fn asn1(curve: Curve, hash: Hash) -> &'static EcdsaSigningAlgorithm {
    match (curve, hash) {
        (Curve::P256, _) => &alg::ECDSA_P256_SHA256_ASN1_SIGNING,
        (Curve::P384, _) => &alg::ECDSA_P384_SHA384_ASN1_SIGNING,
        (Curve::P521, Hash::Sha256) => &alg::ECDSA_P521_SHA256_ASN1_SIGNING,
        (Curve::P521, Hash::Sha384) => &alg::ECDSA_P521_SHA384_ASN1_SIGNING,
        (Curve::P521, _) => &alg::ECDSA_P521_SHA512_ASN1_SIGNING,
    }
}
