//! What devices are served of their assignments, and what their reports make of them.

use super::rows::{level_word, policy_of};
use super::sql::{self, AssignmentSql};
use crate::db::{Error, Tx};
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_decide::fleet::{self, AssignmentRow};
use holdfast_proto::api::rollout::EvidenceLevel;
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::Report;

/// Characters of a device's own words that are kept.
const DETAIL_MAX_CHARS: usize = 1024;
/// As above, of the codec that it names.
const CODEC_MAX_CHARS: usize = 32;

/// What a device is served: its newest assignment, as the rollout's state words it.
#[derive(Debug, Clone)]
pub struct Served {
    pub hardware: String,
    pub release: String,
    pub epoch: i64,
    pub sequence: i64,
    pub attempt: i64,
    pub lease_s: i64,
    pub rollout: String,
    pub word: AssignmentWord,
    /// Report sequence at Arming; a nonce for evidence must be over it or a later one.
    pub armed_report: i64,
}

/// A device's newest assignment, also once it has ended: what it confirmed stays what it shall run.
pub async fn served(tx: &mut Tx, tenant: &str, device: &str) -> Result<Option<Served>, Error> {
    let Some(row) = sql::assignment_newest(tx, tenant, device).await? else { return Ok(None) };
    let Some(rollout) = sql::rollout_row(tx, tenant, &row.rollout_id).await? else { return Ok(None) };
    let word = fleet::word_for(rollout.to_row()?.state, &row.to_row(i64::MAX)?);
    Ok(Some(Served {
        hardware: row.hardware,
        release: row.release,
        epoch: row.epoch,
        sequence: row.sequence,
        attempt: row.attempt,
        lease_s: row.lease_s,
        rollout: row.rollout_id,
        word,
        armed_report: row.armed_report,
    }))
}

/// What a confirmation of this assignment must go beyond.
#[derive(Debug, Clone)]
pub struct ArmedFacts {
    pub boot_id: String,
    /// -1: it showed no quote.
    pub reset_count: i64,
    /// Sequence of the report that said so.
    pub report: i64,
    pub hardware: String,
    pub release: String,
}

/// The facts of Arming of the assignment that a report names.
pub async fn armed_facts(
    tx: &mut Tx,
    tenant: &str,
    device: &str,
    report: &Report,
) -> Result<Option<ArmedFacts>, Error> {
    let Some(reference) = report.assignment else { return Ok(None) };
    let row =
        sql::assignment_at(tx, tenant, device, (reference.epoch as i64, reference.sequence as i64)).await?;
    Ok(row.filter(|row| row.armed_at != 0).map(|row| ArmedFacts {
        boot_id: row.armed_boot,
        reset_count: row.armed_reset,
        report: row.armed_report,
        hardware: row.hardware,
        release: row.release,
    }))
}

/// What a genuine report makes of the assignment that it names; the gate is asked afterwards.
pub async fn report(
    state: &AppState,
    tx: &mut Tx,
    (tenant, device): (&str, &str),
    report: &Report,
    (evidence, reset_count): (Option<EvidenceLevel>, Option<u32>),
    now: i64,
) -> Result<(), Refusal> {
    let Some(reference) = report.assignment else { return Ok(()) };
    let at = (reference.epoch as i64, reference.sequence as i64);
    let Some(row) = sql::assignment_at(tx, tenant, device, at).await? else { return Ok(()) };
    let Some(rollout) = sql::rollout_row(tx, tenant, &row.rollout_id).await? else { return Ok(()) };
    if i64::from(reference.attempt) != row.attempt {
        let text =
            format!("report refused: it is about attempt {}, this is {}", reference.attempt, row.attempt);
        return Ok(sql::event(tx, tenant, &row, &text, now).await?);
    }
    let (rollout_row, before) = (rollout.to_row()?, row.to_row(state.leases.until(&row))?);
    let policy = policy_of(&rollout.spec()?);
    let detail = detail_of(report);
    let moved = match fleet::advance(&before, &report.progress, evidence, rollout_row.state, &policy, now) {
        Ok(moved) => moved,
        Err(refused) => {
            // A fact all the same: it stands among the events, and changes nothing.
            return Ok(sql::event(tx, tenant, &row, &format!("report refused: {refused}"), now).await?);
        }
    };
    let next = with_report(&row, &before, &moved, report, (evidence, reset_count), &detail, now);
    if next == row {
        return Ok(());
    }
    if !sql::assignment_change(tx, tenant, (&row.state, &row.code), &next).await? {
        return Err(Refusal::conflict(
            "assignment-moved",
            "this assignment moved meanwhile: send the report again",
        ));
    }
    let words = match moved.alarm {
        Some(alarm) => format!("{alarm:?} {detail}"),
        None => detail,
    };
    Ok(sql::event(tx, tenant, &next, &words, now).await?)
}

/// The device's own words, cut, and without control characters but the ends of lines.
fn detail_of(report: &Report) -> String {
    shown(report.detail.as_deref().unwrap_or_default(), DETAIL_MAX_CHARS)
}

fn shown(text: &str, max_chars: usize) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().take(max_chars).map(shown).collect()
}

fn with_report(
    row: &AssignmentSql,
    before: &AssignmentRow,
    moved: &fleet::Transition,
    report: &Report,
    (evidence, reset_count): (Option<EvidenceLevel>, Option<u32>),
    detail: &str,
    now: i64,
) -> AssignmentSql {
    let mut next = row.clone();
    if let Some(to) = &moved.to {
        to.name().clone_into(&mut next.state);
        to.code().unwrap_or_default().clone_into(&mut next.code);
        next.since = now;
    }
    if before.armed_at.is_none() && moved.armed_at.is_some() {
        next.armed_at = moved.armed_at.unwrap_or(0);
        next.armed_report = report.sequence as i64;
        next.armed_boot.clone_from(&report.boot_id);
        next.armed_reset = reset_count.map_or(-1, i64::from);
    }
    if evidence.is_some() {
        level_word(evidence).clone_into(&mut next.evidence);
    }
    if let Some(transfer) = &report.transfer {
        next.codec = shown(&transfer.codec, CODEC_MAX_CHARS);
        next.bytes = transfer.bytes.min(i64::MAX as u64) as i64;
        next.full_bytes = transfer.full_bytes.min(i64::MAX as u64) as i64;
    }
    if !detail.is_empty() {
        detail.clone_into(&mut next.detail);
    }
    next
}
