//! Rollouts: drafted and ordered by operators, planned by `decide::fleet`, reported on by devices.

use super::rows::{StoredReport, level_word, policy_of};
use super::sql::{self, AssignmentSql, RolloutSql};
use crate::audit::{self, Actor, Entry};
use crate::checkin;
use crate::db::{Error, Tx};
use crate::device;
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::release;
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::Selector;
use holdfast_decide::fleet::{
    self, Action, AssignmentRow, Command, DeviceRow, PhasePlan, PlanInput, ReleaseRow, RolloutRow,
    RolloutState,
};
use holdfast_proto::api::device::Device;
use holdfast_proto::api::rollout::{Assignment, CreateRollout, EvidenceLevel, Rollout};
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Key epoch of assignments until their keys can be rotated.
const EPOCH: i64 = crate::repo::sign::ASSIGNMENT_EPOCH as i64;
/// Bytes of a device's own words that are kept.
const DETAIL_MAX_BYTES: usize = 4096;

/// When each lease ends: in memory, so that a poll writes nothing. A restart gives every lease its full length
/// once more, from the restart.
#[derive(Debug, Default)]
pub struct Leases {
    started_at: i64,
    /// By device: epoch, sequence, end.
    until: Mutex<BTreeMap<String, (i64, i64, i64)>>,
}

impl Leases {
    pub fn since(started_at: i64) -> Self {
        Self { started_at, until: Mutex::default() }
    }

    /// A confirmed poll.
    pub fn renew(&self, device: &str, epoch: i64, sequence: i64, until: i64) {
        if let Ok(mut all) = self.until.lock() {
            all.insert(device.to_owned(), (epoch, sequence, until));
        }
    }

    fn until(&self, row: &AssignmentSql) -> i64 {
        let renewed = self.until.lock().ok().and_then(|all| all.get(&row.device_id).copied());
        let renewed = renewed.filter(|(epoch, sequence, _)| (*epoch, *sequence) == (row.epoch, row.sequence));
        let renewed = renewed.map_or(0, |(_, _, until)| until);
        renewed.max(row.offered_at.max(self.started_at) + row.lease_s)
    }
}

/// Drafts a rollout; nothing happens until it is started.
pub async fn create(state: &AppState, operator: &Operator, spec: &CreateRollout) -> Result<Rollout, Refusal> {
    PhasePlan::parse_all(&spec.phases)
        .map_err(|error| Refusal::invalid("malformed-phases", error.to_string()))?;
    Selector::parse(&spec.selector)
        .map_err(|error| Refusal::invalid("malformed-selector", error.to_string()))?;
    if spec.max_failure_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return Err(Refusal::invalid("rate-out-of-range", "max_failure_rate is between 0 and 1"));
    }
    let now = state.now();
    let row = RolloutSql {
        id: crate::chance::id("ro", now),
        hardware: spec.hardware.clone(),
        release: spec.release.to_string(),
        spec: serde_json::to_string(spec).map_err(Refusal::internal)?,
        frozen: String::new(),
        author: operator.principal().to_owned(),
        approved_by: String::new(),
        deltas_ready: false,
        state: RolloutState::Draft.as_str().to_owned(),
        reason: String::new(),
        phase: 0,
        stage: "Admit".to_owned(),
        phase_since: now,
        stage_since: now,
        resumed_at: 0,
        report: "{\"lines\":[],\"phases\":[]}".to_owned(),
        created_at: now,
        version: 1,
    };
    tx!(state.db, "rollout.create", |tx| {
        let release = release::row(tx, &operator.tenant, &spec.hardware, spec.release.as_str()).await?;
        if release.is_none() {
            let name = audit::printable(&format!("{}/{}", spec.hardware, spec.release));
            return Err(Refusal::not_found(format_args!("release {name}: publish it first")));
        }
        sql::rollout_insert(tx, &operator.tenant, &row).await?;
        let reason = format!("{}/{}", row.hardware, row.release);
        audit::append(tx, &operator.did("rollout.create", format!("rollout/{}", row.id), reason), now)
            .await?;
        Ok(())
    })?;
    // What the planner would say if it were started now.
    dry_report(state, &operator.tenant, &row, now).await?;
    show(state, operator, &row.id).await
}

