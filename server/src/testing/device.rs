//! A device for tests: its key and certificate, what it says, and the same client of the update repository as a real
//! one.

use super::desk::{CHANNEL, HARDWARE};
use super::service::{Answer, Service};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use axum::body::Body;
use axum::http::Request;
use holdfast_proto::report::{AssignmentRef, Evidence, Progress, Report, Running, TrustedVersions};
use holdfast_proto::state::{NONCE_HEADER, StateAnswer};
use holdfast_proto::{Bytes, DeviceId};
use holdfast_trust::Verified;
use holdfast_trust::attest::binding::report_message;
use holdfast_trust::tuf::assignment::{Assignment, assignment_keys, verify_assignment};
use holdfast_trust::tuf::release::{Release, ThisDevice, verify_release};
use holdfast_trust::tuf::time::{DeviceClock, WallClock};
use holdfast_trust::tuf::{self, Source, SourceError, Store, TufError};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;

pub(crate) struct TestDevice {
    pub(crate) id: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: EcdsaKeyPair,
    pub(crate) sequence: u64,
    pub(crate) boot: u32,
    pub(crate) floor: u64,
    pub(crate) running: Option<String>,
    pub(crate) versions: TrustedVersions,
    /// Of the newest poll.
    pub(crate) nonce: Vec<u8>,
    pub(crate) etag: String,
    pub(crate) assignment: Option<AssignmentRef>,
    /// Everything that its client trusts.
    pub(crate) store: BTreeMap<String, Vec<u8>>,
}

impl TestDevice {
    pub(super) fn new(id: String, key: EcdsaKeyPair, chain: Vec<CertificateDer<'static>>) -> Self {
        Self {
            id,
            chain,
            key,
            sequence: 0,
            boot: 1,
            floor: 0,
            running: None,
            versions: TrustedVersions::default(),
            nonce: Vec::new(),
            etag: String::new(),
            assignment: None,
            store: BTreeMap::new(),
        }
    }

    /// Asks for its state, the ETag of the last answer in hand; keeps nonce, ETag and assignment.
    pub(crate) async fn poll(&mut self, service: &Service) -> Answer {
        let answer = service.fetch(Some(self), "/v1/state", &[("if-none-match", &self.etag)]).await;
        assert!(matches!(answer.status, 200 | 304), "{}: {}", answer.status, answer.text());
        self.nonce = Bytes::from_base64(answer.header(NONCE_HEADER)).unwrap().0;
        self.etag = answer.header("etag").to_owned();
        if answer.status == 200 {
            let state: StateAnswer = serde_json::from_slice(&answer.body).unwrap();
            self.assignment = state.assignment.map(|envelope| {
                let envelope: serde_json::Value = serde_json::from_slice(&envelope).unwrap();
                let body = &envelope["signed"]["x-holdfast-assignment"];
                let number = |name: &str| body[name].as_u64().unwrap();
                AssignmentRef {
                    epoch: number("epoch"),
                    sequence: number("sequence"),
                    attempt: number("attempt") as u32,
                }
            });
        }
        answer
    }

    /// What it would say now.
    pub(crate) fn report(&mut self, progress: Progress) -> Report {
        self.sequence += 1;
        Report {
            sequence: self.sequence,
            boot_id: format!("boot-{}-{}", self.id, self.boot),
            assignment: self.assignment,
            progress,
            running: Running {
                release: self.running.as_deref().map(Into::into),
                manifest: None,
                artefacts: BTreeMap::new(),
                floor: self.floor,
                slot: "a".into(),
                ram_bytes: 8 << 20,
            },
            versions: self.versions,
            transfer: None,
            evidence: None,
            detail: None,
        }
    }

    /// Evidence without a TPM: the nonce of the newest poll.
    pub(crate) fn evidence(&self) -> Evidence {
        Evidence { nonce: Bytes(self.nonce.clone()), quote: None, pcr_values: Vec::new(), event_log: None }
    }

    /// Sends a report, signed.
    pub(crate) async fn send(&self, service: &Service, report: &Report) -> Answer {
        let body = serde_json::to_vec(report).unwrap();
        let signature = self.sign(&body);
        self.send_raw(service, body, &signature).await
    }

