//! What a poll answers, and what a report is worth.

use super::sql::{self, Facts};
use crate::db::{Error, Tx};
use crate::device;
use crate::http::auth::Device;
use crate::refusal::{Kind, Refusal};
use crate::release;
use crate::rollout;
use crate::state::AppState;
use crate::tx;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use holdfast_proto::api::rollout::EvidenceLevel;
use holdfast_proto::assignment::AssignmentBody;
use holdfast_proto::report::{Progress, REPORT_MAX_BYTES, Report, ReportAccepted};
use holdfast_proto::state::StateAnswer;
use holdfast_trust::attest;
use holdfast_trust::attest::binding::report_message;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// When each device was last seen: in memory until the next flush.
#[derive(Debug, Default)]
pub struct Seen(Mutex<BTreeMap<String, i64>>);

impl Seen {
    pub fn note(&self, device: &str, now: i64) {
        if let Ok(mut all) = self.0.lock() {
            all.insert(device.to_owned(), now);
        }
    }

    /// When it was last seen since the last flush.
    pub fn at(&self, device: &str) -> Option<i64> {
        self.0.lock().ok().and_then(|all| all.get(device).copied())
    }

    pub(super) fn take(&self) -> Vec<(String, i64)> {
        self.0.lock().map(|mut all| std::mem::take(&mut *all).into_iter().collect()).unwrap_or_default()
    }
}

/// A poll's answer before it is signed: what its ETag is over.
#[derive(Debug)]
pub struct Poll {
    pub etag: String,
    /// Base64 goes into the nonce header.
    pub nonce: [u8; 32],
    served: Option<rollout::ops::Served>,
    again_after_s: u32,
}

/// Looks up what a device shall be told. Reads only; the lease is renewed in memory.
pub async fn poll(state: &AppState, device: &Device) -> Result<Poll, Refusal> {
    let (now, id) = (state.now(), device.id.as_str());
    let mut tx = state.db.read().await?;
    let served = rollout::ops::served(&mut tx, &device.tenant, id).await?;
    let last = sql::last(&mut tx, &device.tenant, id).await?.unwrap_or_default();
    let timestamp = state.repo.timestamp_version(&mut tx).await?.unwrap_or(0);
    let poll_after_s = state.config.checkin.poll_after_s;
    if let Some(served) = &served {
        state.leases.renew(id, served.epoch, served.sequence, now + served.lease_s);
    }
    state.seen.note(id, now);
    let word = served
        .as_ref()
        .map_or(String::new(), |s| format!("{}.{}.{:?}.{}", s.epoch, s.sequence, s.word, s.attempt));
    let digest = crate::repo::publish::sha256(format!("{word}|{timestamp}|{poll_after_s}").as_bytes());
    Ok(Poll {
        etag: format!("\"{}\"", &digest.to_hex()[..32]),
        nonce: state.nonce_key.nonce(id, last.sequence, now),
        served,
        again_after_s: poll_after_s,
    })
}

/// The answer itself: the assignment is signed here, now, and stored nowhere.
pub async fn answer(state: &AppState, device: &Device, poll: Poll) -> Result<StateAnswer, Refusal> {
    let now = state.now();
    let mut tx = state.db.read().await?;
    let timestamp = state.repo.timestamp(&mut tx).await?;
    let mut assignment = None;
    if let Some(served) = &poll.served
        && let Some(row) = release::row(&mut tx, &device.tenant, &served.hardware, &served.release).await?
    {
        let body = AssignmentBody {
            device: device.id.clone(),
            epoch: served.epoch as u64,
            sequence: served.sequence as u64,
            lease_s: served.lease_s as u64,
            attempt: served.attempt as u32,
            state: served.word,
            rollout: Some(served.rollout.clone()),
        };
        assignment = Some(state.repo.sign_assignment(&body, &row.assigned(), now)?.into());
    }
    Ok(StateAnswer { assignment, timestamp: timestamp.map(Into::into), poll_after_s: poll.again_after_s })
}