/// Carries out an operator's order, then plans.
pub async fn order(
    state: &AppState,
    operator: &Operator,
    id: &str,
    order: &Command,
) -> Result<Rollout, Refusal> {
    let now = state.now();
    tx!(state.db, "rollout.order", |tx| {
        let row = sql::rollout_row(tx, &operator.tenant, id).await?.ok_or_else(|| no_rollout(id))?;
        let next = fleet::command(&row.to_row()?, order, now)
            .map_err(|error| Refusal::conflict("rollout-state", error.to_string()))?;
        if !sql::rollout_change(tx, &operator.tenant, &row.with(&next)?).await? {
            return Err(Refusal::precondition(row.version));
        }
        let action = match order {
            Command::Start => "rollout.start",
            Command::Approve { .. } => "rollout.approve",
            Command::Pause => "rollout.pause",
            Command::Resume => "rollout.resume",
            Command::Rollback => "rollout.rollback",
            Command::Cancel => "rollout.cancel",
        };
        let reason = format!("{} -> {}", row.state, next.state);
        audit::append(tx, &operator.did(action, format!("rollout/{id}"), reason), now).await?;
        Ok(())
    })?;
    plan_once(state, &operator.tenant).await?;
    state.wake_rollouts.wake();
    show(state, operator, id).await
}

pub async fn show(state: &AppState, operator: &Operator, id: &str) -> Result<Rollout, Refusal> {
    let row = sql::rollout_row(&mut state.db.read().await?, &operator.tenant, id).await?;
    Ok(row.ok_or_else(|| no_rollout(id))?.to_api()?)
}

pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<Rollout>, Refusal> {
    let rows = sql::rollout_list(&mut state.db.read().await?, &operator.tenant, after, limit).await?;
    Ok(rows.iter().map(RolloutSql::to_api).collect::<Result<_, _>>()?)
}

