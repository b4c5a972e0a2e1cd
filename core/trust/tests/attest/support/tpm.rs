//! A TPM that says what it is told to: public areas, certifications, quotes, logs.

use super::key::{Hash, Key, sized};
use holdfast_proto::Bytes;
use holdfast_proto::enroll::Attestation;
use holdfast_tpm::wire::{AlgId, Attributes, PcrSelections, Public, SubjectKey};

pub const BORN_HERE: u32 =
    Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN;
pub const AK: u32 =
    BORN_HERE | Attributes::USER_WITH_AUTH | Attributes::NO_DA | Attributes::RESTRICTED | Attributes::SIGN;
pub const DEVICE: u32 = BORN_HERE | Attributes::USER_WITH_AUTH | Attributes::NO_DA | Attributes::SIGN;

/// A public area of a signing key, field by field.
#[derive(Clone)]
pub struct Area {
    pub name_alg: u16,
    pub attributes: u32,
    pub policy: Vec<u8>,
    /// Whole TPMT_SYM_DEF_OBJECT.
    pub symmetric: Vec<u8>,
    /// Whole scheme.
    pub scheme: Vec<u8>,
}

impl Area {
    pub fn new(attributes: u32, key: &Key) -> Self {
        let scheme = match key {
            Key::Ec { .. } => words(&[0x0018, 0x000B]),
            Key::Rsa(_) => words(&[0x0014, 0x000B]),
        };
        Self { name_alg: 0x000B, attributes, policy: Vec::new(), symmetric: words(&[0x0010]), scheme }
    }

    /// TPMT_PUBLIC.
    pub fn bytes(&self, key: &SubjectKey) -> Vec<u8> {
        let kind = if matches!(key, SubjectKey::Rsa { .. }) { 0x0001 } else { 0x0023 };
        let mut out = words(&[kind, self.name_alg]);
        out.extend(self.attributes.to_be_bytes());
        out.extend(sized(&self.policy));
        out.extend(&self.symmetric);
        out.extend(&self.scheme);
        match key {
            SubjectKey::Rsa { modulus, .. } => {
                out.extend(words(&[(modulus.len() * 8) as u16]));
                out.extend([0; 4]);
                out.extend(sized(modulus));
            }
            SubjectKey::Ecc { curve, x, y } => {
                out.extend(words(&[curve.id(), 0x0010]));
                out.extend(sized(x));
                out.extend(sized(y));
            }
        }
        out
    }

    pub fn public(&self, key: &Key) -> Vec<u8> {
        sized(&self.bytes(&key.subject()))
    }
}

pub fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A TPMS_ATTEST, field by field.
#[derive(Clone)]
pub struct Attest {
    pub magic: u32,
    pub kind: u16,
    pub qualified_signer: Vec<u8>,
    pub extra_data: Vec<u8>,
    pub clock_ms: u64,
    pub reset_count: u32,
    pub safe: u8,
    pub firmware_version: u64,
    /// TPMU_ATTEST.
    pub attested: Vec<u8>,
    pub trailing: Vec<u8>,
    pub hash: Hash,
}

pub const FIRMWARE: u64 = 0x2019_1023_0016_3636;

impl Attest {
    fn new(kind: u16, ak: &Public, extra_data: [u8; 32], attested: Vec<u8>) -> Self {
        Self {
            magic: 0xFF54_4347,
            kind,
            qualified_signer: ak.qualified_name(holdfast_tpm::wire::Hierarchy::Endorsement),
            extra_data: extra_data.to_vec(),
            clock_ms: 50_000,
            reset_count: 7,
            safe: 1,
            firmware_version: FIRMWARE,
            attested,
            trailing: Vec::new(),
            hash: Hash::Sha256,
        }
    }

    pub fn certify(ak: &Public, name: &[u8], extra_data: [u8; 32]) -> Self {
        Self::new(0x8017, ak, extra_data, [sized(name), sized(name)].concat())
    }

    pub fn quote(ak: &Public, selection: &PcrSelections, digest: &[u8], extra_data: [u8; 32]) -> Self {
        Self::new(0x8018, ak, extra_data, [selection.to_bytes(), sized(digest)].concat())
    }

    pub fn bytes(&self) -> Vec<u8> {
        [
            &self.magic.to_be_bytes()[..],
            &self.kind.to_be_bytes(),
            &sized(&self.qualified_signer),
            &sized(&self.extra_data),
            &self.clock_ms.to_be_bytes(),
            &self.reset_count.to_be_bytes(),
            &[0; 4],
            &[self.safe],
            &self.firmware_version.to_be_bytes(),
            &self.attested,
            &self.trailing,
        ]
        .concat()
    }

    pub fn sign(&self, key: &Key) -> Attestation {
        let attest = self.bytes();
        let signature = key.tpm_sign(self.hash, &attest);
        Attestation { attest: Bytes(attest), signature: Bytes(signature) }
    }
}

/// One bank's selection.
pub fn selection(bank: u16, pcrs: &[u8]) -> PcrSelections {
    PcrSelections::single(AlgId(bank), pcrs.iter().copied()).unwrap()
}
