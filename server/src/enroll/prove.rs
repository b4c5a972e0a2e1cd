//! M3 to M4: the proof is judged, its nonce spent, and its row decided, in one transaction.

use super::believed::plain;
use super::evidence::{Case, Facts, Keep, Peer, Verdict};
use super::issue::{self, Issue};
use super::ops::{Door, refusal};
use super::rows::{self, Ruling, Severity};
use super::session::Session;
use super::sql::{self, Attempt, Spent};
use crate::db::Tx;
use crate::device;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use crate::tx;
use holdfast_proto::api::enrollment::EnrollmentState;
use holdfast_proto::enroll::{EnrollChallenge, EnrollIssued, EnrollPending, EnrollProof, EnrollStart};
use holdfast_proto::{Bytes, DeviceId};
use holdfast_trust::Verified;
use holdfast_trust::attest::{self, Exporter, Proven, Reason};

/// What M3 is answered with, where it is not refused.
#[derive(Debug)]
pub enum Answered {
    Issued(EnrollIssued),
    /// 202: an operator must say whose device it is.
    Pending(EnrollPending),
}

/// What the transaction ended with: a refusal is written down like everything else.
enum Outcome {
    Answered(Answered),
    Refused(Refusal),
}

/// When to come again where too many wait for an operator.
const FULL_RETRY_S: u32 = 600;

/// Answers M3; `proof` is the header `Holdfast-Proof`, base64 removed.
pub async fn prove(state: &AppState, door: Door<'_>, body: &[u8], proof: &[u8]) -> Result<Answered, Refusal> {
    let now = state.now();
    let (message, start, session) = open(state, door, body)?;
    let tenant = state.tenant();
    let mut tx = state.db.read().await?;
    let serial = plain(&start.serial);
    let ek_hash = session.tpm.as_ref().map(|tpm| tpm.ek_hash);
    let believed = super::believed::for_attempt(state, &mut tx, (tenant, serial), ek_hash).await?;
    let known = rows::known(&mut tx, tenant, door, serial).await?;
    let token = token_secret(state, &mut tx, &start).await?;
    drop(tx);
    let sealed = session.for_verifier(token).ok_or_else(|| refusal(Reason::SessionMismatch))?;
    let attempt = attest::Attempt {
        body,
        proof,
        exporter: Exporter::Bound(door.exporter),
        session: &sealed,
        known: &known,
    };
    let verdict = attest::prove(&attempt, &super::believed::policy(&believed), now);
    let roots_version = believed.ek.anchors.version.as_str();
    let (message, start, session) = (&message, &start, &session);
    let case = Case { tenant, door, session, body, message, start, proof, token, roots_version };
    let outcome: Result<Outcome, Refusal> = match &verdict {
        Ok(proven) => {
            tx!(state.db.grouped(), "enroll.prove", |tx| settle(state, tx, &case, proven, now).await)
        }
        Err(refused) => {
            tx!(state.db.grouped(), "enroll.refuse", |tx| unproven(tx, &case, refused, now).await)
        }
    };
    match outcome? {
        Outcome::Answered(answered) => Ok(answered),
        Outcome::Refused(refused) => Err(refused),
    }
}

/// M3's parts, as far as they are needed to find the session that judges them. Nothing here is believed.
fn open(
    state: &AppState,
    door: Door<'_>,
    body: &[u8],
) -> Result<(EnrollProof, EnrollStart, Session), Refusal> {
    let malformed = |error: serde_json::Error| refusal(Reason::MalformedMessage).because(error);
    let message: EnrollProof = serde_json::from_slice(body).map_err(malformed)?;
    let start: EnrollStart = serde_json::from_slice(&message.m1).map_err(malformed)?;
    let challenge: EnrollChallenge = serde_json::from_slice(&message.m2).map_err(malformed)?;
    // A token that does not open was sealed elsewhere, or not at all: nothing was shown, and nothing is written.
    let session = state.sessions.open(&challenge.session).ok_or_else(|| refusal(Reason::SessionMismatch))?;
    let device = door.device.map(|device| device.id.as_str());
    if session.purpose != door.purpose
        || session.device.as_deref() != device
        || start.tenant.as_str() != state.tenant()
    {
        return Err(refusal(Reason::SessionMismatch));
    }
    Ok((message, start, session))
}

async fn token_secret(
    state: &AppState,
    tx: &mut Tx,
    start: &EnrollStart,
) -> Result<Option<[u8; 32]>, Refusal> {
    let Some(said) = start.join_token.as_ref().filter(|said| !plain(&said.token_id).is_empty()) else {
        return Ok(None);
    };
    let token = device::token::open(state, tx, state.tenant(), &said.token_id).await?;
    Ok(token.map(|token| *token.secret))
}

