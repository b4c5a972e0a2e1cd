//! M1 and M3, as far as they are the same for every kind.

use super::binding::{Exporter, Transcript, sha256};
use super::reason::Reason;
use super::registry::{self, Checks};
use super::{Ledger, Policy, Refusal, join_token, tpm2};
use crate::csr;
use crate::limits::{CLAIM_MAX_BYTES, MESSAGE_MAX_BYTES};
use crate::verified::Verified;
use holdfast_proto::api::device::{Check, RootClass, Tier};
use holdfast_proto::enroll::{AttestKind, EnrollChallenge, EnrollProof, EnrollStart};
use holdfast_proto::{Digest, TenantId};
use holdfast_tpm::wire::SubjectKey;
use std::fmt;

/// What M1 showed. Serial and model are claims still.
#[derive(Debug, Clone)]
pub struct Started {
    pub kind: AttestKind,
    pub tenant: TenantId,
    pub serial: String,
    pub model: String,
    /// SHA-256 of M1 as received.
    pub m1: Digest,
    pub claim: Claim,
    pub checks: Vec<Check>,
}

/// The kind's part of M1.
#[derive(Debug, Clone)]
pub enum Claim {
    Tpm2(Box<tpm2::TpmClaim>),
    JoinToken(join_token::JoinTokenClaim),
}

/// What M3 proved: a certificate may be issued for [`Proven::device_spki`] once the service's rows agree.
#[derive(Debug, Clone)]
pub struct Proven {
    pub kind: AttestKind,
    pub tenant: TenantId,
    /// Still the device's claim: whose it is, is the service's rows to say.
    pub serial: String,
    pub model: String,
    pub tier: Tier,
    pub root_class: Option<RootClass>,
    /// The key to certify: SubjectPublicKeyInfo, DER.
    pub device_spki: Vec<u8>,
    /// The nonce that this proof spends.
    pub nonce: [u8; 32],
    pub claim: Claim,
    pub proof: Proof,
    /// The checks of M1, judged anew, then those of M3.
    pub checks: Vec<Check>,
}

/// The kind's part of M3.
#[derive(Debug, Clone)]
pub enum Proof {
    Tpm2(Box<tpm2::TpmProven>),
    JoinToken(join_token::JoinTokenProven),
}

/// A secret of 32 bytes without Debug.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What the service sealed into M2's session token. A token that does not open is the service's `session-mismatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of M1.
    pub m1: Digest,
    pub nonce: [u8; 32],
    /// Unix seconds.
    pub expires_at: i64,
    /// `tpm2`: the activated credential's. `join_token`: the token's; none in a recovery.
    pub secret: Option<Secret>,
    pub tpm: Option<TpmSession>,
}

/// The TPM's part of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmSession {
    pub ek_hash: Digest,
    pub ak_name: Vec<u8>,
    pub pcr_bank: u16,
    pub pcr_selection: Vec<u8>,
}

/// M3 and what came with it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// M3 as received.
    pub body: &'a [u8],
    /// Header `Holdfast-Proof`, base64 removed; empty when there is none.
    pub proof: &'a [u8],
    pub exporter: Exporter,
    pub session: &'a Session,
    /// What the record says already, in a renewal or a recovery.
    pub known: &'a Known,
}

/// What a record says. All none: a first enrolment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub ek_hash: Option<Digest>,
    /// In a renewal; a recovery may bring a new AK and leaves this out.
    pub ak_name: Option<Vec<u8>>,
    pub clock: Option<tpm2::Clock>,
}

/// What a kind's proof is judged from.
pub struct Evidence<'a> {
    pub(crate) message: &'a EnrollProof,
    pub(crate) body: &'a [u8],
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) transcript: Transcript,
    /// The CSR's key, when it could be read.
    pub(crate) csr_key: Option<SubjectKey>,
}

/// Judges M1. Writes nothing anywhere.
///
/// # Errors
/// [`Refusal`] with every check that ran.
pub fn start(m1: &[u8], policy: &Policy<'_>, now: i64) -> Result<Verified<Started>, Refusal> {
    let mut ledger = Ledger::default();
    let started = start_within(m1, policy, now, &mut ledger);
    ledger.verdict(started, |started, checks| Started { checks, ..started })
}

/// Judges M3: everything of M1 anew, under today's anchors and deny lists, then the proof.
///
/// # Errors
/// [`Refusal`] with every check that ran.
pub fn prove(attempt: &Attempt<'_>, policy: &Policy<'_>, now: i64) -> Result<Verified<Proven>, Refusal> {
    let mut ledger = Ledger::default();
    let proven = prove_within(attempt, policy, now, &mut ledger);
    ledger.verdict(proven, |proven, checks| Proven { checks, ..proven })
}

