//! One suite that every kind of attestation of the registry runs: what M1 and M3 owe whatever the kind.
//!
//! A new kind adds its good vector to [`bench`], and nothing else here.

use crate::support::cert::{self, NOW};
use crate::support::key::Key;
use crate::support::token::TokenVector;
use crate::support::{Change, Sent, Vector, apply, assert_refused};
use holdfast_proto::Bytes;
use holdfast_proto::api::device::{CheckResult, Tier};
use holdfast_proto::enroll::{
    AttestKind, EnrollChallenge, EnrollProof, EnrollStart, JoinTokenProof, JoinTokenStart,
};
use holdfast_trust::Verified;
use holdfast_trust::attest::registry::{self, KINDS};
use holdfast_trust::attest::{
    self, Attempt, Exporter, Known, Policy, Proven, Reason, Refusal, Session, Started,
};
use std::rc::Rc;

/// What a test changes on a good enrolment, the same for every kind.
#[derive(Default)]
struct Changes {
    m1: Change<EnrollStart>,
    m2: Change<EnrollChallenge>,
    session: Change<Session>,
    proof: Change<EnrollProof>,
    /// The key of the request and who signs it; the device key of the kind stays.
    csr: Option<Vec<u8>>,
    exporter_of_device: Option<Exporter>,
}

/// One kind's good enrolment.
trait Bench {
    fn sent(&self, change: Changes) -> Sent;
    fn policy(&self) -> Policy<'_>;
    /// The key that is to be certified.
    fn key(&self) -> &Key;
    fn tier(&self) -> Tier;
}

const EXPORTER: Exporter = Exporter::Bound([0xEE; 32]);

struct TpmBench(std::cell::RefCell<Vector>, Key, crate::support::House);
struct TokenBench(std::cell::RefCell<TokenVector>, Key, crate::support::House);

fn bench(kind: AttestKind) -> Rc<dyn Bench> {
    match kind {
        AttestKind::Tpm2 => {
            let vector = Vector::default();
            let (key, house) = (vector.device_key.clone(), vector.house.clone());
            Rc::new(TpmBench(vector.into(), key, house))
        }
        AttestKind::JoinToken => {
            let vector = TokenVector::default();
            let (key, house) = (vector.key.clone(), vector.house.clone());
            Rc::new(TokenBench(vector.into(), key, house))
        }
    }
}

impl Bench for TpmBench {
    fn sent(&self, change: Changes) -> Sent {
        let mut vector = self.0.borrow_mut();
        let Changes { m1, m2, session, proof, csr, exporter_of_device } = change;
        (vector.change_m1, vector.change_m2, vector.change_session) = (m1, m2, session);
        vector.change_proof = Some(Box::new(move |message| {
            if let Some(csr) = &csr {
                message.csr = Bytes(csr.clone());
            }
            apply(proof.as_deref(), message);
        }));
        vector.exporter_of_device = exporter_of_device.unwrap_or(EXPORTER);
        vector.sent()
    }

    fn policy(&self) -> Policy<'_> {
        self.2.policy()
    }

    fn key(&self) -> &Key {
        &self.1
    }

    fn tier(&self) -> Tier {
        Tier::T4
    }
}

impl Bench for TokenBench {
    fn sent(&self, change: Changes) -> Sent {
        let mut vector = self.0.borrow_mut();
        let Changes { m1, m2, session, proof, csr, exporter_of_device } = change;
        (vector.change_m1, vector.change_m2, vector.change_session, vector.change_proof) =
            (m1, m2, session, proof);
        (vector.csr, vector.exporter_of_device) = (csr, exporter_of_device.unwrap_or(EXPORTER));
        vector.sent()
    }

    fn policy(&self) -> Policy<'_> {
        self.2.policy()
    }

    fn key(&self) -> &Key {
        &self.1
    }

    fn tier(&self) -> Tier {
        Tier::T0
    }
}

fn judge(bench: &dyn Bench, sent: &Sent, exporter: Exporter, now: i64) -> Result<Verified<Proven>, Refusal> {
    let known = Known::default();
    let attempt =
        Attempt { body: &sent.body, proof: &sent.proof, exporter, session: &sent.session, known: &known };
    attest::prove(&attempt, &bench.policy(), now)
}

fn prove(bench: &dyn Bench, change: Changes) -> Result<Verified<Proven>, Refusal> {
    judge(bench, &bench.sent(change), EXPORTER, NOW)
}

fn start(bench: &dyn Bench, change: Change<EnrollStart>) -> Result<Verified<Started>, Refusal> {
    let sent = bench.sent(Changes { m1: change, ..Changes::default() });
    attest::start(&sent.m1, &bench.policy(), NOW)
}