/// The proof does not hold: its record, and the first reason.
async fn unproven(
    tx: &mut Tx,
    case: &Case<'_>,
    refused: &attest::Refusal,
    now: i64,
) -> Result<Outcome, Refusal> {
    tracing::info!(serial = %case.start.serial.escape_debug(), reason = refused.reason.code(), detail = refused.detail(), "M3 was refused");
    let id = crate::chance::id("enr", now);
    let verdict = Verdict {
        state: EnrollmentState::Refused,
        reason: refused.reason.code(),
        device: None,
        checks: &refused.checks,
        facts: Facts::claimed(case.session),
        issued: None,
        keep: Keep::of(refused, case.peer(tx).await?),
    };
    case.write(tx, (&id, None), verdict, now).await?;
    case.audit(tx, "enroll.refuse", format!("enrollment/{id}"), refused.reason.code(), now).await?;
    Ok(Outcome::Refused(refusal(refused.reason).on_record(id)))
}

/// The proof holds: spends the nonce and decides the row.
async fn settle(
    state: &AppState,
    tx: &mut Tx,
    case: &Case<'_>,
    proven: &Verified<Proven>,
    now: i64,
) -> Result<Outcome, Refusal> {
    let claim = (proven.serial.as_str(), rows::ek_hash(proven));
    let sql::Standing { open, refused } = sql::attempts_of_claim(tx, case.tenant, claim).await?;
    let id = open.as_ref().map_or_else(|| crate::chance::id("enr", now), |open| open.shown.id.clone());
    let spent = Spent { enrollment: id.clone(), m3: case.m3() };
    if let Some(before) =
        sql::nonce_spend(tx, case.tenant, &proven.nonce, &spent, case.session.expires_at).await?
    {
        return again(state, tx, case, proven, (&before, &spent), now).await;
    }
    if let Some(refused) = refused {
        let at = (refused.shown.id.as_str(), Some(&refused));
        return refuse(tx, case, proven, at, (Reason::OperatorRefused, None, Severity::Plain), now).await;
    }
    match rows::rule(state, tx, (case.tenant, case.door), proven, open.as_ref(), now).await? {
        Ruling::New => {
            let labels = open.as_ref().map(|open| open.labels.clone()).unwrap_or_default();
            let names = (proven.serial.as_str(), proven.model.as_str());
            let ek_hash = rows::ek_hash(proven);
            let device =
                device::ops::create_approved(tx, case.tenant, names, &labels, ek_hash, ("enrollment", now))
                    .await?;
            let record = device::ops::by_id(tx, case.tenant, &device)
                .await?
                .ok_or_else(|| Refusal::not_found("device"))?;
            let tier = proven.tier;
            issued(state, tx, case, (&id, open.as_ref()), Issue { proven, record, tier }, now).await
        }
        Ruling::Under { record, tier } => {
            let record = issue::with_labels(tx, case.tenant, *record, open.as_ref(), now).await?;
            issued(state, tx, case, (&id, open.as_ref()), Issue { proven, record, tier: tier.tier() }, now)
                .await
        }
        Ruling::Wait { state: waits, code, device } => {
            wait(state, tx, case, proven, (&id, open.as_ref()), (waits, code, device), now).await
        }
        Ruling::Refused { reason, device, severity } => {
            let id = crate::chance::id("enr", now);
            refuse(tx, case, proven, (&id, None), (reason, device, severity), now).await
        }
    }
}

/// The nonce was spent before. The very same M3 is answered as it was; any other is a replay.
async fn again(
    state: &AppState,
    tx: &mut Tx,
    case: &Case<'_>,
    proven: &Proven,
    (before, now_sent): (&Spent, &Spent),
    now: i64,
) -> Result<Outcome, Refusal> {
    if before.m3 == now_sent.m3
        && let Some(attempt) = sql::attempt_by_id(tx, case.tenant, &before.enrollment).await?
    {
        if attempt.shown.state == EnrollmentState::Pending || attempt.shown.state == EnrollmentState::Conflict
        {
            return Ok(pending(state, attempt.shown.id));
        }
        if let Some(answer) = issue::answer_again(state, tx, case.tenant, &attempt).await? {
            return Ok(Outcome::Answered(Answered::Issued(answer)));
        }
    }
    let id = crate::chance::id("enr", now);
    refuse(tx, case, proven, (&id, None), (Reason::Replayed, None, Severity::Plain), now).await
}

