//! Check 6: the path.

use super::*;

#[test]
fn an_intermediate_with_critical_certificate_policies_is_tolerated_and_noted() {
    let notes = Case::issuer(|spec| spec.extensions.push(policies())).accepted();
    assert_eq!(
        notes,
        ["ek-certificate-time: critical certificatePolicies of an issuer: tolerated, no policy is required"]
    );
}

#[test]
fn issuers_of_every_kind_of_key_are_verified() {
    let keys = [
        (Key::ec(Curve::P521), Hash::Sha512),
        (Key::ec(Curve::P384), Hash::Sha384),
        (Key::p256(), Hash::Sha256),
        (Key::rsa(1), Hash::Sha256),
        (Key::rsa(1), Hash::Sha384),
        (Key::rsa(1), Hash::Sha512),
    ];
    for (key, hash) in keys {
        let root = Ca::new("Root", key.clone(), None, |spec| spec.hash = hash);
        let mut case = Case::of(root, key, Key::p256().spki(), |spec| spec.hash = hash);
        case.ek.hash = hash;
        case.accepted();
        case.signer = Key::p256();
        case.ek.hash = Hash::Sha256;
        let detail = case.refused(Reason::EkCertificatePath, &[]);
        assert!(
            detail.contains("signature does not hold") || detail.contains("none of the passed algorithms"),
            "{detail}"
        );
    }
}

#[test]
fn sha1_counts_only_by_an_issuer_pinned_for_it() {
    let (old, other) = (Key::rsa(1), Key::rsa(0));
    let root = Ca::new("Root", old.clone(), None, |_| {});
    let mut case = Case::of(root, old, Key::p256().spki(), |_| {});
    case.ek.hash = Hash::Sha1;
    assert!(
        case.refused(Reason::EkCertificatePath, &[]).contains("made with SHA-1 and the issuer is not pinned")
    );
    case.sha1_issuers.insert(Digest(sha256(&[&case.root.der])));
    case.refused(Reason::EkCertificatePath, &[]);
    case.sha1_issuers.insert(Digest(sha256(&[&case.issuing.der])));
    case.accepted();
    case.signer = other;
    assert!(case.refused(Reason::EkCertificatePath, &[]).contains("signature does not hold"));
}

#[test]
fn a_broken_signature_is_refused_wherever_it_breaks() {
    let case = Case::new();
    let der = case.der();
    let flip = |at: usize| {
        let mut bytes = der.clone();
        bytes[at] ^= 1;
        bytes
    };
    // In the serial (signed), and in the signature's last byte.
    let serial = der.windows(4).position(|bytes| bytes == [0x4B, 1, 2, 3]).unwrap();
    for bytes in [flip(serial + 3), flip(der.len() - 1)] {
        refused(&case.inspect_bytes(&bytes), Reason::EkCertificatePath, &[]);
    }
    // Of an intermediate: nothing below it helps.
    let mut case = Case::new();
    *case.intermediates[0].last_mut().unwrap() ^= 1;
    case.refused(Reason::EkCertificatePath, &[]);
}

