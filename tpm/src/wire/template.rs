//! Templates: of endorsement keys (TCG EK Credential Profile 2.5, B.3 and B.4) and of this project's own keys.

use super::{AlgId, Attributes, Curve, Public, Sha2, SubjectKey, WireError, Writer, nv};

/// A known EK template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    /// L-1: RSA-2048, PolicyA, AES-128.
    L1Rsa2048,
    /// L-2: P-256, PolicyA, AES-128.
    L2P256,
    /// H-1: RSA-2048, PolicyB, AES-128.
    H1Rsa2048,
    /// H-2: P-256, PolicyB, AES-128.
    H2P256,
    /// H-3: P-384, PolicyB, AES-256.
    H3P384,
    /// H-4: P-521, PolicyB, AES-256.
    H4P521,
    /// H-6: RSA-3072, PolicyB, AES-256.
    H6Rsa3072,
    /// H-7: RSA-4096, PolicyB, AES-256.
    H7Rsa4096,
}

/// What `unique` holds when the template is handed to TPM2_CreatePrimary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Rsa(u16),
    Ecc(Curve),
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

    /// The template whose certificate lives in that NV index.
    pub fn of_certificate_index(index: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.certificate_index() == index)
    }

    /// The NV index of the certificate.
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::L1Rsa2048 => nv::EK_CERT_L1_RSA2048,
            Self::L2P256 => nv::EK_CERT_L2_P256,
            Self::H1Rsa2048 => nv::EK_CERT_H1_RSA2048,
            Self::H2P256 => nv::EK_CERT_H2_P256,
            Self::H3P384 => nv::EK_CERT_H3_P384,
            Self::H4P521 => nv::EK_CERT_H4_P521,
            Self::H6Rsa3072 => nv::EK_CERT_H6_RSA3072,
            Self::H7Rsa4096 => nv::EK_CERT_H7_RSA4096,
        }
    }

    /// The NV indices of nonce and template that replace the default template's; only the low range has them.
    pub fn nonce_and_template_index(self) -> Option<(u32, u32)> {
        match self {
            Self::L1Rsa2048 => Some((nv::EK_NONCE_L1_RSA2048, nv::EK_TEMPLATE_L1_RSA2048)),
            Self::L2P256 => Some((nv::EK_NONCE_L2_P256, nv::EK_TEMPLATE_L2_P256)),
            _ => None,
        }
    }

    pub fn name_alg(self) -> Sha2 {
        match self {
            Self::L1Rsa2048 | Self::L2P256 | Self::H1Rsa2048 | Self::H2P256 => Sha2::Sha256,
            Self::H3P384 | Self::H6Rsa3072 | Self::H7Rsa4096 => Sha2::Sha384,
            Self::H4P521 => Sha2::Sha512,
        }
    }

    /// TPMA_OBJECT of the template.
    pub fn attributes(self) -> Attributes {
        let common = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::ADMIN_WITH_POLICY
            | Attributes::RESTRICTED
            | Attributes::DECRYPT;
        Attributes(if self.is_low() { common } else { common | Attributes::USER_WITH_AUTH })
    }

    /// PolicyA, or PolicyB for the template's hash.
    pub fn auth_policy(self) -> &'static [u8] {
        match (self.is_low(), self.name_alg()) {
            (true, _) => &POLICY_A_SHA256,
            (false, Sha2::Sha256) => &POLICY_B_SHA256,
            (false, Sha2::Sha384) => &POLICY_B_SHA384,
            (false, Sha2::Sha512) => &POLICY_B_SHA512,
        }
    }

    /// The TPMT_PUBLIC handed to TPM2_CreatePrimary: zeros of full size in the low range, empty above.
    pub fn in_public(self) -> Vec<u8> {
        let size = |full: usize| if self.is_low() { full } else { 0 };
        match self.shape() {
            Shape::Rsa(bits) => self.build(0, &[&vec![0; size(usize::from(bits) / 8)]]),
            Shape::Ecc(curve) => {
                let zeros = vec![0; size(curve.coordinate_bytes())];
                self.build(0, &[&zeros, &zeros])
            }
        }
    }

    /// The public area that an EK of this template with the certified key must have.
    pub fn public(self, key: &SubjectKey) -> Result<Public, WireError> {
        let wrong = WireError::Invalid { what: "EK certificate's key", why: "does not fit the template" };
        let bytes = match (self.shape(), key) {
            (Shape::Rsa(bits), SubjectKey::Rsa { modulus, exponent }) if key.bits() == usize::from(bits) => {
                // TPM 2.0 Part 2, 12.2.3.5: zero stands for 65537, and the templates say zero.
                let exponent = if *exponent == 65_537 { 0 } else { *exponent };
                self.build(exponent, &[modulus])
            }
            (Shape::Ecc(curve), SubjectKey::Ecc { curve: theirs, x, y }) if curve == *theirs => {
                self.build(0, &[x, y])
            }
            _ => return Err(wrong),
        };
        Public::parse_tpmt(&bytes)
    }

    fn is_low(self) -> bool {
        matches!(self, Self::L1Rsa2048 | Self::L2P256)
    }

    fn shape(self) -> Shape {
        match self {
            Self::L1Rsa2048 | Self::H1Rsa2048 => Shape::Rsa(2048),
            Self::H6Rsa3072 => Shape::Rsa(3072),
            Self::H7Rsa4096 => Shape::Rsa(4096),
            Self::L2P256 | Self::H2P256 => Shape::Ecc(Curve::P256),
            Self::H3P384 => Shape::Ecc(Curve::P384),
            Self::H4P521 => Shape::Ecc(Curve::P521),
        }
    }

    fn build(self, exponent: u32, unique: &[&[u8]]) -> Vec<u8> {
        let (kind, aes_bits) = match (self.shape(), self.name_alg()) {
            (Shape::Rsa(_), Sha2::Sha256) => (AlgId::RSA, 128),
            (Shape::Rsa(_), _) => (AlgId::RSA, 256),
            (Shape::Ecc(_), Sha2::Sha256) => (AlgId::ECC, 128),
            (Shape::Ecc(_), _) => (AlgId::ECC, 256),
        };
        let head = head(kind, self.name_alg(), self.attributes().0, self.auth_policy())
            .u16(AlgId::AES.0)
            .u16(aes_bits)
            .u16(AlgId::CFB.0)
            .u16(AlgId::NULL.0);
        let parameters = match self.shape() {
            Shape::Rsa(bits) => head.u16(bits).u32(exponent),
            Shape::Ecc(curve) => head.u16(curve.id()).u16(AlgId::NULL.0),
        };
        unique.iter().fold(parameters, |writer, number| writer.sized(number)).done()
    }
}

