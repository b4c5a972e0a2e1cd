//! A maker, a TPM and a device in software, right in everything until a test makes one thing wrong.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "support of several test crates")]

pub mod cert;
pub mod key;
pub mod log;
pub mod report;
pub mod token;
pub mod tpm;

use cert::{Ca, NOW};
use holdfast_proto::api::device::{CheckResult, RootClass};
use holdfast_proto::enroll::*;
use holdfast_proto::{Bytes, Digest, TenantId};
use holdfast_tpm::wire::{EkTemplate, PcrSelections, Public};
use holdfast_trust::Verified;
use holdfast_trust::attest::binding::sha256;
use holdfast_trust::attest::policy::{AkHierarchy, EventLogPolicy};
use holdfast_trust::attest::{self, *};
use holdfast_trust::chain::{Anchor, Anchors, Scope, TimePolicy};
use key::Key;
use log::Log;
use std::collections::BTreeSet;
use tpm::{Area, Attest};

pub const PCRS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
pub const SLOT: [u8; 32] = [0x51; 32];

pub fn algorithms() -> holdfast_trust::chain::Algorithms<'static> {
    webpki::ALL_VERIFICATION_ALGS
}

/// The operator's side, owned.
#[derive(Clone)]
pub struct House {
    pub anchors: Anchors,
    pub deny: DenyList,
    pub listed: BTreeSet<Digest>,
    pub unlisted: Unlisted,
    pub ak_hierarchy: AkHierarchy,
    pub event_log: EventLogPolicy,
    pub pcrs: Vec<u8>,
    pub issuers: Vec<Vec<u8>>,
    pub recovery_window_s: Option<i64>,
}

impl House {
    pub fn trusting(root: &Ca) -> Self {
        let certifies = vec!["id:00001014=IBM".parse().unwrap()];
        let anchor = Anchor {
            certificate: root.der.clone(),
            class: RootClass::Software,
            scope: Scope::Only(certifies),
            time: TimePolicy::Strict,
        };
        Self {
            anchors: Anchors { anchors: vec![anchor], ..Anchors::default() },
            deny: DenyList::default(),
            listed: BTreeSet::new(),
            unlisted: Unlisted::Refuse,
            ak_hierarchy: AkHierarchy::Endorsement,
            event_log: EventLogPolicy::Optional,
            pcrs: PCRS.to_vec(),
            issuers: Vec::new(),
            recovery_window_s: None,
        }
    }

    pub fn policy(&self) -> Policy<'_> {
        Policy {
            algorithms: algorithms(),
            anchors: &self.anchors,
            deny: &self.deny,
            listed_eks: &self.listed,
            unlisted: self.unlisted,
            ak_hierarchy: self.ak_hierarchy,
            event_log: self.event_log,
            pcr_selection: &self.pcrs,
            recovery: self.recovery_window_s.map(|window_s| Recovery { issuers: &self.issuers, window_s }),
        }
    }
}

pub type Change<T> = Option<Box<dyn Fn(&mut T)>>;

/// One enrolment of a TPM. Every field is a knob; the defaults pass every check.
pub struct Vector {
    pub house: House,
    pub root: Ca,
    pub issuing: Ca,
    pub ek_key: Key,
    pub ek_template: EkTemplate,
    /// The EK certificate, before its signature.
    pub ek_certificate: cert::Spec,
    pub ak_key: Key,
    pub ak: Area,
    pub device_key: Key,
    pub device: Area,
    /// Signs the request; another key than the device's is a fault.
    pub csr_key: Key,
    pub csr_signer: Option<Key>,
    pub csr_extensions: Vec<Vec<u8>>,
    pub log: Option<Log>,
    pub quoted_selection: Option<PcrSelections>,
    pub bank: u16,
    pub exporter_of_device: Exporter,
    pub exporter_of_service: Exporter,
    pub known: Known,
    pub now_at_m3: i64,
    pub change_m1: Change<EnrollStart>,
    pub change_session: Change<Session>,
    pub change_m2: Change<EnrollChallenge>,
    pub change_certify: Change<Attest>,
    pub change_quote: Change<Attest>,
    /// Signs attestations instead of the AK.
    pub attest_key: Option<Key>,
    pub change_proof: Change<EnrollProof>,
    pub change_body: Change<Vec<u8>>,
    pub secret_of_device: [u8; 32],
}

/// What the device sends.
pub struct Sent {
    pub m1: Vec<u8>,
    pub session: Session,
    pub body: Vec<u8>,
    pub proof: Vec<u8>,
}

