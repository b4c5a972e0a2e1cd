//! Key templates: the EK templates of the TCG EK Credential Profile (L-1, L-2, H-1 to H-7) and our own keys'.

use super::WireError;
use super::hash::{SHA256, SHA384, SHA512};
use super::public::{
    ALG_AES, ALG_CFB, ALG_ECDSA, ALG_NULL, Curve, Key, Public, attribute as at, left_padded, stripped,
};

/// An EK template by the profile's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    L1Rsa2048,
    L2P256,
    H1Rsa2048,
    H2P256,
    H3P384,
    H4P521,
    H6Rsa3072,
    H7Rsa4096,
}

/// What a template's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShape {
    Rsa { bits: u16 },
    Ecc { curve: Curve },
}

impl EkTemplate {
    pub const ALL: [Self; 8] = [
        Self::L1Rsa2048,
        Self::L2P256,
        Self::H1Rsa2048,
        Self::H2P256,
        Self::H3P384,
        Self::H4P521,
        Self::H6Rsa3072,
        Self::H7Rsa4096,
    ];

    /// The profile's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1Rsa2048 => "L-1",
            Self::L2P256 => "L-2",
            Self::H1Rsa2048 => "H-1",
            Self::H2P256 => "H-2",
            Self::H3P384 => "H-3",
            Self::H4P521 => "H-4",
            Self::H6Rsa3072 => "H-6",
            Self::H7Rsa4096 => "H-7",
        }
    }

    /// NV index of its certificate.
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::L1Rsa2048 => 0x01C0_0002,
            Self::L2P256 => 0x01C0_000A,
            Self::H1Rsa2048 => 0x01C0_0012,
            Self::H2P256 => 0x01C0_0014,
            Self::H3P384 => 0x01C0_0016,
            Self::H4P521 => 0x01C0_0018,
            Self::H6Rsa3072 => 0x01C0_001C,
            Self::H7Rsa4096 => 0x01C0_001E,
        }
    }

    pub fn shape(self) -> KeyShape {
        match self {
            Self::L1Rsa2048 | Self::H1Rsa2048 => KeyShape::Rsa { bits: 2048 },
            Self::H6Rsa3072 => KeyShape::Rsa { bits: 3072 },
            Self::H7Rsa4096 => KeyShape::Rsa { bits: 4096 },
            Self::L2P256 | Self::H2P256 => KeyShape::Ecc { curve: Curve::P256 },
            Self::H3P384 => KeyShape::Ecc { curve: Curve::P384 },
            Self::H4P521 => KeyShape::Ecc { curve: Curve::P521 },
        }
    }

    fn is_low(self) -> bool {
        matches!(self, Self::L1Rsa2048 | Self::L2P256)
    }

    fn name_alg(self) -> u16 {
        match self {
            Self::L1Rsa2048 | Self::L2P256 | Self::H1Rsa2048 | Self::H2P256 => SHA256,
            Self::H3P384 | Self::H6Rsa3072 | Self::H7Rsa4096 => SHA384,
            Self::H4P521 => SHA512,
        }
    }

    fn aes_bits(self) -> u16 {
        if self.name_alg() == SHA256 { 128 } else { 256 }
    }

    fn policy(self) -> &'static [u8] {
        match (self.is_low(), self.name_alg()) {
            (true, _) => &POLICY_A_SHA256,
            (false, SHA256) => &POLICY_B_SHA256,
            (false, SHA384) => &POLICY_B_SHA384,
            (false, _) => &POLICY_B_SHA512,
        }
    }

    /// The TPMT_PUBLIC to hand to CreatePrimary: `unique` as the profile wants it (zeros for L, empty for H).
    pub fn to_public(self) -> Vec<u8> {
        let unique = match (self.is_low(), self.shape()) {
            (true, KeyShape::Rsa { bits }) => vec![vec![0; usize::from(bits) / 8]],
            (false, KeyShape::Rsa { .. }) => vec![vec![]],
            (true, KeyShape::Ecc { curve }) => vec![vec![0; curve.bytes()]; 2],
            (false, KeyShape::Ecc { .. }) => vec![vec![]; 2],
        };
        self.with_unique(0, &unique)
    }

    /// The public area that a TPM with this template and this key has.
    ///
    /// # Errors
    /// When the key is not of the template's shape.
    pub fn with_key(self, key: &Key) -> Result<Public, WireError> {
        let wrong = || WireError::Unsupported { structure: "EK template", what: format!("this key under {}", self.name()) };
        let bytes = match (self.shape(), key) {
            (KeyShape::Rsa { bits }, Key::Rsa { exponent, modulus, .. })
                if stripped(modulus).len() * 8 == usize::from(bits) =>
            {
                let exponent = if *exponent == 65_537 { 0 } else { *exponent };
                self.with_unique(exponent, &[stripped(modulus).to_vec()])
            }
            (KeyShape::Ecc { curve }, Key::Ecc { curve: of, x, y }) if curve == *of => {
                self.with_unique(0, &[left_padded(x, curve.bytes()), left_padded(y, curve.bytes())])
            }
            _ => return Err(wrong()),
        };
        Public::parse(&bytes)
    }

    fn with_unique(self, exponent: u32, unique: &[Vec<u8>]) -> Vec<u8> {
        let attributes = EK_ATTRIBUTES | if self.is_low() { 0 } else { at::USER_WITH_AUTH };
        let symmetric = Symmetric::Aes(self.aes_bits());
        let area = Area { name_alg: self.name_alg(), attributes, policy: self.policy(), symmetric, ecdsa: None };
        match self.shape() {
            KeyShape::Rsa { bits } => area.rsa(bits, exponent, unique),
            KeyShape::Ecc { curve } => area.ecc(curve, unique),
        }
    }
}