/// Takes a report: signature, then sequence, then evidence, then what it means for the assignment.
pub async fn report(
    state: &AppState,
    device: &Device,
    body: &[u8],
    signature: &[u8],
) -> Result<ReportAccepted, Refusal> {
    if body.len() > REPORT_MAX_BYTES {
        let detail = format!("a report has at most {REPORT_MAX_BYTES} bytes, this one {}", body.len());
        return Err(Refusal::new(Kind::TooLarge, "report-too-large", detail));
    }
    check_signature(device, body, signature)?;
    let report: Report = crate::http::body::parse_json(body)?;
    check_words(&report)?;
    let (now, id, tenant) = (state.now(), device.id.as_str(), device.tenant.as_str());
    state.seen.note(id, now);
    let mut behind = false;
    let accepted = tx!(state.db.grouped(), "checkin.report", |tx| {
        let last = sql::last(tx, tenant, id).await?;
        let before = last.clone().unwrap_or_default();
        if last.is_some() && report.sequence as i64 <= before.sequence {
            // Sent again after a lost answer: it was taken the first time.
            return Ok(ReportAccepted { sequence: before.sequence as u64 });
        }
        let (evidence, reset) = weigh(state, tx, device, &report, before.sequence, now).await?;
        let release = report.running.release.as_ref().map(ToString::to_string).unwrap_or_default();
        let facts = Facts {
            sequence: report.sequence.min(i64::MAX as u64) as i64,
            boot_id: &report.boot_id,
            release: &release,
            floor: report.running.floor.min(i64::MAX as u64) as i64,
            ram_bytes: report.running.ram_bytes.min(i64::MAX as u64) as i64,
            reset_count: reset.map_or(before.reset_count, i64::from),
            assignment: report.versions.assignment.min(i64::MAX as u64) as i64,
        };
        if !sql::store(tx, tenant, id, &facts, now).await? {
            return Err(Refusal::conflict("report-raced", "another report came first: send this one again"));
        }
        let running = Some(release.as_str()).filter(|name| !name.is_empty());
        device::ops::record_running(tx, tenant, id, (running, &report.running.slot), now).await?;
        for (role, version) in
            [("timestamp", report.versions.timestamp), ("snapshot", report.versions.snapshot)]
        {
            // A hostile device cannot push versions beyond what a restored clock would give.
            let cap = (now.max(0) as u64) + YEAR_S;
            behind |= state.repo.note_seen(tx, role, version.min(cap)).await?;
        }
        note_bad_delta(state, tx, id, &report, now).await?;
        rollout::ops::report(state, tx, (tenant, id), &report, (evidence, reset), now).await?;
        Ok::<_, Refusal>(ReportAccepted { sequence: report.sequence })
    })?;
    state.wake_rollouts.wake();
    if behind {
        state.wake_metadata.wake();
    }
    Ok(accepted)
}

/// What a device says of itself is stored: short, and printable.
fn check_words(report: &Report) -> Result<(), Refusal> {
    let plain = |text: &str| text.len() <= WORD_MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    let release =
        report.running.release.as_ref().is_none_or(|name| holdfast_proto::id::is_segment(name.as_str()));
    if !plain(&report.boot_id) || report.boot_id.is_empty() || !plain(&report.running.slot) || !release {
        let text = format!(
            "boot_id and slot are at most {WORD_MAX_BYTES} printable ASCII characters without spaces, a release is [a-z0-9._-]"
        );
        return Err(Refusal::invalid("malformed-report", text));
    }
    Ok(())
}

const WORD_MAX_BYTES: usize = 128;
const YEAR_S: u64 = 365 * 86_400;

fn check_signature(device: &Device, body: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&device.certificate_der).map_err(Refusal::internal)?;
    let key: &[u8] = &certificate.tbs_certificate.subject_pki.subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&report_message(body), signature)
        .map_err(|_| Refusal::invalid("report-signature", "the report is not signed by this device's key"))
}

