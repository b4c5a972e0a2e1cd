//! A device with a join token, or with a certificate that ended: right in everything until a test changes it.

use super::cert::{self, Ca, DAY, NOW};
use super::key::{Hash, Key};
use super::{Change, House, Sent, apply};
use holdfast_proto::enroll::{EnrollChallenge, EnrollProof, EnrollStart};
use holdfast_proto::{Bytes, Digest, TenantId};
use holdfast_trust::Verified;
use holdfast_trust::attest::binding::sha256;
use holdfast_trust::attest::join_token::collect;
use holdfast_trust::attest::{self, Attempt, Exporter, Known, Proven, Refusal, Secret, Session, Transcript};

pub struct TokenVector {
    pub house: House,
    pub key: Key,
    pub csr: Option<Vec<u8>>,
    pub token_id: String,
    pub token_of_device: [u8; 32],
    /// A recovery: the certificate shown, and the key that signs for it.
    pub expired: Option<(Vec<u8>, Key)>,
    pub exporter_of_device: Exporter,
    pub exporter_of_service: Exporter,
    pub now: i64,
    pub change_m1: Change<EnrollStart>,
    pub change_m2: Change<EnrollChallenge>,
    pub change_session: Change<Session>,
    pub change_proof: Change<EnrollProof>,
}

impl Default for TokenVector {
    fn default() -> Self {
        let root = Ca::new("Root", Key::p256(), None, |_| {});
        Self {
            house: House::trusting(&root),
            key: Key::p256(),
            csr: None,
            token_id: "tok_1".into(),
            token_of_device: [0x5E; 32],
            expired: None,
            exporter_of_device: Exporter::Bound([0xEE; 32]),
            exporter_of_service: Exporter::Bound([0xEE; 32]),
            now: NOW,
            change_m1: None,
            change_m2: None,
            change_session: None,
            change_proof: None,
        }
    }
}

impl TokenVector {
    /// A recovery whose certificate ended a day ago, within a window of 30 days.
    pub fn recovery() -> Self {
        let issuer = Ca::new("Device CA", Key::p256(), None, |_| {});
        Self::recovery_by(&issuer, &Key::p256(), |_| {})
    }

    pub fn recovery_by(issuer: &Ca, old: &Key, change: impl FnOnce(&mut cert::Spec)) -> Self {
        let mut spec = cert::ek(old.spki(), issuer);
        spec.not_after = NOW - DAY;
        change(&mut spec);
        let mut vector = Self { token_id: String::new(), ..Self::default() };
        vector.expired = Some((spec.sign(&issuer.key), old.clone()));
        vector.house.issuers = vec![issuer.der.clone()];
        vector.house.recovery_window_s = Some(30 * DAY);
        vector
    }

    pub fn m1(&self) -> Vec<u8> {
        let certificate = self.expired.as_ref().map(|(der, _)| der.as_slice());
        let m1 = collect::start(
            TenantId::from("default"),
            "SN-1".into(),
            "board".into(),
            self.token_id.clone(),
            certificate,
        );
        let mut start: EnrollStart = serde_json::from_slice(&m1.unwrap()).unwrap();
        apply(self.change_m1.as_deref(), &mut start);
        serde_json::to_vec(&start).unwrap()
    }

    pub fn sent(&self) -> Sent {
        let m1 = self.m1();
        let mut session = Session {
            m1: Digest(sha256(&[&m1])),
            nonce: [0xA0; 32],
            expires_at: NOW + 900,
            secret: self.expired.is_none().then_some(Secret([0x5E; 32])),
            tpm: None,
        };
        let nonce = Bytes(session.nonce.to_vec());
        let mut challenge = EnrollChallenge {
            session: Bytes(vec![0x77; 60]),
            nonce,
            expires_at: session.expires_at,
            tpm: None,
        };
        apply(self.change_m2.as_deref(), &mut challenge);
        apply(self.change_session.as_deref(), &mut session);
        let m2 = serde_json::to_vec(&challenge).unwrap();
        let csr = self.csr.clone().unwrap_or_else(|| cert::csr(&self.key, &self.key, &[]));
        let body = match &self.expired {
            None => collect::proof(&m1, &m2, &csr, &self.token_of_device, &self.exporter_of_device),
            Some((_, key)) => {
                let message = collect::recovery_message(&m1, &m2, &csr, &self.exporter_of_device);
                assert_eq!(
                    message,
                    Transcript::new(&m1, &m2).recovery_message(&csr, &self.exporter_of_device)
                );
                collect::recovery_proof(&m1, &m2, &csr, key.sign(Hash::Sha256, &message))
            }
        };
        let mut message: EnrollProof = serde_json::from_slice(&body.unwrap()).unwrap();
        apply(self.change_proof.as_deref(), &mut message);
        Sent { m1, session, body: serde_json::to_vec(&message).unwrap(), proof: Vec::new() }
    }

    pub fn prove(&self) -> Result<Verified<Proven>, Refusal> {
        self.judge(&self.sent())
    }

    pub fn judge(&self, sent: &Sent) -> Result<Verified<Proven>, Refusal> {
        let Sent { session, body, proof, .. } = sent;
        let known = Known::default();
        let attempt = Attempt { body, proof, exporter: self.exporter_of_service, session, known: &known };
        attest::prove(&attempt, &self.house.policy(), self.now)
    }
}
