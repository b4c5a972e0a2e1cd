//! Checks 2 to 4: the profile.

use super::*;

refused! {
    version_2: EkCertificateVersion = |c| c.ek.version = Some(1);
    serial_of_zero: EkCertificateSerial = |c| c.ek.serial = vec![0];
    negative_serial: EkCertificateSerial = |c| c.ek.serial = vec![0x80, 1];
    serial_of_21_octets: EkCertificateSerial = |c| c.ek.serial = vec![0x7F; 21];
    ca_offered_as_ek: EkCertificateIsCa = |c| c.ek.set("2.5.29.19", Some(cert::ca_basic(None)));
    no_authority_key_identifier: EkCertificateKeyIdentifier = |c| c.ek.set("2.5.29.35", None);
    no_key_usage: EkCertificateKeyUsage = |c| c.ek.set("2.5.29.15", None);
    ecc_key_for_encipherment_alone: EkCertificateKeyUsage = |c| c.ek.set("2.5.29.15", Some(cert::key_usage(&[2])));
    key_that_signs_certificates: EkCertificateKeyUsage = |c| c.ek.set("2.5.29.15", Some(cert::key_usage(&[4, 5])));
    key_that_signs_crls: EkCertificateKeyUsage = |c| c.ek.set("2.5.29.15", Some(cert::key_usage(&[4, 6])));
    unknown_critical_extension: EkCertificateCriticalExtension = |c| {
        c.ek.extensions.push(extension("1.3.6.1.4.1.999.1", true, &[5, 0]));
    };
    critical_name_constraints: EkCertificateCriticalExtension = |c| {
        c.ek.extensions.push(extension("2.5.29.30", true, &element(SEQUENCE, &[])));
    };
    no_alternative_name: EkCertificateSubjectAlternativeName = |c| c.ek.set("2.5.29.17", None);
    no_extended_key_usage_and_no_waiver: EkCertificateExtendedKeyUsage = |c| c.ek.set("2.5.29.37", None);
    ak_certificates_purpose: EkCertificateExtendedKeyUsage = |c| c.ek.set("2.5.29.37", Some(cert::eku(&["2.23.133.8.3"])));
    any_purpose_is_not_this_one: EkCertificateExtendedKeyUsage = |c| c.ek.set("2.5.29.37", Some(cert::eku(&["2.5.29.37.0"])));
}

#[test]
fn an_rsa_key_for_agreement_alone_is_refused() {
    let mut case = Case::for_key(&Key::rsa(0));
    case.accepted();
    case.ek.set("2.5.29.15", Some(cert::key_usage(&[4])));
    case.refused(Reason::EkCertificateKeyUsage, &[]);
}

#[test]
fn version_1_has_no_extensions_and_fails_by_all_that_it_lacks() {
    let mut case = Case::new();
    (case.ek.version, case.ek.extensions) = (None, Vec::new());
    let lacks = [
        Reason::EkCertificateKeyIdentifier,
        Reason::EkCertificateKeyUsage,
        Reason::EkCertificateSubjectAlternativeName,
        Reason::EkCertificateExtendedKeyUsage,
    ];
    case.refused(Reason::EkCertificateVersion, &lacks);
}

#[test]
fn a_serial_of_20_octets_passes_with_its_sign_octet_too() {
    for serial in [vec![0x7F; 20], [&[0][..], &[0xFF; 20]].concat(), vec![1], vec![0, 0x80]] {
        let mut case = Case::new();
        case.ek.serial = serial;
        case.accepted();
    }
    let mut case = Case::new();
    case.ek.serial = [&[0][..], &[0xFF; 21]].concat();
    case.refused(Reason::EkCertificateSerial, &[]);
}

#[test]
fn an_empty_issuer_is_refused_even_where_the_path_holds() {
    let empty = Ca::new("x", Key::p256(), None, |spec| {
        spec.subject = cert::name(&[]);
        spec.issuer = cert::name(&[]);
    });
    let mut case = Case::new();
    case.ek = cert::ek(Key::p256().spki(), &empty);
    case.ek.issuer = cert::name(&[]);
    (case.signer, case.root) = (empty.key.clone(), empty);
    case.refused(Reason::EkCertificateIssuer, &[]);
}

#[test]
fn known_critical_extensions_and_unknown_ordinary_ones_pass() {
    let mut case = Case::new();
    let policy =
        element(SEQUENCE, &[&element(SEQUENCE, &[&element(der::OID, &[&cert::oid_bytes("2.23.133.8.9")])])]);
    case.ek.extensions.push(extension("2.5.29.32", true, &policy));
    case.ek.extensions.push(extension("1.3.6.1.4.1.999.1", false, &[5, 0]));
    let purpose = element(
        SEQUENCE,
        &[
            &element(der::OID, &[&cert::oid_bytes("2.23.133.8.1")]),
            &element(der::OID, &[&cert::oid_bytes("2.23.133.8.3")]),
        ],
    );
    case.ek.set("2.5.29.37", Some(extension("2.5.29.37", true, &purpose)));
    case.accepted();
}

