//! Check 1: the bytes.

use super::*;
use std::slice::from_ref;

fn nv(der: &[u8]) -> Vec<u8> {
    [&[0x10, 1, 0][..], &(der.len() as u16).to_be_bytes(), der].concat()
}

#[test]
fn the_nv_wrapper_is_stripped_and_noted() {
    let note = "ek-certificate-malformed: NV wrapper (10 01 00 length) removed".to_owned();
    assert_eq!(Case { wrap: |der| nv(&der), ..Case::new() }.accepted(), from_ref(&note));
    let full = |der: Vec<u8>| nv(&[&[0x10, 2][..], &der].concat());
    assert_eq!(Case { wrap: full, ..Case::new() }.accepted(), from_ref(&note));
    // An index larger than what its header says: the rest is no certificate.
    assert_eq!(
        Case { wrap: |der| [nv(&der), vec![0xFF; 90]].concat(), ..Case::new() }.accepted(),
        from_ref(&note)
    );
    let overstated = |der: Vec<u8>| [&[0x10, 1, 0, 0xFF, 0xFF][..], &der].concat();
    assert_eq!(Case { wrap: overstated, ..Case::new() }.accepted(), [note]);
    for cut in [vec![0x10, 1, 0], vec![0x10, 1, 0, 4], nv(&[])] {
        refused(&Case::new().inspect_bytes(&cut), Reason::EkCertificateMalformed, &[]);
    }
}

#[test]
fn trailing_bytes_are_dropped_and_noted() {
    // Genuine ST certificates carry 431.
    let case = Case { wrap: |der| [der, vec![0; 431]].concat(), ..Case::new() };
    assert_eq!(case.accepted(), ["ek-certificate-malformed: 431 bytes after the certificate dropped"]);
    let (der, inspection) = case.read();
    assert_eq!(inspection.certificate.unwrap().der, der);
}

#[test]
fn the_size_is_capped_at_its_edge() {
    let sized = |length: usize| {
        let mut bytes = Case::new().der();
        bytes.resize(length, 0);
        Case::new().inspect_bytes(&bytes)
    };
    let detail = refused(&sized(8193), Reason::EkCertificateMalformed, &[]);
    assert_eq!(detail, "8193 bytes are above the cap of 8192");
    assert!(!sized(8192).checks.iter().any(|check| check.detail.contains("above the cap")));
}

#[test]
fn explicit_defaults_are_accepted_and_noted_and_the_signature_is_over_the_bytes_received() {
    let mut case = Case::new();
    let explicit = |oid: &str, value: &[u8]| {
        let oid = element(der::OID, &[&cert::oid_bytes(oid)]);
        element(SEQUENCE, &[&oid, &element(1, &[&[0]]), &element(der::OCTET_STRING, &[value])])
    };
    case.ek.set("2.5.29.19", Some(explicit("2.5.29.19", &element(SEQUENCE, &[&element(1, &[&[0]])]))));
    let notes = case.accepted();
    assert!(
        notes.iter().any(|note| note.contains("extension 2.5.29.19: critical FALSE is written out")),
        "{notes:?}"
    );
    assert!(notes.iter().any(|note| note.contains("basicConstraints: cA FALSE is written out")), "{notes:?}");
    assert_eq!(notes.len(), 2);
}

#[test]
fn what_is_no_certificate_is_refused_as_such() {
    let der = Case::new().der();
    let mut algorithms_differ = der.clone();
    // The outer AlgorithmIdentifier is the last one.
    let oid = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
    let at = algorithms_differ.windows(8).rposition(|bytes| bytes == oid).unwrap();
    algorithms_differ[at + 7] = 3;
    // A fourth element beside what is signed, how, and the signature.
    let mut outer = der.as_slice();
    let inside = der::read("certificate", SEQUENCE, &mut outer).unwrap();
    let fourth = element(SEQUENCE, &[inside, &[5, 0]]);
    refused(&Case::new().inspect_bytes(&fourth), Reason::EkCertificateMalformed, &[]);
    for (bytes, wanted) in [
        (Vec::new(), "no DER SEQUENCE at the start"),
        (vec![0xFF; 300], "no DER SEQUENCE at the start"),
        (der[..der.len() - 1].to_vec(), "no DER SEQUENCE at the start"),
        (element(SEQUENCE, &[&[0x02, 1, 1]]), "not an X.509 certificate"),
        (algorithms_differ, "the signature algorithm inside the signed part differs"),
    ] {
        let detail = refused(&Case::new().inspect_bytes(&bytes), Reason::EkCertificateMalformed, &[]);
        assert!(detail.starts_with(wanted), "{detail}");
    }
}

#[test]
fn extensions_are_unique_readable_and_few() {
    let mut case = Case::new();
    case.ek.extensions.push(cert::key_usage(&[4]));
    assert_eq!(case.refused(Reason::EkCertificateMalformed, &[]), "the extension 2.5.29.15 stands twice");
    // What is read must be readable even where it is not critical; what is not read need not be.
    for oid in ["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.35", "2.5.29.37"] {
        let mut case = Case::new();
        case.ek.set(oid, Some(extension(oid, false, &[0x05, 0])));
        let detail = case.refused(Reason::EkCertificateMalformed, &[]);
        assert_eq!(detail, format!("the extension {oid} cannot be read"));
    }
    let mut case = Case::new();
    case.ek.set("2.5.29.31", Some(extension("2.5.29.31", false, &[0x05, 0])));
    case.accepted();
    case.ek.set("2.5.29.31", Some(extension("2.5.29.31", true, &[0x05, 0])));
    assert_eq!(case.refused(Reason::EkCertificateMalformed, &[]), "the extension 2.5.29.31 cannot be read");
    let fill = |count: usize| {
        let mut case = Case::new();
        for n in case.ek.extensions.len()..count {
            case.ek.extensions.push(extension(&format!("1.3.6.1.4.1.999.{n}"), false, &[5, 0]));
        }
        case
    };
    fill(40).accepted();
    assert_eq!(fill(41).refused(Reason::EkCertificateMalformed, &[]), "41 extensions");
}