/// The attestation key: a P-256 restricted signing primary, ECDSA with SHA-256, empty auth, noDA.
///
/// The label in `unique` sets it apart from anybody else's primary of the same shape, and makes it come
/// back with the same Name for as long as the endorsement seed lives.
pub fn ak_template() -> Vec<u8> {
    let attributes = SIGNING_KEY | Attributes::RESTRICTED;
    let label = Sha2::Sha256.digest(&[b"holdfast/attestation-key/1"]);
    ecdsa_p256(attributes, &label, &[0; 32])
}

/// The device key: an ordinary P-256 signing key, ECDSA with SHA-256, empty auth, noDA.
pub fn device_key_template() -> Vec<u8> {
    ecdsa_p256(SIGNING_KEY, &[], &[])
}

/// The storage root key: the TCG's P-256 SRK (Provisioning Guidance, 7.5.1), empty auth, noDA.
pub fn srk_template() -> Vec<u8> {
    let attributes = Attributes::FIXED_TPM
        | Attributes::FIXED_PARENT
        | Attributes::SENSITIVE_DATA_ORIGIN
        | Attributes::USER_WITH_AUTH
        | Attributes::NO_DA
        | Attributes::RESTRICTED
        | Attributes::DECRYPT;
    head(AlgId::ECC, Sha2::Sha256, attributes, &[])
        .u16(AlgId::AES.0)
        .u16(128)
        .u16(AlgId::CFB.0)
        .u16(AlgId::NULL.0)
        .u16(Curve::P256.id())
        .u16(AlgId::NULL.0)
        .sized(&[0; 32])
        .sized(&[0; 32])
        .done()
}

/// A software P-256 signing key as an importable object: what an impostor would bring.
#[cfg(feature = "insecure-impostor")]
pub(crate) fn imported_key_public(x: &[u8], y: &[u8]) -> Vec<u8> {
    ecdsa_p256(Attributes::USER_WITH_AUTH | Attributes::NO_DA | Attributes::SIGN, x, y)
}

const SIGNING_KEY: u32 = Attributes::FIXED_TPM
    | Attributes::FIXED_PARENT
    | Attributes::SENSITIVE_DATA_ORIGIN
    | Attributes::USER_WITH_AUTH
    | Attributes::NO_DA
    | Attributes::SIGN;

