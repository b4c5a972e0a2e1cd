//! Every structure of a real TPM, shortened, lengthened and altered: refused or read, never a panic.

mod common;

use common::Swtpm;
use holdfast_tpm::wire::{
    AlgId, Attest, EkTemplate, EncryptedSecret, IdObject, PcrSelections, Public, Signature, SubjectKey,
    make_credential, parse_digest_list,
};
use holdfast_tpm::{DeviceKey, Ek, Tpm};
use proptest::prelude::*;
use tpm2_protocol::TpmUnmarshal as _;

type Parser = (&'static str, fn(&[u8]) -> bool);

const PARSERS: [Parser; 10] = [
    ("TPM2B_PUBLIC", |bytes| Public::parse_tpm2b(bytes).is_ok()),
    ("TPMT_PUBLIC", |bytes| Public::parse_tpmt(bytes).is_ok()),
    ("TPMS_ATTEST", |bytes| Attest::parse(bytes).is_ok()),
    ("TPMT_SIGNATURE", |bytes| Signature::parse(bytes).is_ok()),
    ("TPML_PCR_SELECTION", |bytes| PcrSelections::parse(bytes).is_ok()),
    ("TPML_DIGEST", |bytes| parse_digest_list(bytes).is_ok()),
    ("TPM2B_ID_OBJECT", |bytes| IdObject::parse_tpm2b(bytes).is_ok()),
    ("TPM2B_ENCRYPTED_SECRET", |bytes| EncryptedSecret::parse_tpm2b(bytes).is_ok()),
    ("SubjectPublicKeyInfo", |bytes| SubjectKey::from_spki_der(bytes).is_ok()),
    ("SubjectPublicKeyInfo of TPMT_PUBLIC", |bytes| {
        Public::parse_tpmt(bytes).is_ok_and(|public| public.to_spki_der().is_ok())
    }),
];

fn parser(name: &str) -> Parser {
    PARSERS.into_iter().find(|(known, _)| *known == name).unwrap()
}

/// One of everything, from a TPM.
fn genuine() -> Vec<(Parser, Vec<u8>)> {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap();
    let key = DeviceKey::create(&mut tpm).unwrap();
    let certified = key.certify(&mut tpm, &[1; 32]).unwrap();
    let selection = PcrSelections::single(AlgId::SHA256, 0..8).unwrap();
    let quote = tpm.quote(&[2; 32], &selection).unwrap();
    let mut all = vec![
        (parser("TPM2B_PUBLIC"), ak.to_tpm2b()),
        (parser("TPM2B_PUBLIC"), key.public.clone()),
        (parser("TPMT_PUBLIC"), ak.as_tpmt().to_vec()),
        (parser("TPMS_ATTEST"), certified.attest),
        (parser("TPMS_ATTEST"), quote.attest),
        (parser("TPMT_SIGNATURE"), quote.signature),
        (parser("TPML_PCR_SELECTION"), selection.to_bytes()),
        (parser("TPML_DIGEST"), [&[0, 0, 0, 2, 0, 2, 1, 2][..], &[0, 1, 9]].concat()),
        (parser("SubjectPublicKeyInfo"), ak.to_spki_der().unwrap()),
    ];
    for template in [EkTemplate::L1Rsa2048, EkTemplate::H3P384] {
        let ek = Ek::derive(&mut tpm, template).unwrap().public;
        let (blob, secret) = make_credential(&ek, &ak.name(), &[3; 32]).unwrap();
        all.push((parser("TPM2B_ID_OBJECT"), blob.to_tpm2b()));
        all.push((parser("TPM2B_ENCRYPTED_SECRET"), secret.to_tpm2b()));
        all.push((parser("TPM2B_PUBLIC"), ek.to_tpm2b()));
        all.push((parser("SubjectPublicKeyInfo"), ek.to_spki_der().unwrap()));
    }
    all
}

#[test]
fn truncated_and_extended_structures_are_refused_and_altered_ones_never_panic() {
    for ((name, accepts), bytes) in genuine() {
        assert!(accepts(&bytes), "{name}");
        for len in 0..bytes.len() {
            assert!(!accepts(&bytes[..len]), "{name} cut to {len} of {}", bytes.len());
        }
        for extra in 1..4 {
            assert!(!accepts(&[&bytes[..], &vec![0; extra]].concat()), "{name} with {extra} more");
        }
        assert!(!accepts(&[&bytes[..], &vec![0; 1 << 16]].concat()), "{name} oversized");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                for (_, parse) in PARSERS {
                    parse(&altered);
                }
            }
        }
    }
}