async fn issued(
    state: &AppState,
    tx: &mut Tx,
    case: &Case<'_>,
    (id, open): (&str, Option<&Attempt>),
    issue: Issue<'_>,
    now: i64,
) -> Result<Outcome, Refusal> {
    let (proven, device) = (issue.proven, issue.record.device.id.clone());
    let issued = match issue::issue(state, tx, case.tenant, issue, now).await? {
        Ok(issued) => issued,
        Err(reason) => {
            return refuse(tx, case, proven, (id, open), (reason, Some(device), Severity::Plain), now).await;
        }
    };
    let verdict = Verdict {
        state: EnrollmentState::Issued,
        reason: "",
        device: Some(device.clone()),
        checks: &proven.checks,
        facts: Facts::of(proven),
        issued: Some((&issued.signer, &issued.serial)),
        keep: Keep::All,
    };
    case.write(tx, (id, open), verdict, now).await?;
    let reason = format!("{id} certificate {}", issued.serial);
    case.audit(tx, "enroll.issue", format!("device/{device}"), &reason, now).await?;
    Ok(Outcome::Answered(Answered::Issued(issued.answer(device))))
}

async fn wait(
    state: &AppState,
    tx: &mut Tx,
    case: &Case<'_>,
    proven: &Proven,
    (id, open): (&str, Option<&Attempt>),
    (waits, code, device): (EnrollmentState, &'static str, Option<DeviceId>),
    now: i64,
) -> Result<Outcome, Refusal> {
    if open.is_none() && case.peer(tx).await? == Peer::Stranger {
        room(state, tx, case.tenant).await?;
    }
    let is_new = open.is_none_or(|open| open.shown.state != waits);
    let verdict = Verdict {
        state: waits,
        reason: code,
        device,
        checks: &proven.checks,
        facts: Facts::of(proven),
        issued: None,
        keep: Keep::All,
    };
    case.write(tx, (id, open), verdict, now).await?;
    if is_new {
        case.audit(tx, "enroll.wait", format!("enrollment/{id}"), code, now).await?;
    }
    Ok(pending(state, id.to_owned()))
}

/// Strangers wait for an operator in bounded numbers; the transaction falls, so nothing is written of one more.
async fn room(state: &AppState, tx: &mut Tx, tenant: &str) -> Result<(), Refusal> {
    let most = state.config.limits.waiting_enrollments;
    if sql::waiting(tx, tenant, most.into()).await? < most.into() {
        return Ok(());
    }
    let text = format!(
        "{most} enrolments wait for an operator already: have him settle some, or register this device's claim"
    );
    Err(Refusal::new(Kind::Unavailable, "too-many-waiting", text).retry_after(FULL_RETRY_S))
}

fn pending(state: &AppState, enrollment: String) -> Outcome {
    let retry_after_s = state.config.identity.pending_retry_s;
    Outcome::Answered(Answered::Pending(EnrollPending { enrollment, retry_after_s }))
}

async fn refuse(
    tx: &mut Tx,
    case: &Case<'_>,
    proven: &Proven,
    (id, open): (&str, Option<&Attempt>),
    (reason, device, severity): (Reason, Option<DeviceId>, Severity),
    now: i64,
) -> Result<Outcome, Refusal> {
    let action = match severity {
        Severity::Plain => "enroll.refuse",
        Severity::Alarm => {
            tracing::warn!(serial = %case.start.serial.escape_debug(), reason = reason.code(), device.id = ?device, "an enrolment raised an alarm");
            "enroll.alarm"
        }
    };
    // What takes an attempt's place keeps its room; a row of its own must not be a stranger's way to fill the disk.
    let stranger = open.is_none() && case.peer(tx).await? == Peer::Stranger;
    let verdict = Verdict {
        state: EnrollmentState::Refused,
        reason: reason.code(),
        device,
        checks: &proven.checks,
        facts: Facts::of(proven),
        issued: None,
        keep: if stranger { Keep::ChecksAlone } else { Keep::All },
    };
    case.write(tx, (id, open), verdict, now).await?;
    case.audit(tx, action, format!("enrollment/{id}"), reason.code(), now).await?;
    Ok(Outcome::Refused(refusal(reason).on_record(id)))
}

/// Header `Holdfast-Proof`, or nothing where there is none that can be read.
pub(super) fn proof_of(header: Option<&str>) -> Vec<u8> {
    header.and_then(Bytes::from_base64).map(|bytes| bytes.0).unwrap_or_default()
}
