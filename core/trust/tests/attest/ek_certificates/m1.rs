//! Check 8, whom an anchor may certify, and M1's own: deny list, chain from NV, several certificates, template.

use super::*;

#[test]
fn an_anchor_certifies_the_manufacturers_of_its_list_alone() {
    let mut case = Case::new();
    case.certifies = vec!["id:49465800".parse().unwrap()];
    let detail = case.refused(Reason::EkCertificateManufacturer, &[]);
    assert_eq!(detail, "00001014; the anchor may certify 49465800=49465800");
    case.certifies.push("id:00001014=IBM".parse().unwrap());
    case.accepted();
    // What the TPM reports stands on the other side of the pair: it certifies nothing.
    case.certifies = vec!["id:49465800=00001014".parse().unwrap()];
    case.refused(Reason::EkCertificateManufacturer, &[]);
    case.certifies.clear();
    assert_eq!(
        case.accepted(),
        ["ek-certificate-manufacturer: 00001014; the anchor is not limited to manufacturers"]
    );
}

#[test]
fn what_the_tpm_reports_of_its_maker_is_a_noted_lint_and_decides_nothing() {
    let vector = Vector::default();
    let lint = |vector: &Vector| {
        let started = vector.start().unwrap();
        let noted = started
            .checks
            .iter()
            .filter(|check| check.result == CheckResult::Noted)
            .map(|check| check.detail.clone());
        noted.collect::<Vec<_>>()
    };
    assert_eq!(lint(&vector), Vec::<String>::new());
    for said in ["49465800", "nonsense", ""] {
        let mut vector = Vector::default();
        vector.change_m1 = Some(Box::new(move |m1| m1.tpm.as_mut().unwrap().manufacturer = said.into()));
        let notes = lint(&vector);
        assert_eq!(notes.len(), 1, "{said}");
        assert!(notes[0].starts_with("the certificate says 00001014, the TPM reports"), "{notes:?}");
    }
}

#[test]
fn serials_on_the_deny_list_are_compared_as_numbers() {
    for denied in ["4b010203", "4B010203", "004b010203", "00004B010203"] {
        let mut vector = Vector::default();
        vector.house.deny.certificate_serials.insert(denied.into());
        assert_refused(vector.start(), Reason::EkDenyListed, &[]);
    }
    for other in ["4b0102", "b010203", "4b01020300", ""] {
        let mut vector = Vector::default();
        vector.house.deny.certificate_serials.insert(other.into());
        vector.start().unwrap();
    }
}

#[test]
fn the_chain_from_nv_is_one_stream_over_all_indices() {
    let vector = |pieces: fn(Vec<u8>) -> Vec<Vec<u8>>| {
        let mut vector = Vector::default();
        vector.change_m1 = Some(Box::new(move |m1| {
            let tpm = m1.tpm.as_mut().unwrap();
            let chain = tpm.ek_chain[0].0.clone();
            tpm.ek_chain = pieces(chain).into_iter().map(holdfast_proto::Bytes).collect();
        }));
        vector
    };
    vector(|chain| chain.chunks(100).map(<[u8]>::to_vec).collect()).start().unwrap();
    vector(|chain| vec![Ca::new("Other", Key::p256(), None, |_| {}).der, chain]).start().unwrap();
    // What is no certificate is passed over; what follows it is still found.
    vector(|chain| vec![element(SEQUENCE, &[&[5, 0]]), chain, vec![0; 40]]).start().unwrap();
    vector(|chain| [vec![chain], vec![Vec::new(); 255]].concat()).start().unwrap();
    for too_much in [
        vector(|chain| [vec![chain], vec![Vec::new(); 256]].concat()),
        vector(|chain| vec![chain, vec![0; 64 << 10]]),
        vector(|_| Vec::new()),
    ] {
        assert_refused(too_much.start(), Reason::EkCertificatePath, &[]);
    }
}

#[test]
fn of_several_certificates_the_one_for_the_ek_counts() {
    let with_others = |others: fn(&Vector) -> Vec<Vec<u8>>, place: usize| {
        let vector = Vector::default();
        let others: Vec<Vec<u8>> = others(&vector);
        let mut vector = vector;
        vector.change_m1 = Some(Box::new(move |m1| {
            let list = &mut m1.tpm.as_mut().unwrap().ek_certificates;
            for other in &others {
                let bytes = holdfast_proto::Bytes(other.clone());
                list.insert(
                    place.min(list.len()),
                    holdfast_proto::enroll::NvCertificate { nv_index: 0x01C0_0002, bytes },
                );
            }
        }));
        vector
    };
    let of_another_key =
        |vector: &Vector| vec![cert::ek(Key::p256().spki(), &vector.issuing).sign(&vector.issuing.key)];
    for place in [0, 1] {
        let started = with_others(of_another_key, place).start().unwrap();
        let noted = started
            .checks
            .iter()
            .any(|check| check.rule == "ek-certificate-other-key" && check.result == CheckResult::Noted);
        assert_eq!(noted, place == 0, "the search ends at the right one");
        with_others(|_| vec![vec![0xFF; 20]], place).start().unwrap();
    }
    with_others(
        |vector| vec![cert::ek(Key::p256().spki(), &vector.issuing).sign(&vector.issuing.key); 15],
        0,
    )
    .start()
    .unwrap();
    let too_many = with_others(
        |vector| vec![cert::ek(Key::p256().spki(), &vector.issuing).sign(&vector.issuing.key); 16],
        0,
    );
    assert_refused(too_many.start(), Reason::MalformedMessage, &[]);
}

