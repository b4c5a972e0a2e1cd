//! One run of the planner: rows in, `decide::fleet` decides, its actions carried out by compare-and-set.

use super::rows::StoredReport;
use super::sql::{self, AssignmentSql, RolloutSql};
use crate::audit::{self, Actor, Entry};
use crate::checkin;
use crate::db::Tx;
use crate::device;
use crate::refusal::Refusal;
use crate::release;
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::Selector;
use holdfast_decide::fleet::{
    self, Action, Command, DeviceRow, PlanInput, PlanReport, ReleaseRow, RolloutRow,
};
use holdfast_proto::api::device::Device;
use std::collections::{BTreeMap, BTreeSet};

/// Key epoch of assignments until their keys can be rotated.
const EPOCH: i64 = crate::repo::sign::ASSIGNMENT_EPOCH as i64;
/// Assignments of one device that a restored backup may lack.
const SEQUENCES_LOST_MAX: i64 = 10_000;

/// One run of the planner: what it wants is stored by compare-and-set, all of it in one transaction.
pub async fn plan_once(state: &AppState, tenant: &str) -> Result<Option<i64>, Refusal> {
    let now = state.now();
    if sql::rollout_open(&mut state.db.read().await?, tenant).await?.is_empty() {
        return Ok(None);
    }
    let (wake_at, waiting) = tx!(state.db, "rollout.plan", |tx| {
        let rollouts = sql::rollout_open(tx, tenant).await?;
        let waiting = prepare(state, tx, tenant, &rollouts, now).await?;
        let rollouts = sql::rollout_open(tx, tenant).await?;
        let input = input(state, tx, tenant, &rollouts).await?;
        let mut rng = crate::chance::System;
        let (plan, report) = fleet::plan(&input, now, &mut rng);
        let mut rows: BTreeMap<String, RolloutSql> =
            rollouts.into_iter().map(|row| (row.id.clone(), row)).collect();
        for action in &plan.actions {
            carry_out(tx, tenant, &mut rows, action, now).await?;
        }
        keep_words(tx, tenant, report).await?;
        Ok::<_, Refusal>((plan.wake_at, waiting))
    })?;
    if waiting {
        // Only now does the worker find what was queued.
        state.wake_deltas.wake();
    }
    Ok(wake_at)
}

pub(super) async fn dry_report(
    state: &AppState,
    tenant: &str,
    row: &RolloutSql,
    now: i64,
) -> Result<(), Refusal> {
    tx!(state.db, "rollout.dry", |tx| {
        let mut input = input(state, tx, tenant, std::slice::from_ref(row)).await?;
        for rollout in &mut input.rollouts {
            *rollout = RolloutRow {
                deltas_ready: true,
                ..fleet::command(rollout, &Command::Start, now).map_err(Refusal::internal)?
            };
        }
        let (_, report) = fleet::plan(&input, now, &mut crate::chance::System);
        keep_words(tx, tenant, report).await?;
        Ok::<_, Refusal>(())
    })
}

/// Keeps the planner's words of each rollout, for operators.
async fn keep_words(tx: &mut Tx, tenant: &str, report: PlanReport) -> Result<(), Refusal> {
    for told in report.rollouts {
        let stored = StoredReport { lines: told.lines, phases: told.phases };
        let text = serde_json::to_string(&stored).map_err(Refusal::internal)?;
        sql::rollout_report(tx, tenant, told.rollout.as_str(), &text).await?;
    }
    Ok(())
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

/// Queues the deltas that a rollout waits for, and notes when none is being built any more; whether one is.
async fn prepare(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    rollouts: &[RolloutSql],
    now: i64,
) -> Result<bool, Refusal> {
    let mut any = false;
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
        any |= waiting;
        if !waiting {
            let next = RolloutRow { deltas_ready: true, ..row.to_row()? };
            sql::rollout_change(tx, tenant, &row.with(&next)?).await?;
        }
    }
    Ok(any)
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
    let newest = sql::assignment_newest(tx, tenant, device.as_str()).await?.map_or(0, |row| row.sequence);
    // Above what the device says that it trusts, too: a restored backup offers nothing old. A device that says more
    // than any backup could lack is not followed to the end of the numbers.
    let seen = checkin::ops::seen_assignment(tx, tenant, device.as_str())
        .await?
        .min(newest.saturating_add(SEQUENCES_LOST_MAX));
    let row = AssignmentSql {
        device_id: device.to_string(),
        epoch: EPOCH,
        sequence: newest.max(seen) + 1,
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