/// Our AK: a primary under TPM_RH_ENDORSEMENT, restricted ECDSA P-256, so that it comes back with the same
/// Name after TPM2_Clear; noDA and empty auth, so that power cuts cannot lock it out.
pub fn ak() -> Vec<u8> {
    let attributes = BORN_HERE | at::USER_WITH_AUTH | at::NO_DA | at::RESTRICTED | at::SIGN;
    let area = Area { name_alg: SHA256, attributes, policy: &[], symmetric: Symmetric::Null, ecdsa: Some(SHA256) };
    area.ecc(Curve::P256, &[AK_LABEL.to_vec(), vec![]])
}

/// The storage key under which device keys live: the profile's P-256 SRK.
pub fn storage() -> Vec<u8> {
    let attributes = BORN_HERE | at::USER_WITH_AUTH | at::NO_DA | at::RESTRICTED | at::DECRYPT;
    let area = Area { name_alg: SHA256, attributes, policy: &[], symmetric: Symmetric::Aes(128), ecdsa: None };
    area.ecc(Curve::P256, &[vec![], vec![]])
}

/// The device key: an ordinary ECDSA P-256 signing key.
pub fn device_key() -> Vec<u8> {
    device_key_with(BORN_HERE | at::USER_WITH_AUTH | at::NO_DA | at::SIGN, &[vec![], vec![]])
}

/// A device key with other attributes or numbers: what an impostor imports.
#[doc(hidden)]
pub fn device_key_with(attributes: u32, unique: &[Vec<u8>]) -> Vec<u8> {
    let area = Area { name_alg: SHA256, attributes, policy: &[], symmetric: Symmetric::Null, ecdsa: Some(SHA256) };
    area.ecc(Curve::P256, unique)
}

#[derive(Clone, Copy)]
enum Symmetric {
    Null,
    /// Key bits; mode CFB.
    Aes(u16),
}

/// The fields of a TPMT_PUBLIC in the order of the wire.
struct Area<'a> {
    name_alg: u16,
    attributes: u32,
    policy: &'a [u8],
    symmetric: Symmetric,
    /// Hash of a fixed ECDSA scheme; none is TPM_ALG_NULL.
    ecdsa: Option<u16>,
}

impl Area<'_> {
    fn head(&self, kind: u16) -> Vec<u8> {
        let mut out = [&kind.to_be_bytes()[..], &self.name_alg.to_be_bytes(), &self.attributes.to_be_bytes()].concat();
        out.extend(super::wrap_2b(self.policy));
        let words: &[u16] = match self.symmetric {
            Symmetric::Null => &[ALG_NULL],
            Symmetric::Aes(bits) => &[ALG_AES, bits, ALG_CFB],
        };
        push_words(&mut out, words);
        match self.ecdsa {
            None => push_words(&mut out, &[ALG_NULL]),
            Some(hash) => push_words(&mut out, &[ALG_ECDSA, hash]),
        }
        out
    }

    fn rsa(&self, bits: u16, exponent: u32, unique: &[Vec<u8>]) -> Vec<u8> {
        let mut out = self.head(0x0001);
        push_words(&mut out, &[bits]);
        out.extend(exponent.to_be_bytes());
        unique.iter().for_each(|part| out.extend(super::wrap_2b(part)));
        out
    }

    fn ecc(&self, curve: Curve, unique: &[Vec<u8>]) -> Vec<u8> {
        let mut out = self.head(0x0023);
        push_words(&mut out, &[curve.id(), ALG_NULL]);
        unique.iter().for_each(|part| out.extend(super::wrap_2b(part)));
        out
    }
}

fn push_words(out: &mut Vec<u8>, words: &[u16]) {
    words.iter().for_each(|word| out.extend(word.to_be_bytes()));
}

const BORN_HERE: u32 = at::FIXED_TPM | at::FIXED_PARENT | at::SENSITIVE_DATA_ORIGIN;
const EK_ATTRIBUTES: u32 = BORN_HERE | at::ADMIN_WITH_POLICY | at::RESTRICTED | at::DECRYPT;
/// The AK's `unique` label: it sets our AK apart from every other primary of the endorsement hierarchy.
const AK_LABEL: &[u8] = b"holdfast ak 1";

