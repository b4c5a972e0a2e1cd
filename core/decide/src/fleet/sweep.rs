//! What time and circumstances end: lost devices, leases that ran out, offers that nobody may take any more.

use super::action::Action;
use super::assignment::{AssignmentState, LOST};
use super::model::{AssignmentRow, PlanInput, Purpose, RolloutRow, RolloutState, Stage};
use super::view::View;
use holdfast_proto::api::device::DeviceState;

/// One round.
pub(super) fn sweep(rows: &PlanInput, now: i64) -> Vec<Action> {
    let view = View::new(rows);
    let due = rows.assignments.iter().filter_map(|row| {
        let rollout = view.rollout_of(row)?;
        let to = verdict(&view, rollout, row, now)?;
        Some(Action::End {
            device: row.device.clone(),
            rollout: row.rollout.clone(),
            epoch: row.epoch,
            sequence: row.sequence,
            from: row.state.clone(),
            to,
        })
    });
    due.collect()
}

/// When time alone will give something to do.
pub(super) fn wake_at(rows: &PlanInput, now: i64) -> Option<i64> {
    let view = View::new(rows);
    let assignments = rows.assignments.iter().filter_map(|row| deadline(view.rollout_of(row)?, row));
    let rollouts = rows.rollouts.iter().filter_map(|rollout| match (rollout.state, rollout.stage) {
        (RolloutState::Running, Stage::Soak) => Some(soak_end(rollout)),
        (RolloutState::Running, Stage::Admit) if rollout.policy.rate.is_some() => {
            Some(now.saturating_add(60))
        }
        (RolloutState::Scheduled, _) => rollout.start_at,
        _ => None,
    });
    assignments.chain(rollouts).filter(|at| *at > now).min()
}

/// When the current phase's soak is over.
pub(super) fn soak_end(rollout: &RolloutRow) -> i64 {
    let soak_s = rollout.phases.get(rollout.phase as usize).map_or(0, |phase| phase.soak_s);
    rollout.stage_since.saturating_add_unsigned(soak_s)
}

fn deadline(rollout: &RolloutRow, row: &AssignmentRow) -> Option<i64> {
    match &row.state {
        state if state.is_in_flight() => Some(lost_at(rollout, row)),
        state if state.is_unarmed() => Some(row.lease_until.min(stalled_at(rollout, row))),
        AssignmentState::LeaseExpired => Some(row.since.saturating_add_unsigned(rollout.policy.lease_s)),
        _ => None,
    }
}

fn lost_at(rollout: &RolloutRow, row: &AssignmentRow) -> i64 {
    row.armed_at.unwrap_or(row.since).saturating_add_unsigned(rollout.policy.lost_after_s)
}

fn stalled_at(rollout: &RolloutRow, row: &AssignmentRow) -> i64 {
    row.offered_at.saturating_add_unsigned(rollout.policy.stall_after_s)
}

/// What a row becomes now, if anything.
fn verdict(view: &View<'_>, rollout: &RolloutRow, row: &AssignmentRow, now: i64) -> Option<AssignmentState> {
    if row.state.is_in_flight() {
        // Silence after Arming, in whatever state the rollout is.
        return (now >= lost_at(rollout, row)).then(|| AssignmentState::Failed { code: LOST.to_owned() });
    }
    if row.state.is_unarmed() {
        return withdrawal(view, rollout, row).or_else(|| overdue(rollout, row, now));
    }
    if row.state != AssignmentState::LeaseExpired {
        return None;
    }
    if let Some(to) = passed_over(view, rollout, row) {
        return Some(to);
    }
    // Not heard of since the offer, too many attempts, or not heard of for another lease: it keeps its desired
    // release and leaves the phase.
    let device = view.device(&row.device);
    let heard = device.is_some_and(|d| d.heard_since(row.offered_at));
    let back = device.is_some_and(|d| d.heard_since(row.since));
    let code = if !heard {
        "silent"
    } else if row.attempt >= rollout.policy.max_attempts {
        "attempts"
    } else if !back && now >= row.since.saturating_add_unsigned(rollout.policy.lease_s) {
        "silent"
    } else {
        return None;
    };
    Some(AssignmentState::Dormant { code: code.to_owned() })
}

/// A lease that ran out holds its place for the next offer. Where none can follow, the gate would wait for ever: the
/// device leaves the phase, for good if nothing is left to do, dormant if that may change.
fn passed_over(view: &View<'_>, rollout: &RolloutRow, row: &AssignmentRow) -> Option<AssignmentState> {
    let gated = matches!(rollout.state, RolloutState::Running | RolloutState::CompletedWithStragglers);
    let newest = view.newest(&row.device, rollout, Purpose::Forward);
    if !gated || newest.is_none_or(|newest| (newest.epoch, newest.sequence) != (row.epoch, row.sequence)) {
        return None;
    }
    let withdrawn = |code: &str| Some(AssignmentState::Withdrawn { code: code.to_owned() });
    let dormant = |code: &str| Some(AssignmentState::Dormant { code: code.to_owned() });
    let device = view.device(&row.device).filter(|device| device.state == DeviceState::Active);
    let Some(device) = device else { return withdrawn("device-not-active") };
    if device.running.as_ref() == Some(&rollout.release) {
        return withdrawn("already-running");
    }
    if view.overtaken(rollout, device) {
        return withdrawn("superseded");
    }
    if !rollout.concerns(device) {
        return dormant("not-in-cohort");
    }
    if view.installable(device, &rollout.hardware, &rollout.release).is_err() {
        return dormant("not-installable");
    }
    None
}

/// Offers that nobody may take any more.
fn withdrawal(view: &View<'_>, rollout: &RolloutRow, row: &AssignmentRow) -> Option<AssignmentState> {
    use RolloutState as R;
    let active = view.device(&row.device).is_some_and(|d| d.state == DeviceState::Active);
    let code = match (rollout.state, row.purpose) {
        _ if !active => "device-not-active",
        (R::Cancelled, _) => "cancelled",
        (R::Superseded, _) => "superseded",
        (R::Rejected, _) => "rejected",
        (R::RollingBack | R::RolledBack, Purpose::Forward) => "rolled-back",
        _ => return None,
    };
    Some(AssignmentState::Withdrawn { code: code.to_owned() })
}

fn overdue(rollout: &RolloutRow, row: &AssignmentRow, now: i64) -> Option<AssignmentState> {
    if now >= row.lease_until {
        return Some(AssignmentState::LeaseExpired);
    }
    (now >= stalled_at(rollout, row)).then(|| AssignmentState::Dormant { code: "stalled".to_owned() })
}