fn ecdsa_p256(attributes: u32, x: &[u8], y: &[u8]) -> Vec<u8> {
    head(AlgId::ECC, Sha2::Sha256, attributes, &[])
        .u16(AlgId::NULL.0)
        .u16(AlgId::ECDSA.0)
        .u16(AlgId::SHA256.0)
        .u16(Curve::P256.id())
        .u16(AlgId::NULL.0)
        .sized(x)
        .sized(y)
        .done()
}

fn head(kind: AlgId, name_alg: Sha2, attributes: u32, auth_policy: &[u8]) -> Writer {
    Writer::default().u16(kind.0).u16(name_alg.alg().0).u32(attributes).sized(auth_policy)
}

const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3,
    0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07,
    0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47,
    0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];
const POLICY_B_SHA512: [u8; 64] = [
    0xb8, 0x22, 0x1c, 0xa6, 0x9e, 0x85, 0x50, 0xa4, 0x91, 0x4d, 0xe3, 0xfa, 0xa6, 0xa1, 0x8c, 0x07, 0x2c,
    0xc0, 0x12, 0x08, 0x07, 0x3a, 0x92, 0x8d, 0x5d, 0x66, 0xd5, 0x9e, 0xf7, 0x9e, 0x49, 0xa4, 0x29, 0xc4,
    0x1a, 0x6b, 0x26, 0x95, 0x71, 0xd5, 0x7e, 0xdb, 0x25, 0xfb, 0xdb, 0x18, 0x38, 0x42, 0x56, 0x08, 0xb4,
    0x13, 0xcd, 0x61, 0x6a, 0x5f, 0x6d, 0xb5, 0xb6, 0x07, 0x1a, 0xf9, 0x9b, 0xea,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Derives PolicyA and PolicyB from the commands of which they are digests (EK Profile, B.6).
    #[test]
    fn policies_are_the_digests_of_their_commands() {
        let cases = [
            (Sha2::Sha256, 0x01C0_7F01_u32, POLICY_B_SHA256.as_slice()),
            (Sha2::Sha384, 0x01C0_7F02, &POLICY_B_SHA384),
            (Sha2::Sha512, 0x01C0_7F03, &POLICY_B_SHA512),
        ];
        for (hash, index, policy_b) in cases {
            let zero = vec![0; hash.len_bytes()];
            // TPM2_PolicySecret(TPM_RH_ENDORSEMENT) with an empty policyRef.
            let secret = hash.digest(&[&zero, &0x151_u32.to_be_bytes(), &0x4000_000B_u32.to_be_bytes()]);
            let policy_a = hash.digest(&[&secret]);
            if hash == Sha2::Sha256 {
                assert_eq!(policy_a, POLICY_A_SHA256);
            }
            // TPM2_PolicyAuthorizeNV over index I-x: POLICYWRITE, WRITEALL, PPREAD, OWNERREAD, AUTHREAD,
            // POLICYREAD, NO_DA, WRITTEN.
            let nv_public = Writer::default()
                .u32(index)
                .u16(hash.alg().0)
                .u32(0x220F_1008)
                .sized(&policy_a)
                .u16(hash.len_bytes() as u16 + 2)
                .done();
            let policy_c = hash.digest(&[&zero, &0x192_u32.to_be_bytes(), &hash.name(&[&nv_public])]);
            // TPM2_PolicyOR(PolicyA, PolicyC).
            assert_eq!(
                hash.digest(&[&zero, &0x171_u32.to_be_bytes(), &policy_a, &policy_c]),
                policy_b,
                "{hash:?}"
            );
        }
    }

    #[test]
    fn every_template_is_a_readable_public_area() {
        for template in EkTemplate::ALL {
            let public = Public::parse_tpmt(&template.in_public()).unwrap();
            assert_eq!(public.auth_policy(), template.auth_policy());
            assert_eq!(public.attributes().0, if template.is_low() { 0x0003_00b2 } else { 0x0003_00f2 });
            assert_eq!(EkTemplate::of_certificate_index(template.certificate_index()), Some(template));
        }
        assert_eq!(Public::parse_tpmt(&ak_template()).unwrap().attributes().0, 0x0005_0472);
        assert_eq!(Public::parse_tpmt(&device_key_template()).unwrap().attributes().0, 0x0004_0472);
        assert_eq!(Public::parse_tpmt(&srk_template()).unwrap().attributes().0, 0x0003_0472);
    }
}