/// Assignments after the cursor `device/epoch/sequence`.
pub async fn assignments(
    state: &AppState,
    operator: &Operator,
    rollout: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Assignment>, Refusal> {
    let mut parts = after.split('/');
    let device = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let cursor = (device, number(), number());
    let rows =
        sql::assignment_list(&mut state.db.read().await?, &operator.tenant, rollout, cursor, limit).await?;
    Ok(rows.iter().map(AssignmentSql::to_api).collect())
}

fn no_rollout(id: &str) -> Refusal {
    Refusal::not_found(format_args!("rollout `{}`", audit::printable(id)))
}

/// Everything that the planner looks at.
async fn input(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    rollouts: &[RolloutSql],
) -> Result<PlanInput, Refusal> {
    let hardware: BTreeSet<&str> = rollouts.iter().map(|row| row.hardware.as_str()).collect();
    let mut input = PlanInput::default();
    for row in rollouts {
        input.rollouts.push(row.to_row()?);
        for assignment in sql::assignment_of(tx, tenant, &row.id).await? {
            input.assignments.push(assignment.to_row(state.leases.until(&assignment))?);
        }
    }
    let floors = checkin::ops::floors(tx, tenant).await?;
    for record in device::ops::all_matching(tx, tenant, &Selector::default()).await? {
        let row = device_row(state, &floors, record);
        if hardware.contains(row.hardware.as_str()) {
            input.devices.push(row);
        }
    }
    for hw in hardware {
        for release in release::list(tx, tenant, hw, "", i64::MAX).await? {
            let row = release::row(tx, tenant, hw, release.release.as_str()).await?;
            let manifest = row.map(|row| row.manifest);
            input.releases.push(ReleaseRow {
                hardware: hw.to_owned(),
                release: release.release,
                security_counter: release.security_counter,
                min_counter_from: manifest.as_ref().and_then(|manifest| manifest.min_counter_from),
                allow_downgrade_from: manifest.as_ref().and_then(|manifest| manifest.allow_downgrade_from),
                listed: !release.channels.is_empty(),
            });
        }
    }
    Ok(input)
}

/// A device's hardware id is its label `hardware`, else its model.
fn hardware_of(device: &Device) -> &str {
    device.labels.get("hardware").map_or(&device.model, String::as_str)
}

/// A device as the planner sees it; polls since the last flush count.
fn device_row(state: &AppState, floors: &BTreeMap<String, (i64, i64)>, record: device::Record) -> DeviceRow {
    let device = record.device;
    DeviceRow {
        hardware: hardware_of(&device).to_owned(),
        last_seen: device.last_seen.max(state.seen.at(device.id.as_str())),
        floor: floors.get(device.id.as_str()).map_or(0, |(floor, _)| (*floor).max(0) as u64),
        id: device.id,
        site: record.site,
        labels: device.labels,
        state: device.state,
        running: device.release,
        joined_at: record.created_at,
    }
}

/// One run of the planner: what it wants is stored by compare-and-set, all of it in one transaction.
pub async fn plan_once(state: &AppState, tenant: &str) -> Result<Option<i64>, Refusal> {
    let now = state.now();
    if sql::rollout_open(&mut state.db.read().await?, tenant).await?.is_empty() {
        return Ok(None);
    }
    tx!(state.db, "rollout.plan", |tx| {
        let rollouts = sql::rollout_open(tx, tenant).await?;
        prepare(state, tx, tenant, &rollouts, now).await?;
        let rollouts = sql::rollout_open(tx, tenant).await?;
        let input = input(state, tx, tenant, &rollouts).await?;
        let mut rng = crate::chance::System;
        let (plan, report) = fleet::plan(&input, now, &mut rng);
        let mut rows: BTreeMap<String, RolloutSql> =
            rollouts.into_iter().map(|row| (row.id.clone(), row)).collect();
        for action in &plan.actions {
            carry_out(tx, tenant, &mut rows, action, now).await?;
        }
        for told in report.rollouts {
            let stored = StoredReport { lines: told.lines, phases: told.phases };
            let text = serde_json::to_string(&stored).map_err(Refusal::internal)?;
            sql::rollout_report(tx, tenant, told.rollout.as_str(), &text).await?;
        }
        Ok::<_, Refusal>(plan.wake_at)
    })
}

async fn dry_report(state: &AppState, tenant: &str, row: &RolloutSql, now: i64) -> Result<(), Refusal> {
    tx!(state.db, "rollout.dry", |tx| {
        let mut input = input(state, tx, tenant, std::slice::from_ref(row)).await?;
        for rollout in &mut input.rollouts {
            *rollout = RolloutRow {
                deltas_ready: true,
                ..fleet::command(rollout, &Command::Start, now).map_err(Refusal::internal)?
            };
        }
        let (_, report) = fleet::plan(&input, now, &mut crate::chance::System);
        for told in report.rollouts {
            let stored = StoredReport { lines: told.lines, phases: told.phases };
            let text = serde_json::to_string(&stored).map_err(Refusal::internal)?;
            sql::rollout_report(tx, tenant, told.rollout.as_str(), &text).await?;
        }
        Ok::<_, Refusal>(())
    })
}

/// Queues the deltas that a rollout waits for, and notes when none is being built any more.
async fn prepare(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    rollouts: &[RolloutSql],
    now: i64,
) -> Result<(), Refusal> {
    for row in rollouts.iter().filter(|row| row.state == "Preparing" && !row.deltas_ready) {
        let Some(output) = release::row(tx, tenant, &row.hardware, &row.release).await? else { continue };
        let mut bases = BTreeSet::new();
        for record in device::ops::all_matching(tx, tenant, &Selector::default()).await? {
            if hardware_of(&record.device) == row.hardware {
                bases.extend(record.device.release.map(|name| name.to_string()));
            }
        }
        let mut waiting = false;
        for base in bases {
            let Some(base) = release::row(tx, tenant, &row.hardware, &base).await? else { continue };
            let deltas = release::queue_between(&state.repo, tx, &base, &output, now).await?;
            waiting |=
                deltas.iter().any(|delta| delta.state == holdfast_proto::api::release::DeltaState::Queued);
        }
        if waiting {
            state.wake_deltas.wake();
        } else {
            let next = RolloutRow { deltas_ready: true, ..row.to_row()? };
            sql::rollout_change(tx, tenant, &row.with(&next)?).await?;
        }
    }
    Ok(())
}

async fn carry_out(
    tx: &mut Tx,
    tenant: &str,
    rows: &mut BTreeMap<String, RolloutSql>,
    action: &Action,
    now: i64,
) -> Result<(), Refusal> {
    match action {
        Action::Offer { .. } => offer(tx, tenant, rows, action, now).await,
        Action::End { device, epoch, sequence, from, to, .. } => {
            let at = (*epoch as i64, *sequence as i64);
            let Some(row) = sql::assignment_at(tx, tenant, device.as_str(), at).await? else { return Ok(()) };
            let next = AssignmentSql {
                state: to.name().to_owned(),
                code: to.code().unwrap_or_default().to_owned(),
                since: now,
                ..row
            };
            let from = (from.name(), from.code().unwrap_or_default());
            if sql::assignment_change(tx, tenant, from, &next).await? {
                sql::event(tx, tenant, &next, "planner", now).await?;
            }
            Ok(())
        }
        Action::Move { rollout, .. }
        | Action::Stage { rollout, .. }
        | Action::AdvancePhase { rollout, .. }
        | Action::Freeze { rollout, .. } => {
            let Some(row) = rows.get(rollout.as_str()).cloned() else { return Ok(()) };
            let mut memory = PlanInput { rollouts: vec![row.to_row()?], ..PlanInput::default() };
            if !fleet::apply(&mut memory, action, now) {
                return Ok(());
            }
            let next = row.with(&memory.rollouts[0])?;
            if !sql::rollout_change(tx, tenant, &next).await? {
                return Err(Refusal::precondition(row.version));
            }
            if let Action::Move { from, to, reason, .. } = action {
                let actor = Actor::Service("planner");
                let text = format!("{from} -> {to}: {reason}");
                let entry = Entry::done(tenant, actor, "rollout.move", format!("rollout/{rollout}"), text);
                audit::append(tx, &entry, now).await?;
            }
            rows.insert(row.id.clone(), next);
            Ok(())
        }
    }
}

/// Writes a row in state Offered under the device's next sequence.
async fn offer(
    tx: &mut Tx,
    tenant: &str,
    rows: &BTreeMap<String, RolloutSql>,
    action: &Action,
    now: i64,
) -> Result<(), Refusal> {
    let Action::Offer { device, rollout, purpose, release, from_release, phase, attempt, lease_s } = action
    else {
        return Ok(());
    };
    let Some(owner) = rows.get(rollout.as_str()) else { return Ok(()) };
    let newest = sql::assignment_newest(tx, tenant, device.as_str()).await?;
    let row = AssignmentSql {
        device_id: device.to_string(),
        epoch: EPOCH,
        // Above what any device says that it trusts, too: a restored backup offers nothing old.
        sequence: newest
            .map_or(0, |row| row.sequence)
            .max(checkin::ops::seen_assignment(tx, tenant, device.as_str()).await?)
            + 1,
        rollout_id: rollout.to_string(),
        purpose: purpose.as_str().to_owned(),
        phase: i64::from(*phase),
        hardware: owner.hardware.clone(),
        release: release.to_string(),
        from_release: from_release.as_ref().map(ToString::to_string).unwrap_or_default(),
        attempt: i64::from(*attempt),
        state: "Offered".to_owned(),
        code: String::new(),
        offered_at: now,
        lease_s: *lease_s as i64,
        armed_at: 0,
        armed_report: 0,
        armed_boot: String::new(),
        armed_reset: 0,
        since: now,
        evidence: String::new(),
        detail: String::new(),
        codec: String::new(),
        bytes: 0,
        full_bytes: 0,
    };
    sql::assignment_insert(tx, tenant, &row).await?;
    Ok(sql::event(tx, tenant, &row, "planner", now).await?)
}

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

/// A device's newest assignment; none once it has ended well or ill (but for a withdrawal, which must be heard).
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
    let detail: String =
        report.detail.clone().unwrap_or_default().chars().take(DETAIL_MAX_BYTES / 4).collect();
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
        next.state = to.name().to_owned();
        next.code = to.code().unwrap_or_default().to_owned();
        next.since = now;
    }
    if before.armed_at.is_none() && moved.armed_at.is_some() {
        next.armed_at = moved.armed_at.unwrap_or(0);
        next.armed_report = report.sequence as i64;
        next.armed_boot = report.boot_id.clone();
        next.armed_reset = reset_count.map_or(-1, i64::from);
    }
    if evidence.is_some() {
        next.evidence = level_word(evidence).to_owned();
    }
    if let Some(transfer) = &report.transfer {
        next.codec = transfer.codec.chars().take(32).collect();
        next.bytes = transfer.bytes.min(i64::MAX as u64) as i64;
        next.full_bytes = transfer.full_bytes.min(i64::MAX as u64) as i64;
    }
    if !detail.is_empty() {
        next.detail = detail.to_owned();
    }
    next
}
