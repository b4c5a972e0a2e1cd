//! The evidence record: what was decided about an attempt and from what, written in the transaction that decides.
//!
//! Inputs are kept by their hash. A secret is kept only once its nonce is spent; of a caller that showed no secret,
//! the checks are kept and his bytes are not.

use super::ops::Door;
use super::rows;
use super::session::Session;
use super::sql::{self, Attempt, InputName};
use crate::audit::{self, Actor, Entry};
use crate::db::{Error, Tx};
use crate::refusal::Refusal;
use holdfast_proto::api::device::{Check, CheckResult, RootClass, Tier};
use holdfast_proto::api::enrollment::{Enrollment, EnrollmentState};
use holdfast_proto::enroll::{EnrollProof, EnrollStart};
use holdfast_proto::{Bytes, DeviceId, Digest};
use holdfast_trust::attest::{self, Proven, Reason};
use sha2::Digest as _;
use std::collections::BTreeMap;

/// Version of the rules that judge; rises when a decision over the same inputs would differ.
const POLICY_VERSION: &str = "1";

/// Everything that came with an M3.
pub(super) struct Case<'a> {
    pub(super) tenant: &'a str,
    pub(super) door: Door<'a>,
    pub(super) session: &'a Session,
    /// M3 as received.
    pub(super) body: &'a [u8],
    pub(super) message: &'a EnrollProof,
    /// M1 as M3 repeats it: claims.
    pub(super) start: &'a EnrollStart,
    /// Header `Holdfast-Proof`.
    pub(super) proof: &'a [u8],
    /// The join token's, where there is one.
    pub(super) token: Option<[u8; 32]>,
    pub(super) roots_version: &'a str,
}

/// What is written of an attempt.
pub(super) struct Verdict<'a> {
    pub(super) state: EnrollmentState,
    /// Empty once issued.
    pub(super) reason: &'a str,
    pub(super) device: Option<DeviceId>,
    pub(super) checks: &'a [Check],
    pub(super) facts: Facts,
    /// Fingerprint of the issuing CA, serial of the certificate.
    pub(super) issued: Option<(&'a str, &'a str)>,
    pub(super) keep: Keep,
}

/// What an attempt proved of itself; nothing, as long as the proof does not hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) ek_hash: Option<Digest>,
    pub(super) tier: Option<Tier>,
    pub(super) root_class: Option<RootClass>,
}

/// Whether anything of ours names who proves himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A claim, a record or an approval names this EK; without a TPM, a token or a certificate of ours was shown.
    Known,
    Stranger,
}

/// Which inputs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The caller showed no secret, or is a stranger who is refused.
    ChecksAlone,
    /// The nonce is not spent: its secret stays sealed.
    AllButTheSecret,
    All,
}

impl Facts {
    pub(super) fn of(proven: &Proven) -> Self {
        Self { ek_hash: rows::ek_hash(proven), tier: Some(proven.tier), root_class: proven.root_class }
    }

    /// Of a proof that does not hold: the EK that the session was opened for is a claim of the caller's.
    pub(super) fn claimed(session: &Session) -> Self {
        Self { ek_hash: session.tpm.as_ref().map(|tpm| tpm.ek_hash), ..Self::default() }
    }
}

impl Keep {
    /// For a proof that was refused; a stranger's bytes would fill the disk for nothing.
    pub(super) fn of(refused: &attest::Refusal, peer: Peer) -> Self {
        let shown = [Reason::ProofMac, Reason::TokenMac, Reason::RecoverySignature];
        let held = |check: &Check| {
            check.result == CheckResult::Pass && shown.iter().any(|reason| reason.code() == check.rule)
        };
        if peer == Peer::Known && refused.checks.iter().any(held) {
            Self::AllButTheSecret
        } else {
            Self::ChecksAlone
        }
    }
}

