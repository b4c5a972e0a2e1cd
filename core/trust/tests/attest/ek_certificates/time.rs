//! Check 6: time.

use super::*;

#[test]
fn strict_time_holds_to_its_seconds() {
    for (now, good) in [
        (NOW - 400 * DAY, true),
        (NOW - 400 * DAY - 1, false),
        (NOW + 4000 * DAY, true),
        (NOW + 4000 * DAY + 1, false),
    ] {
        let case = Case { now, ..Case::new() };
        if good {
            case.accepted();
        } else {
            case.refused(Reason::EkCertificateTime, &[]);
        }
    }
}

#[test]
fn strict_time_holds_for_every_issuer() {
    let ended = |spec: &mut Spec| spec.not_after = NOW - 1;
    let coming = |spec: &mut Spec| spec.not_before = NOW + 1;
    let now = |spec: &mut Spec| (spec.not_before, spec.not_after) = (NOW, NOW);
    for change in [ended, coming] {
        let detail = Case::issuer(change).refused(Reason::EkCertificateTime, &[]);
        assert!(detail.contains("Issuing CA") && detail.contains("was valid from"), "{detail}");
        let root = Ca::new("Root", Key::p256(), None, change);
        Case::of(root, Key::p256(), Key::p256().spki(), |_| {}).refused(Reason::EkCertificateTime, &[]);
    }
    Case::issuer(now).accepted();
}

#[test]
fn valid_at_issuance_asks_of_the_issuers_that_they_were_valid_then() {
    let at_issuance =
        |change: fn(&mut Spec)| Case { time: TimePolicy::ValidAtIssuance, ..Case::issuer(change) };
    let issued = NOW - 400 * DAY;
    assert_eq!(at_issuance(|_| {}).accepted(), Vec::<String>::new());
    let notes = at_issuance(|spec| spec.not_after = NOW - 1).accepted();
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("Issuing CA") && notes[0].ends_with(&format!("ended at {}", NOW - 1)),
        "{notes:?}"
    );
    at_issuance(|spec| spec.not_after = NOW - 400 * DAY).accepted();
    let early: fn(&mut Spec) = |spec| spec.not_after = NOW - 400 * DAY - 1;
    let late: fn(&mut Spec) = |spec| spec.not_before = NOW - 400 * DAY + 1;
    for change in [early, late] {
        at_issuance(change).refused(Reason::EkCertificateTime, &[]);
    }
    // The EK certificate's own end is noted, its beginning is not waived.
    let mut case = at_issuance(|_| {});
    case.ek.not_after = NOW - 1;
    let notes = case.accepted();
    assert_eq!(
        notes,
        [format!(
            "ek-certificate-time: the certificate ended at {}; valid-at-issuance lets it through",
            NOW - 1
        )]
    );
    case.time = TimePolicy::Strict;
    case.refused(Reason::EkCertificateTime, &[]);
    let mut case = at_issuance(|_| {});
    (case.ek.not_before, case.now) = (issued, issued - 1);
    case.refused(Reason::EkCertificateTime, &[]);
}

#[test]
fn a_certificate_without_an_end_is_legal() {
    // 9999-12-31 23:59:59.
    let mut case = Case::new();
    case.ek.not_after = 253_402_300_799;
    case.accepted();
    assert_eq!(case.inspect().certificate.unwrap().not_after, 253_402_300_799);
}
