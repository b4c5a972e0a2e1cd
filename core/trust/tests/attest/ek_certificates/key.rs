//! Check 5: the key.

use super::*;

fn rsa_spki(modulus: &BigUint, exponent: u32) -> Vec<u8> {
    SubjectKey::Rsa { modulus: modulus.to_bytes_be(), exponent }.to_spki_der()
}

/// An odd number of so many bits, not a product of anything in particular.
fn odd(bits: usize) -> BigUint {
    (BigUint::from(1_u32) << (bits - 1)) + BigUint::from(0x1234_5677_u32)
}

fn with_key(spki: Vec<u8>) -> Case {
    let mut case = Case::new();
    case.ek = cert::ek(spki, &case.issuing);
    if case.ek.spki.len() > 120
        && SubjectKey::from_spki_der(&case.ek.spki).is_ok_and(|key| matches!(key, SubjectKey::Rsa { .. }))
    {
        case.ek.set("2.5.29.15", Some(cert::key_usage(&[2])));
    }
    case
}

#[test]
fn key_sizes_hold_at_their_edges() {
    for bits in [2048, 3072, 4096] {
        with_key(rsa_spki(&odd(bits), 65_537)).accepted();
    }
    for bits in [1024, 2047, 4097] {
        let detail = with_key(rsa_spki(&odd(bits), 65_537)).refused(Reason::EkCertificateKey, &[]);
        assert_eq!(detail, format!("RSA of {bits} bits, not 2048 to 4096"));
    }
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        let mut case = with_key(Key::ec(curve).spki());
        case.ek.set("2.5.29.15", Some(cert::key_usage(&[4])));
        case.accepted();
    }
}

#[test]
fn rsa_numbers_are_sound() {
    with_key(rsa_spki(&odd(2048), 3)).accepted();
    for (modulus, exponent) in
        [(odd(2048) + 1_u32, 65_537), (odd(2048), 1), (odd(2048), 65_536), (odd(2048), 2)]
    {
        let detail = with_key(rsa_spki(&modulus, exponent)).refused(Reason::EkCertificateKey, &[]);
        assert_eq!(detail, format!("RSA with an even modulus or the exponent {exponent}"));
    }
}

#[test]
fn a_point_off_its_curve_and_a_curve_that_is_not_named_are_refused() {
    let SubjectKey::Ecc { curve, x, mut y } = Key::p256().subject() else { panic!("P-256") };
    y[31] ^= 1;
    let mut case = with_key(SubjectKey::Ecc { curve, x, y }.to_spki_der());
    assert_eq!(case.refused(Reason::EkCertificateKey, &[]), "the point is not on P256");
    // secp256k1: of the right size, and unknown here. Its key usage cannot be judged as an ECC key's.
    let oid = |bytes: &[u8]| element(der::OID, &[bytes]);
    let algorithm = element(SEQUENCE, &[&oid(der::EC_PUBLIC_KEY), &oid(&[0x2B, 0x81, 4, 0, 0x0A])]);
    let point = [&[4][..], &[1; 64]].concat();
    case = with_key(element(SEQUENCE, &[&algorithm, &der::bit_string(&point)]));
    let detail = case.refused(Reason::EkCertificateKeyUsage, &[Reason::EkCertificateKey]);
    assert!(detail.contains("keyUsage"), "{detail}");
    case.ek.set("2.5.29.15", Some(cert::key_usage(&[2])));
    assert!(case.refused(Reason::EkCertificateKey, &[]).contains("P-256, P-384 or P-521"));
}

#[test]
fn rsaes_oaep_is_a_key_for_encipherment_like_rsa_encryption() {
    let spki = rsa_spki(&odd(2048), 65_537);
    let plain = element(der::OID, &[der::RSA_ENCRYPTION]);
    let oaep = element(der::OID, &[der::RSAES_OAEP]);
    assert_eq!(plain.len(), oaep.len());
    let at = spki.windows(plain.len()).position(|bytes| bytes == plain).unwrap();
    let spki = [&spki[..at], &oaep, &spki[at + plain.len()..]].concat();
    with_key(spki).accepted();
}

#[test]
fn a_modulus_of_the_weak_generator_is_refused() {
    // CVE-2017-15361: p = k·M + (65537^a mod M), M the product of the first primes. Enough of M for the fingerprint.
    let primes = [
        2_u32, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
        101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    let m = primes.iter().fold(BigUint::from(1_u32), |m, prime| m * *prime);
    let most = (BigUint::from(1_u32) << 1024_usize) / &m;
    let weak =
        |less: u32, a: u32| (&most - less) * &m + BigUint::from(65_537_u32).modpow(&BigUint::from(a), &m);
    let modulus = weak(1_000_003, 12_345) * weak(2_000_029, 54_321);
    assert_eq!(modulus.bits(), 2048, "the vector itself");
    let case = with_key(rsa_spki(&modulus, 65_537));
    assert_eq!(case.refused(Reason::EkKeyRoca, &[]), "fingerprint of CVE-2017-15361");
    with_key(rsa_spki(&(modulus + 2_u32), 65_537)).accepted();
}