/// PolicySecret(TPM_RH_ENDORSEMENT) (EK profile, B.6.2).
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24, 0xFD, 0x52, 0xD7,
    0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];
/// PolicyOR(PolicyA, PolicyC) (EK profile, B.6.5).
const POLICY_B_SHA256: [u8; 32] = [
    0xCA, 0x3D, 0x0A, 0x99, 0xA2, 0xB9, 0x39, 0x06, 0xF7, 0xA3, 0x34, 0x24, 0x14, 0xEF, 0xCF, 0xB3, 0xA3, 0x85, 0xD4,
    0x4C, 0xD1, 0xFD, 0x45, 0x90, 0x89, 0xD1, 0x9B, 0x50, 0x71, 0xC0, 0xB7, 0xA0,
];
const POLICY_B_SHA384: [u8; 48] = [
    0xB2, 0x6E, 0x7D, 0x28, 0xD1, 0x1A, 0x50, 0xBC, 0x53, 0xD8, 0x82, 0xBC, 0xF5, 0xFD, 0x3A, 0x1A, 0x07, 0x41, 0x48,
    0xBB, 0x35, 0xD3, 0xB4, 0xE4, 0xCB, 0x1C, 0x0A, 0xD9, 0xBD, 0xE4, 0x19, 0xCA, 0xCB, 0x47, 0xBA, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0F, 0x9F, 0xC0, 0x00, 0xF3, 0xF8, 0x0E, 0x12,
];
const POLICY_B_SHA512: [u8; 64] = [
    0xB8, 0x22, 0x1C, 0xA6, 0x9E, 0x85, 0x50, 0xA4, 0x91, 0x4D, 0xE3, 0xFA, 0xA6, 0xA1, 0x8C, 0x07, 0x2C, 0xC0, 0x12,
    0x08, 0x07, 0x3A, 0x92, 0x8D, 0x5D, 0x66, 0xD5, 0x9E, 0xF7, 0x9E, 0x49, 0xA4, 0x29, 0xC4, 0x1A, 0x6B, 0x26, 0x95,
    0x71, 0xD5, 0x7E, 0xDB, 0x25, 0xFB, 0xDB, 0x18, 0x38, 0x42, 0x56, 0x08, 0xB4, 0x13, 0xCD, 0x61, 0x6A, 0x5F, 0x6D,
    0xB5, 0xB6, 0x07, 0x1A, 0xF9, 0x9B, 0xEA,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hash;

    #[test]
    fn policy_a_is_policy_secret_of_the_endorsement_hierarchy() {
        // Part 3, 23.4: policyDigest' = H(H(old ‖ TPM_CC_PolicySecret ‖ name) ‖ policyRef).
        let inner = hash::sha256(&[&[0; 32], &0x151u32.to_be_bytes(), &0x4000_000Bu32.to_be_bytes()]);
        assert_eq!(hash::sha256(&[&inner]), POLICY_A_SHA256);
    }

    #[test]
    fn every_template_parses_as_itself_once_a_key_stands_in_it() {
        for template in EkTemplate::ALL {
            let key = match template.shape() {
                KeyShape::Rsa { bits } => {
                    Key::Rsa { bits, exponent: 65_537, modulus: vec![0xC5; usize::from(bits) / 8] }
                }
                KeyShape::Ecc { curve } => Key::Ecc { curve, x: vec![3; curve.bytes()], y: vec![4; curve.bytes()] },
            };
            let public = template.with_key(&key).unwrap();
            assert_eq!(public.key, key, "{}", template.name());
            assert!(public.has(at::RESTRICTED | at::DECRYPT), "{}", template.name());
            assert_eq!(public.has(at::USER_WITH_AUTH), !template.is_low(), "{}", template.name());
        }
        assert!(EkTemplate::L1Rsa2048.with_key(&Key::Rsa { bits: 1024, exponent: 65_537, modulus: vec![1; 128] }).is_err());
    }

    #[test]
    fn our_own_templates_parse_and_say_what_they_are() {
        let ak = Public::parse(&ak()).unwrap();
        assert!(ak.has(at::RESTRICTED | at::SIGN | at::NO_DA) && !ak.has(at::DECRYPT));
        assert!(!Public::parse(&device_key()).unwrap().has(at::RESTRICTED));
        assert!(Public::parse(&storage()).unwrap().has(at::RESTRICTED | at::DECRYPT));
    }

    #[test]
    fn a_public_area_is_refused_at_every_truncation_and_with_a_byte_more() {
        let whole = EkTemplate::H3P384.to_public();
        for length in 0..whole.len() {
            assert!(Public::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(matches!(Public::parse(&[&whole[..], &[0]].concat()), Err(WireError::Trailing { left: 1, .. })));
    }
}