impl Case<'_> {
    /// SHA-256 of M3, hex.
    pub(super) fn m3(&self) -> String {
        sha256(self.body).to_hex()
    }

    /// Writes the attempt `id` as `verdict` says, over `open` where it was known before.
    pub(super) async fn write(
        &self,
        tx: &mut Tx,
        (id, open): (&str, Option<&Attempt>),
        verdict: Verdict<'_>,
        now: i64,
    ) -> Result<Attempt, Error> {
        let given = self.inputs(verdict.keep);
        let kept: Vec<_> = given.iter().map(|(_, bytes)| (sha256(bytes), *bytes)).collect();
        sql::inputs_keep(tx, self.tenant, &kept, now).await?;
        let named = given.iter().zip(&kept);
        let inputs =
            named.map(|((name, _), (sha256, _))| InputName { name: (*name).to_owned(), sha256: *sha256 });
        let attempt = Attempt {
            shown: Enrollment {
                id: id.to_owned(),
                purpose: self.door.purpose,
                kind: self.start.kind,
                state: verdict.state,
                serial: audit::printable(&self.start.serial),
                model: audit::printable(&self.start.model),
                device: verdict.device,
                reason: verdict.reason.to_owned(),
                ek_hash: verdict.facts.ek_hash,
                tier: verdict.facts.tier,
                root_class: verdict.facts.root_class,
                created_at: open.map_or(now, |open| open.shown.created_at),
                updated_at: now,
            },
            checks: verdict.checks.to_vec(),
            inputs: inputs.collect(),
            policy_version: POLICY_VERSION.to_owned(),
            roots_version: self.roots_version.to_owned(),
            signer: verdict.issued.map(|(signer, _)| signer.to_owned()),
            certificate_serial: verdict.issued.map(|(_, serial)| serial.to_owned()),
            exporter: Some(Bytes(self.door.exporter.to_vec())),
            labels: open.map_or_else(BTreeMap::new, |open| open.labels.clone()),
            version: open.map_or(1, |open| open.version + 1),
        };
        match open {
            None => sql::attempt_add(tx, self.tenant, &attempt).await?,
            Some(open) => {
                // Read in this transaction at `open.version`: nothing moves it meanwhile.
                sql::attempt_put(tx, self.tenant, &attempt).await?;
                self.drop_replaced(tx, open, &attempt).await?;
            }
        }
        Ok(attempt)
    }

    /// Removes what the attempt was decided from before: a peer that comes again and again keeps one set of inputs.
    async fn drop_replaced(&self, tx: &mut Tx, open: &Attempt, now: &Attempt) -> Result<(), Error> {
        for old in open.inputs.iter().filter(|old| now.inputs.iter().all(|new| new.sha256 != old.sha256)) {
            // A join token's secret may stand behind other attempts; 32 bytes.
            if old.name != "secret" || self.session.tpm.is_some() {
                sql::input_drop(tx, self.tenant, &open.shown.serial, old.sha256).await?;
            }
        }
        Ok(())
    }

    /// Who proves himself.
    pub(super) async fn peer(&self, tx: &mut Tx) -> Result<Peer, Refusal> {
        let Some(tpm) = &self.session.tpm else { return Ok(Peer::Known) };
        let serial = super::believed::plain(&self.start.serial);
        let under = sql::under(tx, self.tenant, serial, tpm.ek_hash).await?;
        Ok(if under.is_listed { Peer::Known } else { Peer::Stranger })
    }

    /// Writes the audit row of what became of the attempt.
    pub(super) async fn audit(
        &self,
        tx: &mut Tx,
        action: &str,
        resource: String,
        reason: &str,
        now: i64,
    ) -> Result<(), Error> {
        let actor = match self.door.device {
            Some(device) => Actor::Device(device.id.as_str()),
            None => Actor::Claimed { serial: &self.start.serial },
        };
        let entry = Entry::done(self.tenant, actor, action, resource, reason);
        let entry = if matches!(action, "enroll.refuse" | "enroll.alarm") { entry.refused() } else { entry };
        audit::append(tx, &entry, now).await
    }

    fn inputs(&self, keep: Keep) -> Vec<(&'static str, &[u8])> {
        let mut inputs: Vec<(&'static str, &[u8])> = Vec::new();
        if keep == Keep::ChecksAlone {
            return inputs;
        }
        inputs.extend([("m1", &*self.message.m1), ("m2", &*self.message.m2), ("m3", self.body)]);
        if !self.proof.is_empty() {
            inputs.push(("proof", self.proof));
        }
        let secret = self.token.as_ref().map_or(&*self.session.secret, |token| token.as_slice());
        if keep == Keep::All && !secret.is_empty() {
            inputs.push(("secret", secret));
        }
        inputs
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}