impl Default for Vector {
    fn default() -> Self {
        Self::with_ek(Key::p256(), EkTemplate::H2P256)
    }
}

impl Vector {
    pub fn with_ek(ek_key: Key, ek_template: EkTemplate) -> Self {
        let root = Ca::new("Root", Key::p256(), None, |_| {});
        let issuing = Ca::new("Issuing CA", Key::p256(), Some(&root), |_| {});
        let ek_certificate = cert::ek(ek_key.spki(), &issuing);
        let (ak_key, device_key) = (Key::p256(), Key::p256());
        let log = Log::new(&[log::SHA1, log::SHA256])
            .locality(3)
            .event(0, 8, b"firmware 1.0")
            .event(7, 0x8000_0001, b"SecureBoot=1")
            .separators()
            .event(4, 0x8000_0003, b"loader")
            .event(8, 13, b"slot 5151");
        Self {
            house: House::trusting(&root),
            ek_template,
            ek_certificate,
            ak: Area::new(tpm::AK, &ak_key),
            device: Area::new(tpm::DEVICE, &device_key),
            csr_key: device_key.clone(),
            csr_signer: None,
            csr_extensions: Vec::new(),
            log: Some(log),
            quoted_selection: None,
            bank: log::SHA256,
            exporter_of_device: Exporter::Bound([0xEE; 32]),
            exporter_of_service: Exporter::Bound([0xEE; 32]),
            known: Known::default(),
            now_at_m3: NOW + 30,
            change_m1: None,
            change_session: None,
            change_m2: None,
            change_certify: None,
            change_quote: None,
            attest_key: None,
            change_proof: None,
            change_body: None,
            secret_of_device: [0x5E; 32],
            root,
            issuing,
            ek_key,
            ak_key,
            device_key,
        }
    }

    pub fn ek_public(&self) -> Public {
        self.ek_template.public(&self.ek_key.subject()).unwrap()
    }

    pub fn ek_hash(&self) -> Digest {
        Digest(sha256(&[&self.ek_key.spki()]))
    }

    pub fn ak_public(&self) -> Public {
        Public::parse_tpm2b(&self.ak.public(&self.ak_key)).unwrap()
    }

    pub fn m1(&self) -> Vec<u8> {
        let certificate = self.ek_certificate.sign(&self.issuing.key);
        let index = self.ek_template.certificate_index();
        let mut start = EnrollStart {
            kind: AttestKind::Tpm2,
            tenant: TenantId::from("default"),
            serial: "SN-1".into(),
            model: "board".into(),
            tpm: Some(TpmStart {
                ek_certificates: vec![NvCertificate { nv_index: index, bytes: Bytes(certificate) }],
                ek_chain: vec![Bytes(self.issuing.der.clone())],
                ek_public: Bytes(self.ek_public().to_tpm2b()),
                ek_nonce: None,
                ek_template: None,
                ak_public: Bytes(self.ak.public(&self.ak_key)),
                manufacturer: "49424D00".into(),
                vendor: "SW TPM".into(),
                firmware_version: tpm::FIRMWARE,
                pcr_banks: vec![
                    PcrBank { alg: 4, pcrs: (0..24).collect() },
                    PcrBank { alg: 11, pcrs: (0..24).collect() },
                ],
            }),
            join_token: None,
        };
        apply(self.change_m1.as_deref(), &mut start);
        serde_json::to_vec(&start).unwrap()
    }

    pub fn sent(&self) -> Sent {
        let m1 = self.m1();
        let mut session = Session {
            m1: Digest(sha256(&[&m1])),
            nonce: [0xA0; 32],
            expires_at: NOW + 900,
            secret: Some(Secret([0x5E; 32])),
            tpm: Some(TpmSession {
                ek_hash: self.ek_hash(),
                ak_name: Public::parse_tpm2b(&self.ak.public(&self.ak_key))
                    .map(|ak| ak.name())
                    .unwrap_or_default(),
                pcr_bank: self.bank,
                pcr_selection: self.house.pcrs.clone(),
            }),
        };
        let mut challenge = EnrollChallenge {
            session: Bytes(vec![0x77; 60]),
            nonce: Bytes(session.nonce.to_vec()),
            expires_at: session.expires_at,
            tpm: Some(TpmChallenge {
                credential_blob: Bytes(vec![1; 60]),
                encrypted_secret: Bytes(vec![2; 70]),
                device_key: "ecdsa-p256-sha256".into(),
                pcr_bank: self.bank,
                pcr_selection: self.house.pcrs.clone(),
                event_log: true,
            }),
        };
        apply(self.change_m2.as_deref(), &mut challenge);
        apply(self.change_session.as_deref(), &mut session);
        let m2 = serde_json::to_vec(&challenge).unwrap();
        let (body, proof) = self.proof(&m1, &m2);
        Sent { m1, session, body, proof }
    }