fn start_within(m1: &[u8], policy: &Policy<'_>, now: i64, ledger: &mut Ledger) -> Option<Started> {
    let message: EnrollStart = json("M1", m1, ledger)?;
    let claims = [&message.serial, &message.model];
    let bounded = claims
        .iter()
        .all(|claim| (1..=CLAIM_MAX_BYTES).contains(&claim.len()) && !claim.chars().any(char::is_control));
    let parts = match message.kind {
        AttestKind::Tpm2 => message.tpm.is_some() && message.join_token.is_none(),
        AttestKind::JoinToken => message.join_token.is_some() && message.tpm.is_none(),
    };
    let detail = format!(
        "kind {:?}; serial and model of 1 to {CLAIM_MAX_BYTES} bytes, one part, the kind's",
        message.kind
    );
    if !ledger.require(Reason::MalformedMessage, bounded && parts, detail) {
        return None;
    }
    let claim = registry::of(message.kind)?.start(&message, policy, now, &mut Checks(ledger))?;
    let EnrollStart { kind, tenant, serial, model, .. } = message;
    Some(Started { kind, tenant, serial, model, m1: Digest(sha256(&[m1])), claim, checks: Vec::new() })
}

fn prove_within(attempt: &Attempt<'_>, policy: &Policy<'_>, now: i64, ledger: &mut Ledger) -> Option<Proven> {
    let message: EnrollProof = json("M3", attempt.body, ledger)?;
    let started = start_within(&message.m1, policy, now, ledger);
    // docs/protocol.md M3, 1: the session, unexpired.
    let session = attempt.session;
    ledger.require(
        Reason::SessionExpired,
        now < session.expires_at,
        format!("ends at {}, it is {now}", session.expires_at),
    );
    check_session(&message, session, ledger);
    let transcript = Transcript::new(&message.m1, &message.m2);
    if attempt.exporter == Exporter::Absent {
        ledger.note(Reason::CertifyBinding, "no-exporter mode: the proof is not bound to its TLS connection");
    }
    // docs/protocol.md M3, 6: only the CSR's key is taken.
    let csr = csr::verify(&message.csr, policy.algorithms);
    let csr = match csr {
        Ok(csr) => {
            ledger.require(
                Reason::CsrSignature,
                true,
                "signed by its own key; asks for no CA; subject and names ignored",
            );
            Some(csr)
        }
        Err(why) => {
            ledger.fail(why.reason(), why);
            None
        }
    };
    let csr_key = csr.as_ref().and_then(|csr| SubjectKey::from_spki_der(&csr.spki).ok());
    let started = started?;
    // Nothing in M3 may go unread: a part of another kind is refused, not passed over.
    let own_part = match started.kind {
        AttestKind::Tpm2 => message.tpm.is_some() && message.join_token.is_none(),
        AttestKind::JoinToken => message.join_token.is_some() && message.tpm.is_none(),
    };
    if !ledger.require(Reason::MalformedMessage, own_part, "M3 has one part, the kind's") {
        return None;
    }
    let evidence = Evidence { message: &message, body: attempt.body, attempt, transcript, csr_key };
    let proof = registry::of(started.kind)?.prove(&started.claim, &evidence, policy, &mut Checks(ledger))?;
    let device_spki = csr?.spki.clone();
    let (tier, root_class) = match &started.claim {
        Claim::Tpm2(claim) => (claim.tier, claim.root_class),
        Claim::JoinToken(_) => (Tier::T0, None),
    };
    let Started { kind, tenant, serial, model, claim, .. } = started;
    let nonce = session.nonce;
    Some(Proven {
        kind,
        tenant,
        serial,
        model,
        tier,
        root_class,
        device_spki,
        nonce,
        claim,
        proof,
        checks: Vec::new(),
    })
}

/// M1 and M2 as repeated are those of the session.
fn check_session(message: &EnrollProof, session: &Session, ledger: &mut Ledger) {
    let m1 = Digest(sha256(&[&message.m1]));
    ledger.require(
        Reason::SessionMismatch,
        m1 == session.m1,
        format!("M1 is {m1}, the session was opened with {}", session.m1),
    );
    let m2 = serde_json::from_slice::<EnrollChallenge>(&message.m2);
    let same = m2.as_ref().is_ok_and(|m2| {
        let tpm = match (&m2.tpm, &session.tpm) {
            (Some(said), Some(sealed)) => {
                said.pcr_bank == sealed.pcr_bank && said.pcr_selection == sealed.pcr_selection
            }
            (None, None) => true,
            _ => false,
        };
        m2.nonce.0 == session.nonce && m2.expires_at == session.expires_at && tpm
    });
    ledger.require(Reason::SessionMismatch, same, "M2 repeats nonce, end, bank and PCRs of the session");
}

fn json<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8], ledger: &mut Ledger) -> Option<T> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        ledger.fail(
            Reason::MalformedMessage,
            format!("{name}: {} bytes are above the cap of {MESSAGE_MAX_BYTES}", bytes.len()),
        );
        return None;
    }
    let detail = format!("{name}: {} bytes", bytes.len());
    ledger.take(
        Reason::MalformedMessage,
        serde_json::from_slice(bytes).map_err(|why| format!("{name}: {why}")),
        detail,
    )
}
