//! What the planner wants done, and what each action does to the rows.
//!
//! The service applies an action by compare-and-set on what the action names as *from*; [`apply`] is the same on
//! rows in memory, so that a plan, a dry run and the service agree on what an action means.

use super::assignment::AssignmentState;
use super::model::{AssignmentRow, Membership, PlanInput, Purpose, RolloutRow, RolloutState, Stage};
use holdfast_proto::{DeviceId, ReleaseName, RolloutId};
use std::fmt;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write a row in state Offered with the device's next sequence, unless the device holds an active one.
    Offer {
        device: DeviceId,
        rollout: RolloutId,
        purpose: Purpose,
        release: ReleaseName,
        from_release: Option<ReleaseName>,
        phase: u32,
        attempt: u32,
        lease_s: u64,
    },
    /// Move the row `(device, epoch, sequence)` from `from` to `to` (Withdrawn, LeaseExpired, Dormant, Failed(lost)).
    End {
        device: DeviceId,
        rollout: RolloutId,
        epoch: u64,
        sequence: u64,
        from: AssignmentState,
        to: AssignmentState,
    },
    /// Move the rollout; `reason` is for people and stored.
    Move { rollout: RolloutId, from: RolloutState, to: RolloutState, reason: String },
    /// Move the stage of the current phase.
    Stage { rollout: RolloutId, phase: u32, from: Stage, to: Stage },
    /// Begin the next phase at Admit.
    AdvancePhase { rollout: RolloutId, from: u32, to: u32 },
    /// Store the cohort: these devices and no others from now on.
    Freeze { rollout: RolloutId, devices: Vec<DeviceId> },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer { device, rollout, purpose, release, phase, attempt, lease_s, .. } => {
                let back = if *purpose == Purpose::Rollback { "back " } else { "" };
                write!(
                    f,
                    "offer {device} {back}{release} by {rollout} phase {} attempt {attempt} lease {lease_s} s",
                    phase + 1
                )
            }
            Self::End { device, rollout, from, to, .. } => {
                write!(f, "end {device} by {rollout}: {from} -> {to}")
            }
            Self::Move { rollout, from, to, reason } => write!(f, "move {rollout}: {from} -> {to}: {reason}"),
            Self::Stage { rollout, phase, from, to } => {
                write!(f, "stage {rollout} phase {}: {from} -> {to}", phase + 1)
            }
            Self::AdvancePhase { rollout, from, to } => {
                write!(f, "phase {rollout}: {} -> {}", from + 1, to + 1)
            }
            Self::Freeze { rollout, devices } => write!(f, "freeze {rollout}: {} devices", devices.len()),
        }
    }
}

/// Applies one action; false if what it names as *from* no longer holds, as in a lost compare-and-set.
pub fn apply(rows: &mut PlanInput, action: &Action, now: i64) -> bool {
    match action {
        Action::Offer { .. } => offer(rows, action, now),
        Action::End { device, epoch, sequence, from, to, .. } => {
            let row = rows.assignments.iter_mut().find(|row| {
                row.device == *device
                    && row.epoch == *epoch
                    && row.sequence == *sequence
                    && row.state == *from
            });
            row.is_some_and(|row| {
                row.state = to.clone();
                row.since = now;
                true
            })
        }
        Action::Move { rollout, from, to, reason } => on_rollout(rows, rollout, |r| {
            let holds = r.state == *from;
            if holds {
                if *from == RolloutState::Preparing {
                    (r.phase, r.stage, r.phase_since, r.stage_since) = (0, Stage::Admit, now, now);
                }
                r.state = *to;
                r.reason = Some(reason.clone());
            }
            holds
        }),
        Action::Stage { rollout, phase, from, to } => on_rollout(rows, rollout, |r| {
            let holds = r.phase == *phase && r.stage == *from;
            if holds {
                (r.stage, r.stage_since) = (*to, now);
            }
            holds
        }),
        Action::AdvancePhase { rollout, from, to } => on_rollout(rows, rollout, |r| {
            let holds = r.phase == *from;
            if holds {
                (r.phase, r.stage, r.phase_since, r.stage_since) = (*to, Stage::Admit, now, now);
            }
            holds
        }),
        Action::Freeze { rollout, devices } => on_rollout(rows, rollout, |r| {
            let holds = r.cohort.membership == Membership::ToFreeze;
            if holds {
                r.cohort.membership = Membership::Frozen(devices.iter().cloned().collect());
            }
            holds
        }),
    }
}

fn on_rollout(rows: &mut PlanInput, id: &RolloutId, change: impl FnOnce(&mut RolloutRow) -> bool) -> bool {
    rows.rollouts.iter_mut().find(|r| r.id == *id).is_some_and(change)
}

fn offer(rows: &mut PlanInput, action: &Action, now: i64) -> bool {
    let Action::Offer { device, rollout, purpose, release, from_release, phase, attempt, lease_s } = action
    else {
        return false;
    };
    let (mut epoch, mut sequence) = (1, 0);
    for row in rows.assignments.iter().filter(|row| row.device == *device) {
        if row.state.is_active() {
            return false;
        }
        (epoch, sequence) = (epoch, sequence).max((row.epoch, row.sequence));
    }
    rows.assignments.push(AssignmentRow {
        device: device.clone(),
        rollout: rollout.clone(),
        purpose: *purpose,
        release: release.clone(),
        from_release: from_release.clone(),
        phase: *phase,
        epoch,
        sequence: sequence + 1,
        attempt: *attempt,
        state: AssignmentState::Offered,
        offered_at: now,
        lease_until: now.saturating_add_unsigned(*lease_s),
        armed_at: None,
        since: now,
        evidence: None,
    });
    true
}
