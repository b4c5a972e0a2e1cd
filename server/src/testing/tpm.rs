//! A TPM that quotes what it is told: an attestation key, counters, PCRs and the log beneath them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use holdfast_proto::Bytes;
use holdfast_proto::enroll::{Attestation, PcrValue};
use holdfast_proto::report::Evidence;
use holdfast_tpm::wire::{AlgId, Attributes, Hierarchy, PcrSelections, Public};
use holdfast_trust::attest::binding::report_quote;
use sha2::{Digest as _, Sha256};

const SHA256: u16 = 0x0B;
const PCRS: u8 = 10;
/// Where a boot loader measures what it starts.
const KERNEL_PCR: u32 = 9;
const EV_IPL: u32 = 0x0D;

pub(crate) struct SoftTpm {
    key: EcdsaKeyPair,
    pub(crate) reset_count: u32,
}

impl SoftTpm {
    pub(crate) fn new(reset_count: u32) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap(),
            reset_count,
        }
    }

    /// TPM2B_PUBLIC of the AK: P-256, restricted, ECDSA with SHA-256.
    pub(crate) fn public(&self) -> Vec<u8> {
        let attributes = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::USER_WITH_AUTH
            | Attributes::NO_DA
            | Attributes::RESTRICTED
            | Attributes::SIGN;
        let point = self.key.public_key().as_ref();
        let area = [
            &words(&[0x0023, SHA256])[..],
            &attributes.to_be_bytes(),
            &sized(&[]),
            &words(&[0x0010, 0x0018, SHA256, 0x0003, 0x0010]),
            &sized(&point[1..33]),
            &sized(&point[33..]),
        ];
        sized(&area.concat())
    }

    /// A quote for a report over `nonce`, after a boot that measured `digest`.
    pub(crate) fn evidence(&self, nonce: &[u8], digest: &[u8; 32]) -> Evidence {
        let mut pcr_values: Vec<Vec<u8>> = vec![vec![0; 32]; usize::from(PCRS)];
        let extended = Sha256::new().chain_update([0; 32]).chain_update(digest).finalize().to_vec();
        pcr_values[KERNEL_PCR as usize] = extended;
        let log = log(digest);
        let ak = Public::parse_tpm2b(&self.public()).unwrap();
        let selection = PcrSelections::single(AlgId(SHA256), 0..PCRS).unwrap();
        let attest = [
            &0xFF54_4347_u32.to_be_bytes()[..],
            &0x8018_u16.to_be_bytes(),
            &sized(&ak.qualified_name(Hierarchy::Endorsement)),
            &sized(&report_quote(nonce, Some(&log))),
            &50_000_u64.to_be_bytes(),
            &self.reset_count.to_be_bytes(),
            &[0; 4],
            &[1],
            &0x2019_1023_0016_3636_u64.to_be_bytes(),
            &selection.to_bytes(),
            &sized(&Sha256::digest(pcr_values.concat())),
        ]
        .concat();
        let signature = self.key.sign(&SystemRandom::new(), &attest).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        let signature = [&words(&[0x0018, SHA256])[..], &sized(r), &sized(s)].concat();
        let value = |(index, value): (usize, Vec<u8>)| PcrValue {
            alg: SHA256,
            index: index as u8,
            value: Bytes(value),
        };
        Evidence {
            nonce: Bytes(nonce.to_vec()),
            quote: Some(Attestation { attest: Bytes(attest), signature: Bytes(signature) }),
            pcr_values: pcr_values.into_iter().enumerate().map(value).collect(),
            event_log: Some(Bytes(log)),
        }
    }
}

/// A crypto-agile log (SHA-256 alone) with one event.
fn log(digest: &[u8; 32]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend(1_u32.to_le_bytes());
    spec.extend(SHA256.to_le_bytes());
    spec.extend(32_u16.to_le_bytes());
    spec.push(0);
    let name = b"slot";
    [
        &0_u32.to_le_bytes()[..],
        &3_u32.to_le_bytes(), // EV_NO_ACTION
        &[0; 20],
        &(spec.len() as u32).to_le_bytes(),
        &spec,
        &KERNEL_PCR.to_le_bytes(),
        &EV_IPL.to_le_bytes(),
        &1_u32.to_le_bytes(),
        &SHA256.to_le_bytes(),
        digest,
        &(name.len() as u32).to_le_bytes(),
        name,
    ]
    .concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