/// What is done to an issuer, and what is said of it.
type Issuer = (fn(&mut Spec), &'static str);

#[test]
fn an_issuer_must_be_a_ca_that_signs_certificates_and_is_not_limited_elsewhere() {
    let rows: [Issuer; 7] = [
        (
            |s| s.set("2.5.29.19", Some(extension("2.5.29.19", true, &element(SEQUENCE, &[])))),
            "basicConstraints: no CA",
        ),
        (|s| s.set("2.5.29.19", None), "no basicConstraints"),
        (|s| s.set("2.5.29.15", Some(cert::key_usage(&[0, 6]))), "keyUsage lacks keyCertSign"),
        (
            |s| s.extensions.push(extension("1.3.6.1.4.1.999.1", true, &[5, 0])),
            "unknown critical extension 1.3.6.1.4.1.999.1",
        ),
        (
            |s| s.extensions.push(extension("2.5.29.30", true, &element(SEQUENCE, &[]))),
            "unknown critical extension 2.5.29.30",
        ),
        (|s| s.extensions.push(cert::eku(&["1.3.6.1.5.5.7.3.1"])), "extendedKeyUsage names no TCG purpose"),
        (|s| s.extensions.push(cert::eku(&["1.3.6.1.4.1.999.2"])), "extendedKeyUsage names no TCG purpose"),
    ];
    for (change, wanted) in rows {
        let detail = Case::issuer(change).refused(Reason::EkCertificatePath, &[]);
        assert!(detail.contains(wanted), "{detail}");
    }
    let fine: [fn(&mut Spec); 5] = [
        |s| s.set("2.5.29.15", None),
        |s| s.extensions.push(cert::eku(&["2.23.133.8.1"])),
        |s| s.extensions.push(cert::eku(&["1.3.6.1.5.5.7.3.1", "2.23.133.8.2"])),
        |s| s.extensions.push(cert::eku(&["2.5.29.37.0"])),
        |s| s.extensions.push(extension("1.3.6.1.4.1.999.1", false, &[5, 0])),
    ];
    for change in fine {
        Case::issuer(change).accepted();
    }
}

#[test]
fn an_anchor_of_version_1_is_trusted_and_an_intermediate_of_version_1_is_not() {
    let old = |spec: &mut Spec| (spec.version, spec.extensions) = (None, Vec::new());
    let root = Ca::new("Root", Key::p256(), None, old);
    Case::of(root, Key::p256(), Key::p256().spki(), |_| {}).accepted();
    let detail = Case::issuer(old).refused(Reason::EkCertificatePath, &[]);
    assert!(detail.contains("no basicConstraints"), "{detail}");
    // An anchor with extensions must say that it is a CA, and may carry what an intermediate may not.
    let root = Ca::new("Root", Key::p256(), None, |spec| spec.set("2.5.29.19", None));
    Case::of(root, Key::p256(), Key::p256().spki(), |_| {}).refused(Reason::EkCertificatePath, &[]);
    let root = Ca::new("Root", Key::p256(), None, |spec| {
        spec.extensions.push(extension("1.3.6.1.4.1.999.1", true, &[5, 0]));
    });
    Case::of(root, Key::p256(), Key::p256().spki(), |_| {}).accepted();
}

#[test]
fn path_lengths_count_what_stands_below_and_self_issued_ones_do_not() {
    let limited = |root_limit: Option<u8>, limit: Option<u8>| {
        let root = Ca::new("Root", Key::p256(), None, |spec| {
            spec.set("2.5.29.19", Some(cert::ca_basic(root_limit)));
        });
        Case::of(root, Key::p256(), Key::p256().spki(), |spec| {
            spec.set("2.5.29.19", Some(cert::ca_basic(limit)));
        })
    };
    limited(Some(1), Some(0)).accepted();
    limited(Some(2), Some(9)).accepted();
    let detail = limited(Some(0), None).refused(Reason::EkCertificatePath, &[]);
    assert!(detail.contains("pathLenConstraint 0, 1 stand below it"), "{detail}");
    // Root -> Issuing CA (path length 0) -> the same CA's new key, by its own old one -> EK.
    let mut case = limited(Some(1), Some(0));
    let renewed = Ca::new("Issuing CA", Key::p256(), Some(&case.issuing), |spec| {
        spec.set("2.5.29.19", Some(cert::ca_basic(Some(0))));
    });
    case.ek = cert::ek(Key::p256().spki(), &renewed);
    case.signer = renewed.key.clone();
    case.intermediates.insert(0, renewed.der);
    case.accepted();
}

/// A path of so many intermediates between EK and anchor.
fn long(count: usize) -> Case {
    let mut case = Case::new();
    case.intermediates.clear();
    let mut top = case.root.clone();
    for n in 0..count {
        top = Ca::new(&format!("Issuing CA {n}"), Key::p256(), Some(&top), |_| {});
        case.intermediates.push(top.der.clone());
    }
    case.ek = cert::ek(Key::p256().spki(), &top);
    case.signer = top.key.clone();
    case.issuing = top;
    case
}

#[test]
fn a_path_is_as_long_as_it_may_be_and_no_longer() {
    long(0).accepted();
    long(8).accepted();
    let detail = long(9).refused(Reason::EkCertificatePath, &[]);
    assert!(detail.contains("the path is longer than 8"), "{detail}");
}

#[test]
fn a_thicket_of_cross_certificates_ends_within_its_budget() {
    // Twelve CAs of one name that all certify one another; none leads to the anchor.
    let mut case = Case::new();
    let hubs: Vec<Ca> = (0..12).map(|_| Ca::new("Hub", Key::p256(), None, |_| {})).collect();
    case.intermediates = hubs
        .iter()
        .flat_map(|one| {
            hubs.iter().map(move |other| Ca::new("Hub", one.key.clone(), Some(other), |_| {}).der)
        })
        .take(60)
        .collect();
    case.ek = cert::ek(Key::p256().spki(), &hubs[0]);
    case.signer = hubs[0].key.clone();
    let detail = case.refused(Reason::EkCertificatePath, &[]);
    assert!(detail.contains("48 signatures were tried without a path"), "{detail}");
    assert!(detail.matches("does not hold").count() <= 48, "{detail}");
}

#[test]
fn nobody_of_the_issuers_name_is_said_plainly() {
    let mut case = Case::new();
    case.intermediates.clear();
    let detail = case.refused(Reason::EkCertificatePath, &[]);
    assert!(detail.starts_with("no anchor and no intermediate is called"), "{detail}");
}

#[test]
fn names_are_compared_as_rfc_5280_says() {
    let reissued = |change: fn(&mut Spec)| {
        let mut case = Case::new();
        change(&mut case.ek);
        case
    };
    let named = |organisation: (u8, &str), common: (u8, &str)| {
        cert::name(&[("2.5.4.10", organisation.0, organisation.1), ("2.5.4.3", common.0, common.1)])
    };
    const UTF8: u8 = UTF8_STRING;
    const PRINTABLE: u8 = 0x13;
    for issuer in [
        named((UTF8, "Maker"), (PRINTABLE, "Issuing CA")),
        named((UTF8, "MAKER"), (UTF8, "issuing ca")),
        named((UTF8, "  Maker "), (UTF8, "Issuing   CA")),
        named((0x14, "Maker"), (0x16, "Issuing CA")),
        named((0x1E, "\0M\0a\0k\0e\0r"), (UTF8, "Issuing CA")),
    ] {
        let mut case = reissued(|_| {});
        case.ek.issuer = issuer;
        case.accepted();
    }
    for issuer in [
        named((UTF8, "Maker"), (UTF8, "IssuingCA")),
        named((UTF8, "Maker"), (UTF8, "Issuing CA 2")),
        named((UTF8, "Taker"), (UTF8, "Issuing CA")),
        named((0x04, "Maker"), (UTF8, "Issuing CA")),
        named((0x1E, "\0M\0a\0k\0e\0r\0"), (UTF8, "Issuing CA")),
        cert::name(&[("2.5.4.3", UTF8, "Issuing CA"), ("2.5.4.10", UTF8, "Maker")]),
        cert::name(&[("2.5.4.11", UTF8, "Maker"), ("2.5.4.3", UTF8, "Issuing CA")]),
        cert::name(&[("2.5.4.10", UTF8, "Maker")]),
    ] {
        let mut case = reissued(|_| {});
        case.ek.issuer = issuer;
        let detail = case.refused(Reason::EkCertificatePath, &[]);
        assert!(detail.starts_with("no anchor and no intermediate"), "{detail}");
    }
}

/// A good case whose issuer stands behind others of its name.
fn beside_strangers(strangers: u8) -> Case {
    let mut case = Case::new();
    for n in 0..strangers {
        let stranger =
            Ca::new("Issuing CA", Key::p256(), Some(&case.root), |spec| spec.serial = vec![0x20, n]);
        case.intermediates.insert(0, stranger.der);
    }
    case
}

#[test]
fn the_right_one_of_several_issuers_of_one_name_is_found() {
    let mut case = beside_strangers(5);
    let checks = case.inspect().checks;
    case.accepted();
    let path = checks.iter().find(|check| check.rule == "ek-certificate-path").unwrap();
    assert!(path.detail.contains("Issuing CA") && path.detail.contains(" < "), "{}", path.detail);
    // Without key identifiers the search still finds it.
    case.ek.set("2.5.29.35", Some(extension("2.5.29.35", false, &element(SEQUENCE, &[]))));
    case.accepted();
}

#[test]
fn the_issuer_that_the_key_identifier_names_is_tried_before_all_others_of_its_name() {
    // More strangers than signatures that may be tried.
    beside_strangers(55).accepted();
}

#[test]
fn an_issuer_is_noted_as_ended_from_the_second_after_its_last() {
    let ends = |now: i64| {
        let mut case = Case::issuer(|spec| spec.not_after = NOW);
        (case.now, case.time) = (now, TimePolicy::ValidAtIssuance);
        case.accepted()
    };
    assert_eq!(ends(NOW), Vec::<String>::new());
    let notes = ends(NOW + 1);
    assert!(notes.len() == 1 && notes[0].contains("ended at"), "{notes:?}");
}

#[test]
fn a_manufacturer_is_four_bytes_in_hex_or_one_to_four_letters() {
    use holdfast_trust::chain::ManufacturerId;
    let id = |text: &str| text.parse::<ManufacturerId>().map(|id| id.0).ok();
    assert_eq!(id("id:49424D00"), Some(*b"IBM\0"));
    assert_eq!(id("49424D00"), Some(*b"IBM\0"));
    assert_eq!(id("STM "), Some(*b"STM "));
    assert_eq!(id("A"), Some(*b"A\0\0\0"));
    for bad in ["", "id:", "id:IBM", "IBM12", "é", "A\u{1}", "A\tB", "id:49424D"] {
        assert_eq!(id(bad), None, "{bad:?}");
    }
}
