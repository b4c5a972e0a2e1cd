//! PKCS#10 requests: what is read, up to where, and what may not be asked for.

use crate::support::cert::{self, extension};
use crate::support::key::{Hash, Key};
use holdfast_tpm::wire::der::{NULL, OID, SEQUENCE, SET, bit_string, element};
use holdfast_trust::csr::{self, CsrError};
use holdfast_trust::limits::{CSR_ATTRIBUTES_MAX, CSR_MAX_BYTES};

fn verify(bytes: &[u8]) -> Result<(), CsrError> {
    csr::verify(bytes, crate::support::algorithms()).map(|_| ())
}

/// A request that asks for these extensions.
fn asking(extensions: &[Vec<u8>]) -> Result<(), CsrError> {
    let key = Key::p256();
    verify(&cert::csr(&key, &key, extensions))
}

/// A request with these whole Attribute elements.
fn with_attributes(key: &Key, attributes: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    let subject = cert::name(&[]);
    let info = element(SEQUENCE, &[&element(2, &[&[0]]), &subject, &key.spki(), &element(0xA0, &parts)]);
    let signature = bit_string(&key.sign(Hash::Sha256, &info));
    element(SEQUENCE, &[&info, &key.algorithm(Hash::Sha256), &signature])
}

#[test]
fn a_request_has_as_many_bytes_as_it_may_and_no_more() {
    // RSA: its signatures are all of one length.
    let key = Key::rsa(0);
    let sized =
        |filler: usize| cert::csr(&key, &key, &[extension("1.3.6.1.4.1.999.1", false, &vec![0; filler])]);
    let overhead = sized(CSR_MAX_BYTES / 2).len() - CSR_MAX_BYTES / 2;
    let longest = sized(CSR_MAX_BYTES - overhead);
    assert_eq!(longest.len(), CSR_MAX_BYTES);
    assert_eq!(verify(&longest), Ok(()));
    let longer = sized(CSR_MAX_BYTES - overhead + 1);
    assert_eq!(verify(&longer), Err(CsrError::TooLong { actual: CSR_MAX_BYTES + 1 }));
}

#[test]
fn a_request_has_as_many_attributes_as_it_may_and_no_more() {
    let key = Key::p256();
    let attributes = |count: usize| {
        let one = |n: usize| {
            let oid = element(OID, &[&cert::oid_bytes(&format!("1.3.6.1.4.1.999.{n}"))]);
            element(SEQUENCE, &[&oid, &element(SET, &[&element(NULL, &[])])])
        };
        with_attributes(&key, &(0..count).map(one).collect::<Vec<_>>())
    };
    assert_eq!(verify(&attributes(CSR_ATTRIBUTES_MAX)), Ok(()));
    let more = CSR_ATTRIBUTES_MAX + 1;
    assert_eq!(verify(&attributes(more)), Err(CsrError::TooManyAttributes(more)));
}

#[test]
fn a_request_may_say_that_it_asks_for_no_ca_and_must_be_readable() {
    let no_ca = extension("2.5.29.19", true, &element(SEQUENCE, &[]));
    assert_eq!(asking(&[no_ca]), Ok(()));
    let no_ca = extension("2.5.29.19", true, &element(SEQUENCE, &[&element(1, &[&[0]])]));
    assert_eq!(asking(&[no_ca]), Ok(()));
    assert!(matches!(asking(&[cert::ca_basic(None)]), Err(CsrError::AsksForCa(_))));
    let unreadable = extension("2.5.29.15", true, &element(NULL, &[]));
    assert!(matches!(asking(&[unreadable]), Err(CsrError::Malformed(_))));
}