/// Crate tpm2-protocol's own parsers as second opinion on what a real TPM says.
#[test]
fn tpm2_protocol_reads_the_same() {
    use tpm2_protocol::data::{Tpm2bPublic, TpmtSignature};
    for ((name, _), bytes) in genuine() {
        match name {
            "TPM2B_PUBLIC" => {
                let (theirs, rest) = Tpm2bPublic::unmarshal(&bytes).unwrap();
                let ours = Public::parse_tpm2b(&bytes).unwrap();
                assert!(rest.is_empty());
                assert_eq!(theirs.inner.object_attributes.bits(), ours.attributes().0);
                assert_eq!(theirs.inner.auth_policy.as_ref(), ours.auth_policy());
                assert_eq!(theirs.inner.name_alg.value(), ours.name_alg().alg().0);
            }
            "TPMT_SIGNATURE" => assert!(TpmtSignature::unmarshal(&bytes).unwrap().1.is_empty()),
            _ => {}
        }
    }
}

#[test]
fn exponent_zero_short_coordinates_and_reserved_attributes_are_read_as_such() {
    let ak = holdfast_tpm::wire::ak_template();
    let with_reserved = {
        let mut bytes = ak.clone();
        bytes[6] |= 0x03; // bits 8 and 9
        bytes[4] |= 0x80; // bit 31, reserved
        Public::parse_tpmt(&bytes).unwrap()
    };
    assert_eq!(with_reserved.attributes().0, 0x8005_0772);
    assert_ne!(with_reserved.name(), Public::parse_tpmt(&ak).unwrap().name());

    let (x, y) = ([[0, 0].as_slice(), &[5; 30]].concat(), vec![6; 32]);
    let key = SubjectKey::Ecc { curve: holdfast_tpm::wire::Curve::P256, x, y };
    let padded = EkTemplate::L2P256.public(&key).unwrap();
    let bytes = padded.as_tpmt();
    let short = [&bytes[..bytes.len() - 68], &[0, 30], &bytes[bytes.len() - 64..]].concat();
    let short = Public::parse_tpmt(&short).unwrap();
    padded.equal_after_left_padding(&short).unwrap();
    assert_ne!(padded.name(), short.name(), "Names are over the bytes received");
    assert_eq!(padded.to_spki_der().unwrap(), short.to_spki_der().unwrap());

    let other = EkTemplate::H2P256.public(&key).unwrap();
    assert_eq!(padded.equal_after_left_padding(&other).unwrap_err().field, "objectAttributes");
    assert!(EkTemplate::H3P384.public(&key).is_err(), "another curve");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, parse) in PARSERS {
            parse(&bytes);
        }
    }

    #[test]
    fn numbers_round_trip_through_spki(x in any::<[u8; 32]>(), y in any::<[u8; 32]>(), zeros in 0_usize..4) {
        let (mut x, y) = (x.to_vec(), y.to_vec());
        x[..zeros].fill(0);
        let key = SubjectKey::Ecc { curve: holdfast_tpm::wire::Curve::P256, x, y };
        prop_assert_eq!(SubjectKey::from_spki_der(&key.to_spki_der()).unwrap(), key);
    }

    #[test]
    fn selections_round_trip(pcrs in proptest::collection::btree_set(0_u8..24, 0..24)) {
        let selection = PcrSelections::single(AlgId::SHA256, pcrs.clone()).unwrap();
        let read = PcrSelections::parse(&selection.to_bytes()).unwrap();
        prop_assert_eq!(read.0[0].pcrs(), pcrs);
    }
}