const MANUFACTURER: (&str, u8, &str) = ("2.23.133.2.1", UTF8_STRING, "id:00001014");
const MODEL: (&str, u8, &str) = ("2.23.133.2.2", UTF8_STRING, "swtpm");
const VERSION: (&str, u8, &str) = ("2.23.133.2.3", UTF8_STRING, "id:1");

#[test]
fn the_alternative_name_holds_one_directory_name_with_all_three_once() {
    let directory = |attributes: &[(&str, u8, &str)]| element(0xA4, &[&cert::name(attributes)]);
    let names = |parts: &[Vec<u8>]| {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        extension("2.5.29.17", true, &element(SEQUENCE, &parts))
    };
    let good = directory(&[MANUFACTURER, MODEL, VERSION]);
    let dns = element(0x82, &[b"tpm.example"]);
    let uri = element(0x86, &[b"urn:x"]);
    let said = |san: Vec<u8>| {
        let mut case = Case::new();
        case.ek.set("2.5.29.17", Some(san));
        case.refused(Reason::EkCertificateSubjectAlternativeName, &[])
    };
    for san in [names(&[good.clone(), good.clone()]), names(std::slice::from_ref(&dns))] {
        let found = said(san);
        assert!(found.contains("exactly one directoryName"), "{found}");
    }
    for (attributes, wanted) in [
        (vec![MODEL, VERSION], "2.23.133.2.1 exactly once"),
        (vec![MANUFACTURER, VERSION], "2.23.133.2.2 exactly once"),
        (vec![MANUFACTURER, MODEL], "2.23.133.2.3 exactly once"),
        (vec![MANUFACTURER, MANUFACTURER, MODEL, VERSION], "2.23.133.2.1 exactly once"),
        (vec![MANUFACTURER, MODEL, VERSION, VERSION], "2.23.133.2.3 exactly once"),
        (
            vec![("2.23.133.2.1", UTF8_STRING, "id:1014"), MODEL, VERSION],
            "manufacturer: `id:1014` is no manufacturer",
        ),
        (vec![("2.23.133.2.1", der::OCTET_STRING, "id:00001014"), MODEL, VERSION], "2.23.133.2.1 is no text"),
    ] {
        let found = said(san_of(&attributes));
        assert!(found.contains(wanted), "{found}");
    }
    for fine in [
        names(&[dns, good.clone(), uri]),
        extension("2.5.29.17", false, &element(SEQUENCE, &[&good])),
        san_of(&[("2.5.4.3", UTF8_STRING, "more"), VERSION, MODEL, MANUFACTURER]),
        san_of(&[("2.23.133.2.1", 0x13, "id:00001014"), ("2.23.133.2.2", 0x16, "swtpm"), VERSION]),
    ] {
        let mut case = Case::new();
        case.ek.set("2.5.29.17", Some(fine));
        case.accepted();
    }
}

#[test]
fn the_absence_of_a_purpose_is_waived_by_a_named_rule_of_the_maker_and_another_purpose_never_is() {
    for (manufacturer, rule) in [
        ("id:474F4F47", "google-vtpm-no-eku"),
        ("id:49465800", "infineon-no-eku"),
        ("id:53544D20", "st-no-eku"),
        ("id:4E544300", "nuvoton-no-eku"),
        ("id:494E5443", "intel-no-eku"),
        ("id:414D4400", "amd-no-eku"),
    ] {
        let mut case = Case::new();
        case.certifies = vec![manufacturer.parse().unwrap()];
        case.ek.set("2.5.29.17", Some(cert::san(manufacturer, "m", "v")));
        assert_eq!(case.accepted(), Vec::<String>::new());
        case.ek.set("2.5.29.37", None);
        let note = format!("ek-certificate-extended-key-usage: no extendedKeyUsage; waived by rule {rule}");
        assert_eq!(case.accepted(), [note]);
        // The cloud family that puts the purpose on AKs: key usage tells them apart.
        case.ek.set("2.5.29.37", Some(cert::eku(&["2.23.133.8.3"])));
        case.refused(Reason::EkCertificateExtendedKeyUsage, &[]);
        case.ek.set("2.5.29.37", None);
        case.ek.set("2.5.29.35", None);
        case.refused(Reason::EkCertificateKeyIdentifier, &[]);
    }
    // Who names no maker gets no waiver.
    let mut case = Case::new();
    case.ek.set("2.5.29.17", None);
    case.ek.set("2.5.29.37", None);
    case.refused(Reason::EkCertificateSubjectAlternativeName, &[Reason::EkCertificateExtendedKeyUsage]);
}