    fn proof(&self, m1: &[u8], m2: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let csr =
            cert::csr(&self.csr_key, self.csr_signer.as_ref().unwrap_or(&self.csr_key), &self.csr_extensions);
        let log = self.log.as_ref().map(|log| log.bytes.clone());
        let (certify, quote) =
            tpm2::collect::qualifying_data(m1, m2, &csr, log.as_deref(), &self.exporter_of_device);
        let device_public = self.device.public(&self.device_key);
        let name = Public::parse_tpm2b(&device_public).map(|public| public.name()).unwrap_or_default();
        let pcrs = &self.house.pcrs;
        let values: Vec<Vec<u8>> = pcrs
            .iter()
            .map(|pcr| self.log.as_ref().map_or(vec![0; 32], |log| log.value(log::SHA256, *pcr)))
            .collect();
        let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let selection = self.quoted_selection.clone().unwrap_or_else(|| tpm::selection(self.bank, pcrs));
        let ak = Public::parse_tpm2b(&self.ak.public(&self.ak_key)).unwrap();
        let mut certify = Attest::certify(&ak, &name, certify);
        let mut quote = Attest::quote(&ak, &selection, &sha256(&parts), quote);
        apply(self.change_certify.as_deref(), &mut certify);
        apply(self.change_quote.as_deref(), &mut quote);
        let key = self.attest_key.as_ref().unwrap_or(&self.ak_key);
        let tpm = TpmProof {
            device_public: Bytes(device_public),
            certify: certify.sign(key),
            quote: quote.sign(key),
            pcr_values: pcrs
                .iter()
                .zip(values)
                .map(|(index, value)| PcrValue { alg: self.bank, index: *index, value: Bytes(value) })
                .collect(),
            event_log: log.map(Bytes),
        };
        let mut message = EnrollProof {
            m1: Bytes::from(m1),
            m2: Bytes::from(m2),
            csr: Bytes(csr),
            tpm: Some(tpm),
            join_token: None,
        };
        apply(self.change_proof.as_deref(), &mut message);
        let mut body = serde_json::to_vec(&message).unwrap();
        let proof = Transcript::new(&message.m1, &message.m2).proof(&self.secret_of_device, &body);
        apply(self.change_body.as_deref(), &mut body);
        (body, proof.to_vec())
    }

    pub fn start(&self) -> Result<Verified<Started>, Refusal> {
        attest::start(&self.m1(), &self.house.policy(), NOW)
    }

    pub fn prove(&self) -> Result<Verified<Proven>, Refusal> {
        self.judge(&self.sent())
    }

    pub fn judge(&self, sent: &Sent) -> Result<Verified<Proven>, Refusal> {
        let Sent { session, body, proof, .. } = sent;
        let exporter = self.exporter_of_service;
        let attempt = Attempt { body, proof, exporter, session, known: &self.known };
        attest::prove(&attempt, &self.house.policy(), self.now_at_m3)
    }
}

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it.
pub fn check_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a test's golden file, on demand")]
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, text, "{name}: run with UPDATE_GOLDEN=1 and review the difference");
}

pub fn apply<T>(change: Option<&dyn Fn(&mut T)>, value: &mut T) {
    if let Some(change) = change {
        change(value);
    }
}

/// The rules that failed, each once, in order.
pub fn failed(refusal: &Refusal) -> Vec<&str> {
    let mut rules: Vec<&str> = Vec::new();
    for check in refusal.checks.iter().filter(|check| check.result == CheckResult::Fail) {
        if !rules.contains(&check.rule.as_str()) {
            rules.push(&check.rule);
        }
    }
    rules
}

/// Refused for this reason; no rule failed but it and `also` (what the same fault breaks downstream).
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refusal>, reason: Reason, also: &[Reason]) {
    let refusal = result.expect_err("this must be refused");
    let expected: Vec<&str> = std::iter::once(reason).chain(also.iter().copied()).map(Reason::code).collect();
    let rules = failed(&refusal);
    assert_eq!(refusal.reason, reason, "{:#?}", refusal.checks);
    assert!(
        rules.iter().all(|rule| expected.contains(rule)),
        "{rules:?} beyond {expected:?}: {:#?}",
        refusal.checks
    );
    assert!(expected.iter().all(|rule| rules.contains(rule)), "{expected:?} expected, only {rules:?} failed");
}
