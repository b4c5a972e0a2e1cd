//! docs/identity, "The server checks the EK certificate", checks 1 to 9: each deviation a certificate that differs from
//! a good one in that alone, refused for that reason and no other; and what makers really do that must pass.
//!
//! Checks 1 to 8 run offline as `holdfast inspect ek` runs them: the same code as M1's. Check 9 is M1's own.

use crate::support::cert::{self, Ca, DAY, NOW, Spec, extension, san_of};
use crate::support::key::{Hash, Key};
use crate::support::{Vector, assert_refused};
use holdfast_proto::Digest;
use holdfast_proto::api::device::CheckResult;
use holdfast_tpm::wire::der::{self, SEQUENCE, UTF8_STRING, element};
use holdfast_tpm::wire::{Curve, EkTemplate, SubjectKey};
use holdfast_trust::attest::Reason;
use holdfast_trust::attest::binding::sha256;
use holdfast_trust::attest::inspect::{self, EkInspection, Inspection};
use holdfast_trust::chain::{Certifies, TimePolicy};
use rsa::BigUint;
use std::collections::BTreeSet;

/// An EK certificate, its issuers, and who judges it. Right in everything until a test changes it.
struct Case {
    root: Ca,
    issuing: Ca,
    ek: Spec,
    /// Signs the certificate.
    signer: Key,
    intermediates: Vec<Vec<u8>>,
    certifies: Vec<Certifies>,
    time: TimePolicy,
    sha1_issuers: BTreeSet<Digest>,
    now: i64,
    /// What NV holds around the certificate.
    wrap: fn(Vec<u8>) -> Vec<u8>,
}

impl Case {
    fn new() -> Self {
        Self::for_key(&Key::p256())
    }

    fn for_key(key: &Key) -> Self {
        Self::of(Ca::new("Root", Key::p256(), None, |_| {}), Key::p256(), key.spki(), |_| {})
    }

    /// Below `root`, an issuing CA with `key` that `change` alters before it is signed.
    fn of(root: Ca, key: Key, ek: Vec<u8>, change: impl FnOnce(&mut Spec)) -> Self {
        let issuing = Ca::new("Issuing CA", key, Some(&root), change);
        Self {
            ek: cert::ek(ek, &issuing),
            signer: issuing.key.clone(),
            intermediates: vec![issuing.der.clone()],
            root,
            issuing,
            certifies: vec!["id:00001014=IBM".parse().unwrap()],
            time: TimePolicy::Strict,
            sha1_issuers: BTreeSet::new(),
            now: NOW,
            wrap: |der| der,
        }
    }

    fn issuer(change: impl FnOnce(&mut Spec)) -> Self {
        Self::of(Ca::new("Root", Key::p256(), None, |_| {}), Key::p256(), Key::p256().spki(), change)
    }

    fn der(&self) -> Vec<u8> {
        self.ek.sign(&self.signer)
    }

    fn inspect(&self) -> Inspection {
        self.read().1
    }

    /// A certificate and what is found in it. ECDSA never signs alike: another reading is of another certificate.
    fn read(&self) -> (Vec<u8>, Inspection) {
        let der = self.der();
        let inspection = self.inspect_bytes(&(self.wrap)(der.clone()));
        (der, inspection)
    }

    fn inspect_bytes(&self, bytes: &[u8]) -> Inspection {
        let with = EkInspection {
            roots: std::slice::from_ref(&self.root.der),
            intermediates: &self.intermediates,
            certifies: &self.certifies,
            time: self.time,
            sha1_issuers: &self.sha1_issuers,
            algorithms: crate::support::algorithms(),
            now: self.now,
        };
        inspect::ek(bytes, &with).unwrap()
    }

    /// Accepted; gives the notes.
    #[track_caller]
    fn accepted(&self) -> Vec<String> {
        let inspection = self.inspect();
        assert!(inspection.accepted, "{:#?}", inspection.checks);
        assert!(inspection.reason.is_none() && inspection.certificate.is_some());
        let notes = inspection.checks.into_iter().filter(|check| check.result == CheckResult::Noted);
        notes.map(|check| format!("{}: {}", check.rule, check.detail)).collect()
    }

    /// Refused for this reason, and no rule failed but it and `also`; gives the failed check's words.
    #[track_caller]
    fn refused(&self, reason: Reason, also: &[Reason]) -> String {
        refused(&self.inspect(), reason, also)
    }
}

#[track_caller]
fn refused(inspection: &Inspection, reason: Reason, also: &[Reason]) -> String {
    assert_eq!(inspection.reason, Some(reason), "{:#?}", inspection.checks);
    assert!(!inspection.accepted && inspection.certificate.is_none());
    let failed: BTreeSet<&str> =
        inspection.checks.iter().filter(|c| c.result == CheckResult::Fail).map(|c| c.rule.as_str()).collect();
    let wanted: BTreeSet<&str> =
        std::iter::once(reason).chain(also.iter().copied()).map(Reason::code).collect();
    assert_eq!(failed, wanted, "{:#?}", inspection.checks);
    let found = inspection.checks.iter().find(|c| c.result == CheckResult::Fail && c.rule == reason.code());
    found.expect("the failed check").detail.clone()
}

/// One row: what is changed on a good certificate, the reason, what else the same fault breaks.
macro_rules! refused {
    ($($name:ident: $reason:ident $([$($also:ident),*])? = $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let mut case = Case::new();
            let change: fn(&mut Case) = $change;
            change(&mut case);
            case.refused(Reason::$reason, &[$($(Reason::$also),*)?]);
        }
    )+};
}

fn policies() -> Vec<u8> {
    let policy = element(SEQUENCE, &[&element(der::OID, &[&cert::oid_bytes("1.2.840.113741.1.5.2.1")])]);
    extension("2.5.29.32", true, &element(SEQUENCE, &[&policy]))
}

mod bytes;
mod files;
mod key;
mod m1;
mod path;
mod profile;
mod time;

#[test]
fn a_good_certificate_passes_every_check_without_a_note() {
    let case = Case::new();
    assert_eq!(case.accepted(), Vec::<String>::new());
    let (der, inspection) = case.read();
    let rules: Vec<&str> = inspection.checks.iter().map(|check| check.rule.as_str()).collect();
    assert_eq!(
        rules,
        [
            "ek-certificate-malformed",
            "ek-certificate-version",
            "ek-certificate-serial",
            "ek-certificate-issuer",
            "ek-certificate-is-ca",
            "ek-certificate-key-identifier",
            "ek-certificate-key-usage",
            "ek-certificate-critical-extension",
            "ek-certificate-subject-alternative-name",
            "ek-certificate-extended-key-usage",
            "ek-certificate-key",
            "ek-key-roca",
            "ek-certificate-path",
            "ek-certificate-time",
            "ek-deny-listed",
            "ek-certificate-manufacturer",
        ]
    );
    let found = inspection.certificate.unwrap();
    assert_eq!((&found.der, found.serial.as_str()), (&der, "4b010203"));
    assert_eq!(
        (found.manufacturer.to_string().as_str(), found.model.as_str(), found.version.as_str()),
        ("00001014", "swtpm", "id:20191023")
    );
    assert_eq!(found.fingerprint, Digest(sha256(&[&der])));
    assert_eq!((found.not_after, found.anchor), (NOW + 4000 * DAY, Digest(sha256(&[&case.root.der]))));
}