#[test]
fn certificates_of_another_shape_alone_leave_the_ek_without_one() {
    // An RSA EK's certificate beside an ECC EK: no attempt to use another's, only none of its own.
    let mut vector = Vector::default();
    let rsa = cert::ek(Key::rsa(0).spki(), &vector.issuing).sign(&vector.issuing.key);
    vector.change_m1 =
        Some(Box::new(move |m1| m1.tpm.as_mut().unwrap().ek_certificates[0].bytes.0 = rsa.clone()));
    assert_refused(vector.start(), Reason::EkNotListed, &[]);
    // One of its own shape is not passed over: it was meant for this EK, and is another's.
    for (own, other, template) in
        [(Key::rsa(0), Key::rsa(1), EkTemplate::H1Rsa2048), (Key::p256(), Key::p256(), EkTemplate::H2P256)]
    {
        let mut vector = Vector::with_ek(own, template);
        let others = cert::ek(other.spki(), &vector.issuing).sign(&vector.issuing.key);
        vector.change_m1 =
            Some(Box::new(move |m1| m1.tpm.as_mut().unwrap().ek_certificates[0].bytes.0 = others.clone()));
        assert_refused(vector.start(), Reason::EkCertificateOtherKey, &[]);
    }
    let mut vector = Vector::default();
    vector.change_m1 =
        Some(Box::new(|m1| m1.tpm.as_mut().unwrap().ek_certificates[0].bytes.0 = vec![0xFF; 20]));
    assert_refused(vector.start(), Reason::EkCertificateMalformed, &[]);
    // Listed, it does without.
    vector.house.listed.insert(vector.ek_hash());
    vector.start().unwrap();
}

#[test]
fn an_ek_differs_from_its_template_in_nothing() {
    // TPM2B size, type, nameAlg, attributes, policy, symmetric (AES, bits, mode), scheme, curve, kdf, x, y.
    let places = [4, 5, 6, 7, 8, 9, 11, 12, 43, 45, 47, 49, 51, 53, 55];
    for template in [EkTemplate::L2P256, EkTemplate::H2P256] {
        let good = Vector::with_ek(Key::p256(), template);
        good.start().unwrap();
        let length = good.ek_public().to_tpm2b().len();
        for place in places {
            let mut vector = Vector::with_ek(Key::p256(), template);
            vector.change_m1 = Some(Box::new(move |m1| m1.tpm.as_mut().unwrap().ek_public.0[place] ^= 1));
            let refusal = vector.start().expect_err("refused");
            let reasons = [Reason::EkTemplateMismatch, Reason::EkPublicMalformed];
            assert!(reasons.contains(&refusal.reason), "{template:?} byte {place} of {length}: {refusal:?}");
        }
    }
    // A low-range EK offered as a high-range one is still an EK of a known template, and says which.
    let started = Vector::with_ek(Key::p256(), EkTemplate::L2P256).start().unwrap();
    let holdfast_trust::attest::Claim::Tpm2(claim) = &started.claim else { panic!("a TPM's claim") };
    assert_eq!(claim.ek_template, EkTemplate::L2P256);
}

#[test]
fn what_of_the_chain_cannot_be_used_is_noted_and_a_whole_one_is_not() {
    let notes = |change: fn(Vec<u8>) -> Vec<u8>| {
        let mut vector = Vector::default();
        vector.change_m1 = Some(Box::new(move |m1| {
            let chain = &mut m1.tpm.as_mut().unwrap().ek_chain[0].0;
            *chain = change(chain.clone());
        }));
        // The issuer is among the operator's anchors: the chain is not needed.
        vector.house.anchors.anchors[0].certificate = vector.issuing.der.clone();
        let started = vector.start().unwrap();
        let noted = started.checks.iter().filter(|check| check.result == CheckResult::Noted);
        noted.map(|check| check.detail.clone()).collect::<Vec<_>>()
    };
    let none: [String; 0] = [];
    assert_eq!(notes(|chain| chain), none);
    let broken = |structures: usize, bytes: usize| {
        vec![format!("EK chain: {structures} structures that are no certificates, {bytes} bytes left")]
    };
    assert_eq!(notes(|chain| [chain, element(SEQUENCE, &[&[5, 0]])].concat()), broken(1, 0));
    assert_eq!(notes(|chain| [chain, vec![0; 40]].concat()), broken(0, 40));
    // As long as it may be, and a byte more.
    assert!(
        notes(|chain| [&chain[..], &vec![0; (64 << 10) - chain.len()]].concat())[0].contains("bytes left")
    );
    assert!(
        notes(|chain| [&chain[..], &vec![0; (64 << 10) + 1 - chain.len()]].concat())[0].contains("ignored")
    );
}