fn refused_first_for<T: std::fmt::Debug>(result: Result<T, Refusal>, reason: Reason) -> Refusal {
    let refusal = result.expect_err("this must be refused");
    assert_eq!(refusal.reason, reason, "{:#?}", refusal.checks);
    refusal
}

/// Runs over every kind of the registry, under its name.
macro_rules! every_kind {
    ($($(#[$doc:meta])* fn $name:ident($bench:ident, $kind:ident) $body:block)+) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            for known in KINDS {
                let $kind = known.kind();
                let held = bench($kind);
                let $bench: &dyn Bench = &*held;
                println!("{:?}", $kind);
                $body
            }
        }
    )+};
}

#[test]
fn the_registry_finds_every_kind_once() {
    for (number, known) in KINDS.iter().enumerate() {
        assert!(KINDS.iter().take(number).all(|other| other.kind() != known.kind()));
        assert_eq!(registry::of(known.kind()).map(registry::Kind::kind), Some(known.kind()));
    }
    assert_eq!(KINDS.len(), 2, "a kind more wants its bench");
}

every_kind! {
    fn the_good_enrolment_is_believed(bench, kind) {
        let proven = prove(bench, Changes::default()).unwrap();
        assert_eq!((proven.kind, proven.tier), (kind, bench.tier()));
        assert_eq!((proven.tenant.as_str(), proven.serial.as_str(), proven.model.as_str()), ("default", "SN-1", "board"));
        assert_eq!((proven.device_spki.clone(), proven.nonce), (bench.key().spki(), [0xA0; 32]));
        let started = start(bench, None).unwrap();
        assert_eq!((started.kind, started.serial.as_str()), (kind, "SN-1"));
        for check in proven.checks.iter().chain(&started.checks) {
            assert!(check.rule.parse::<Reason>().is_ok(), "{} is no rule", check.rule);
            assert_ne!(check.result, CheckResult::Fail);
            assert!(!check.detail.is_empty(), "{} says nothing", check.rule);
        }
    }

    /// M3 judges M1 anew: its checks begin with M1's.
    fn the_proof_repeats_the_checks_of_the_start(bench, _kind) {
        let (started, proven) = (start(bench, None).unwrap(), prove(bench, Changes::default()).unwrap());
        let rules = |checks: &[holdfast_proto::api::device::Check]| checks.iter().map(|c| c.rule.clone()).collect::<Vec<_>>();
        let (first, all) = (rules(&started.checks), rules(&proven.checks));
        assert_eq!(all[1..=first.len()], first[..]);
    }

    fn judging_twice_gives_the_same(bench, _kind) {
        let sent = bench.sent(Changes::default());
        let checks = |result: Result<Verified<Proven>, Refusal>| result.unwrap().into_inner().checks;
        assert_eq!(checks(judge(bench, &sent, EXPORTER, NOW)), checks(judge(bench, &sent, EXPORTER, NOW)));
    }

    fn a_cut_m1_is_refused_at_every_byte(bench, _kind) {
        let sent = bench.sent(Changes::default());
        for length in 0..sent.m1.len() {
            refused_first_for(attest::start(&sent.m1[..length], &bench.policy(), NOW), Reason::MalformedMessage);
        }
    }

    fn a_cut_m3_is_refused(bench, _kind) {
        let sent = bench.sent(Changes::default());
        for length in (0..sent.body.len()).step_by(37) {
            let cut = Sent { m1: sent.m1.clone(), session: sent.session.clone(), body: sent.body[..length].to_vec(), proof: sent.proof.clone() };
            refused_first_for(judge(bench, &cut, EXPORTER, NOW), Reason::MalformedMessage);
        }
    }

    fn unknown_fields_are_refused(bench, _kind) {
        let mut sent = bench.sent(Changes::default());
        let with_more = |bytes: &[u8]| [&bytes[..bytes.len() - 1], b",\"more\":1}"].concat();
        refused_first_for(attest::start(&with_more(&sent.m1), &bench.policy(), NOW), Reason::MalformedMessage);
        sent.body = with_more(&sent.body);
        refused_first_for(judge(bench, &sent, EXPORTER, NOW), Reason::MalformedMessage);
    }

    fn messages_are_capped(bench, _kind) {
        let sent = bench.sent(Changes::default());
        let padded = |bytes: &[u8], length: usize| [bytes, &vec![b' '; length - bytes.len()]].concat();
        attest::start(&padded(&sent.m1, 4 << 20), &bench.policy(), NOW).unwrap();
        let refusal = refused_first_for(attest::start(&padded(&sent.m1, (4 << 20) + 1), &bench.policy(), NOW), Reason::MalformedMessage);
        assert!(refusal.detail().contains("above the cap"));
    }

    fn claims_are_bounded_and_printable(bench, _kind) {
        for text in ["", "a\nb", "\u{7}", "a\u{85}", &"x".repeat(129)] {
            let text = text.to_owned();
            let serial = { let text = text.clone(); start(bench, Some(Box::new(move |m1| m1.serial = text.clone()))) };
            assert_refused(serial, Reason::MalformedMessage, &[]);
            assert_refused(start(bench, Some(Box::new(move |m1| m1.model = text.clone()))), Reason::MalformedMessage, &[]);
        }
        start(bench, Some(Box::new(|m1| (m1.serial, m1.model) = ("x".repeat(128), "é-1".into())))).unwrap();
    }

    fn the_parts_of_m1_are_those_of_its_kind(bench, kind) {
        let other = bench_of_another(kind).sent(Changes::default());
        let other: EnrollStart = serde_json::from_slice(&other.m1).unwrap();
        let (tpm, token) = (other.tpm.clone(), other.join_token.clone());
        let both = start(bench, Some(Box::new(move |m1| {
            m1.tpm = m1.tpm.take().or(tpm.clone());
            m1.join_token = m1.join_token.take().or(token.clone());
        })));
        assert_refused(both, Reason::MalformedMessage, &[]);
        let none = start(bench, Some(Box::new(|m1| (m1.tpm, m1.join_token) = (None, None))));
        assert_refused(none, Reason::MalformedMessage, &[]);
        let swapped = start(bench, Some(Box::new(move |m1| m1.kind = other.kind)));
        assert_refused(swapped, Reason::MalformedMessage, &[]);
    }

    /// Nothing in M3 goes unread.
    fn the_parts_of_m3_are_those_of_its_kind(bench, kind) {
        let other = bench_of_another(kind).sent(Changes::default());
        let other: EnrollProof = serde_json::from_slice(&other.body).unwrap();
        let both = prove(bench, Changes { proof: Some(Box::new(move |m3| {
            m3.tpm = m3.tpm.take().or(other.tpm.clone());
            m3.join_token = m3.join_token.take().or(other.join_token.clone());
        })), ..Changes::default() });
        refused_first_for(both, Reason::MalformedMessage);
        let none = prove(bench, Changes { proof: Some(Box::new(|m3| (m3.tpm, m3.join_token) = (None, None))), ..Changes::default() });
        refused_first_for(none, Reason::MalformedMessage);
    }

    fn a_session_ends_at_its_second(bench, _kind) {
        let sent = bench.sent(Changes::default());
        judge(bench, &sent, EXPORTER, NOW + 899).unwrap();
        for now in [NOW + 900, NOW + 901, i64::MAX] {
            refused_first_for(judge(bench, &sent, EXPORTER, now.min(NOW + 2000)), Reason::SessionExpired);
        }
    }

    fn m1_and_m2_are_those_of_the_session(bench, _kind) {
        let session = |change: fn(&mut Session)| prove(bench, Changes { session: Some(Box::new(change)), ..Changes::default() });
        refused_first_for(session(|s| s.m1.0[31] ^= 1), Reason::SessionMismatch);
        refused_first_for(session(|s| s.nonce[0] ^= 1), Reason::SessionMismatch);
        refused_first_for(session(|s| s.expires_at += 1), Reason::SessionMismatch);
        refused_first_for(session(|s| s.expires_at -= 1), Reason::SessionMismatch);
        let m2 = |change: fn(&mut EnrollChallenge)| prove(bench, Changes { m2: Some(Box::new(change)), ..Changes::default() });
        refused_first_for(m2(|m2| m2.nonce.0.push(0)), Reason::SessionMismatch);
        refused_first_for(m2(|m2| m2.expires_at += 60), Reason::SessionMismatch);
        let not_json = prove(bench, Changes { proof: Some(Box::new(|m3| m3.m2 = Bytes(b"{".to_vec()))), ..Changes::default() });
        refused_first_for(not_json, Reason::SessionMismatch);
    }

    fn the_session_of_another_kind_is_refused(bench, kind) {
        let other = bench_of_another(kind).sent(Changes::default()).session.tpm;
        let swapped = prove(bench, Changes { session: Some(Box::new(move |s| s.tpm = other.clone())), ..Changes::default() });
        refused_first_for(swapped, Reason::SessionMismatch);
    }

    /// Bytes are hashed as received: the same JSON written otherwise is another message.
    fn m1_repeated_with_a_space_more_is_another_m1(bench, _kind) {
        let spaced = prove(bench, Changes { proof: Some(Box::new(|m3| m3.m1.0.push(b' '))), ..Changes::default() });
        refused_first_for(spaced, Reason::SessionMismatch);
    }

    fn a_proof_of_another_session_is_refused(bench, _kind) {
        let other = bench.sent(Changes {
            m2: Some(Box::new(|m2| m2.nonce.0 = vec![0xB0; 32])),
            session: Some(Box::new(|s| s.nonce = [0xB0; 32])),
            ..Changes::default()
        });
        judge(bench, &other, EXPORTER, NOW).unwrap();
        let own = bench.sent(Changes::default()).session;
        let replayed = Sent { session: own, ..other };
        refused_first_for(judge(bench, &replayed, EXPORTER, NOW), Reason::SessionMismatch);
    }

    fn another_secret_proves_nothing(bench, kind) {
        let reason = if kind == AttestKind::Tpm2 { Reason::ProofMac } else { Reason::TokenMac };
        let change: fn(&mut Session) = |s| s.secret.as_mut().unwrap().0[7] ^= 1;
        assert_refused(prove(bench, Changes { session: Some(Box::new(change)), ..Changes::default() }), reason, &[]);
        let none = prove(bench, Changes { session: Some(Box::new(|s| s.secret = None)), ..Changes::default() });
        assert!(none.is_err());
    }

    fn the_proof_is_bound_to_its_connection(bench, _kind) {
        for exporter in [Exporter::Bound([0xED; 32]), Exporter::Absent] {
            let sent = bench.sent(Changes::default());
            assert!(judge(bench, &sent, exporter, NOW).is_err(), "{exporter:?}");
            let sent = bench.sent(Changes { exporter_of_device: Some(exporter), ..Changes::default() });
            assert!(judge(bench, &sent, EXPORTER, NOW).is_err(), "{exporter:?}");
            let believed = judge(bench, &sent, exporter, NOW).unwrap();
            let noted = believed.checks.iter().any(|c| c.result == CheckResult::Noted && c.detail.contains("no-exporter"));
            assert_eq!(noted, exporter == Exporter::Absent);
        }
    }

    fn the_request_is_for_the_proved_key_and_asks_for_nothing(bench, kind) {
        let key = bench.key();
        let csr = |csr: Vec<u8>| prove(bench, Changes { csr: Some(csr), ..Changes::default() });
        refused_first_for(csr(cert::csr(key, &Key::p256(), &[])), Reason::CsrSignature);
        for extension in [cert::ca_basic(None), cert::key_usage(&[5]), cert::key_usage(&[0, 6])] {
            refused_first_for(csr(cert::csr(key, key, &[extension])), Reason::CsrAsksForCa);
        }
        let good = cert::csr(key, key, &[]);
        refused_first_for(csr([&good[..], &[0]].concat()), Reason::CsrMalformed);
        refused_first_for(csr(good[..good.len() - 1].to_vec()), Reason::CsrMalformed);
        refused_first_for(csr(vec![0x30; (16 << 10) + 1]), Reason::CsrMalformed);
        refused_first_for(csr(Vec::new()), Reason::CsrMalformed);
        let san = cert::extension("2.5.29.17", false, &holdfast_tpm::wire::der::element(0x30, &[&holdfast_tpm::wire::der::element(0x82, &[b"root.example"])]));
        // A name asked for is ignored. Where the kind certified the request before, the other request alone fails.
        match csr(cert::csr(key, key, &[san, cert::key_usage(&[0])])) {
            Ok(believed) => assert_eq!(believed.device_spki, key.spki()),
            Err(refusal) => assert_eq!((kind, crate::support::failed(&refusal)), (AttestKind::Tpm2, vec!["certify-binding"])),
        }
    }
}

fn bench_of_another(kind: AttestKind) -> Rc<dyn Bench> {
    let other = KINDS.iter().map(|known| known.kind()).find(|other| *other != kind);
    bench(other.expect("two kinds"))
}

#[test]
fn a_part_of_a_token_beside_a_tpms_is_read_as_json_but_never_as_proof() {
    // The exact shape of the attack that `the_parts_of_m3_are_those_of_its_kind` covers in general.
    let held = bench(AttestKind::Tpm2);
    let token = prove(
        &*held,
        Changes {
            proof: Some(Box::new(|m3| m3.join_token = Some(JoinTokenProof { mac: Bytes(vec![0; 32]) }))),
            ..Changes::default()
        },
    );
    assert_refused(token, Reason::MalformedMessage, &[]);
    let start = start(
        &*held,
        Some(Box::new(|m1| {
            m1.join_token = Some(JoinTokenStart { token_id: "t".into(), expired_certificate: None });
        })),
    );
    assert_refused(start, Reason::MalformedMessage, &[]);
}