    pub(crate) fn sign(&self, body: &[u8]) -> String {
        let signature = self.key.sign(&SystemRandom::new(), &report_message(body)).unwrap();
        Bytes(signature.as_ref().to_vec()).to_base64()
    }

    pub(crate) async fn send_raw(&self, service: &Service, body: Vec<u8>, signature: &str) -> Answer {
        let request = Request::builder()
            .method("PUT")
            .uri("/v1/report")
            .header("holdfast-signature", signature)
            .body(Body::from(body))
            .unwrap();
        service.ask(request, Some(self)).await
    }

    /// Says this word, with evidence where a word needs it.
    pub(crate) async fn say(&mut self, service: &Service, progress: Progress) {
        let mut report = self.report(progress);
        if matches!(report.progress, Progress::Arming | Progress::Confirmed) {
            report.evidence = Some(self.evidence());
        }
        self.send(service, &report).await.good();
    }

    /// From the offer to the reboot into `release`.
    pub(crate) async fn go_to_trial(&mut self, service: &Service, release: &str) {
        self.poll(service).await;
        for word in [Progress::Accepted, Progress::Fetching, Progress::Staged, Progress::Arming] {
            self.say(service, word).await;
        }
        self.boot += 1;
        self.running = Some(release.to_owned());
        self.say(service, Progress::Trial).await;
        self.poll(service).await;
    }

    /// The whole way, to its good end.
    pub(crate) async fn update(&mut self, service: &Service, release: &str) {
        self.go_to_trial(service, release).await;
        self.say(service, Progress::Confirmed).await;
    }

    /// The whole way, to a failed health check and back.
    pub(crate) async fn fall_back(&mut self, service: &Service, bad: &str, to: &str) {
        self.go_to_trial(service, bad).await;
        self.boot += 1;
        self.running = Some(to.to_owned());
        self.say(service, Progress::RolledBack { code: "health-failed".into() }).await;
    }

    /// Walks the repository as a device does, from `root` where it holds none yet.
    pub(crate) fn walk(&mut self, service: &Service, root: &[u8]) -> Result<tuf::Trusted, TufError> {
        self.store.entry("root.json".into()).or_insert_with(|| root.to_vec());
        let clock =
            DeviceClock { build_time: 0, wall: WallClock::Synchronised(service.state.now()), signed: None };
        let trusted = tuf::refresh(&mut Pocket(&mut self.store), &mut Wire(service), &clock)?;
        self.versions.timestamp = trusted.timestamp().map_or(0, |timestamp| timestamp.version);
        self.versions.snapshot = trusted.snapshot_version();
        Ok(trusted)
    }

    /// Verifies the assignment that it is served, and the release that it names.
    pub(crate) async fn verify(
        &mut self,
        service: &Service,
        root: &[u8],
    ) -> Result<(Verified<Assignment>, Verified<Release>), TufError> {
        let answer = service.fetch(Some(self), "/v1/state", &[]).await;
        let state: StateAnswer = serde_json::from_slice(&answer.body).unwrap();
        let mut trusted = self.walk(service, root)?;
        let (store, wire) = (&mut Pocket(&mut self.store), &mut Wire(service));
        let keys = assignment_keys(&mut trusted, store, wire)?;
        let id = DeviceId::from(self.id.as_str());
        let assignment =
            verify_assignment(&state.assignment.unwrap(), &keys, &id, None, service.state.now())?;
        let this = ThisDevice { hardware: HARDWARE, channel: CHANNEL, floor: self.floor };
        let release = verify_release(&mut trusted, &assignment, this, store, wire)?;
        Ok((assignment, release))
    }
}

/// The service's routes as the client's source.
pub(crate) struct Wire<'s>(pub(crate) &'s Service);

impl Wire<'_> {
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let asked = self.0.fetch(None, path, &[]);
        let answer = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(asked));
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            other => Err(format!("{other}: {}", answer.text()).into()),
        }
    }
}

impl Source for Wire<'_> {
    fn metadata(&mut self, name: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.fetch(&format!("/v1/tuf/{name}"))
    }

    fn target(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.fetch(&format!("/v1/tuf/targets/{path}"))
    }
}

pub(crate) struct Pocket<'d>(pub(crate) &'d mut BTreeMap<String, Vec<u8>>);

impl Store for Pocket<'_> {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name).cloned()
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SourceError> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}