/// How well the report's word is backed, and the TPM's resetCount where a quote shows it.
async fn weigh(
    state: &AppState,
    tx: &mut Tx,
    device: &Device,
    report: &Report,
    last_sequence: i64,
    now: i64,
) -> Result<(Option<EvidenceLevel>, Option<u32>), Refusal> {
    let Some(evidence) = &report.evidence else { return Ok((None, None)) };
    let id = device.id.as_str();
    let armed = rollout::ops::armed_facts(tx, &device.tenant, id, report).await?;
    let oldest = match (&report.progress, &armed) {
        (Progress::Confirmed, Some(armed)) => armed.report,
        _ => 0,
    };
    if !state.nonce_key.is_fresh(&evidence.nonce, id, (oldest, last_sequence), now) {
        return Ok((None, None));
    }
    let rebooted = armed.as_ref().is_some_and(|armed| armed.boot_id != report.boot_id);
    let claimed = rebooted.then_some(EvidenceLevel::Claimed);
    let Some(ak) = device::ops::ak_public(tx, &device.tenant, id).await?.filter(|_| evidence.quote.is_some())
    else {
        return Ok((claimed, None));
    };
    let digest = match &armed {
        Some(armed) => release::booted_digest(tx, &device.tenant, &armed.hardware, &armed.release).await?,
        None => None,
    };
    let booted = armed.as_ref().zip(digest.as_ref()).filter(|(armed, _)| armed.reset_count >= 0).map(
        |(armed, digest)| attest::tpm2::report::BootedExpectation {
            reset_count_at_arming: armed.reset_count as u32,
            digest: &digest.0,
        },
    );
    let is_confirmation = matches!(report.progress, Progress::Confirmed);
    let expected = |booted| attest::tpm2::Expected {
        ak_public: &ak,
        manufacturer: None,
        nonce: &evidence.nonce,
        pcr_bank: QUOTED_BANK,
        pcr_selection: &QUOTED_PCRS,
        last: None,
        booted,
    };
    let anchors = crate::enroll::ops::anchors(state, tx, &device.tenant).await?;
    let policy = crate::enroll::ops::policy(&anchors);
    if is_confirmation
        && booted.is_some()
        && let Ok(facts) = attest::tpm2::verify_report(evidence, &expected(booted), &policy)
    {
        return Ok((claimed.map(|_| EvidenceLevel::Booted), Some(facts.quote.clock.reset_count)));
    }
    match attest::tpm2::verify_report(evidence, &expected(None), &policy) {
        Ok(facts) => Ok((claimed, Some(facts.quote.clock.reset_count))),
        Err(refusal) => {
            tracing::info!(device.id = id, reason = refusal.reason.code(), "a report's quote does not hold");
            Ok((claimed, None))
        }
    }
}

/// What devices quote in reports: SHA-256, the PCRs of enrolment.
const QUOTED_BANK: u16 = 0x000B;
const QUOTED_PCRS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// A device that could not use a delta says so with `delta-bad:<base>-<output>` in its detail.
async fn note_bad_delta(
    state: &AppState,
    tx: &mut Tx,
    device: &str,
    report: &Report,
    now: i64,
) -> Result<(), Refusal> {
    let Some(detail) = &report.detail else { return Ok(()) };
    for line in detail.lines().filter_map(|line| line.strip_prefix("delta-bad:")).take(4) {
        if let Some((base, output)) = line.trim().split_once('-')
            && let (Ok(base), Ok(output)) = (base.parse(), output.parse())
        {
            release::delta_reported_bad(&state.repo, tx, (base, output), device, now).await?;
        }
    }
    Ok(())
}

/// The highest assignment that a device reported.
pub async fn seen_assignment(tx: &mut Tx, tenant: &str, device: &str) -> Result<i64, Error> {
    Ok(sql::assignment(tx, tenant, device).await?.unwrap_or(0))
}

/// Floor and highest assignment that each device reported.
pub async fn floors(tx: &mut Tx, tenant: &str) -> Result<BTreeMap<String, (i64, i64)>, Error> {
    let rows = sql::floors(tx, tenant).await?;
    Ok(rows.into_iter().map(|(device, floor, assignment)| (device, (floor, assignment))).collect())
}
