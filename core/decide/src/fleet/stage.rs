//! The rollout's own moves: from its check to its end, phase by phase, and to a halt.

use super::action::Action;
use super::assignment::AssignmentState;
use super::gate::Verdict;
use super::model::{Approval, PauseReason, PlanInput, Purpose, RolloutRow, RolloutState, Stage};
use super::report::{go_on_words, stop_words};
use super::sweep::soak_end;
use super::view::{View, count, is_failure};
use crate::limits::PHASES_MAX;

/// One round: at most one move of each rollout.
pub(super) fn moves(rows: &PlanInput, now: i64) -> Vec<Action> {
    let view = View::new(rows);
    rows.rollouts.iter().filter_map(|rollout| next(&view, rollout, now)).collect()
}

fn next<'a>(view: &View<'a>, rollout: &'a RolloutRow, now: i64) -> Option<Action> {
    use RolloutState as R;
    let go = |to, reason: String| {
        Some(Action::Move { rollout: rollout.id.clone(), from: rollout.state, to, reason })
    };
    match rollout.state {
        R::Validating => match fault(view, rollout) {
            Some(fault) => go(R::Rejected, fault),
            None if rollout.approval == Approval::NotNeeded => go(R::Scheduled, "it is sound".into()),
            None => go(R::AwaitingApproval, format!("another than {} must approve it", rollout.author)),
        },
        R::AwaitingApproval => match &rollout.approval {
            Approval::GivenBy(by) if *by != rollout.author => go(R::Scheduled, format!("approved by {by}")),
            Approval::NotNeeded => go(R::Scheduled, "it needs no approval".into()),
            Approval::GivenBy(_) | Approval::Needed => None,
        },
        R::Scheduled if rollout.start_at.is_none_or(|at| now >= at) => {
            go(R::Preparing, "its time has come".into())
        }
        R::Preparing if rollout.deltas_ready => match view.to_freeze(rollout) {
            Some(devices) => Some(Action::Freeze { rollout: rollout.id.clone(), devices }),
            None => go(R::Running, "its deltas are ready".into()),
        },
        R::Running => running(view, rollout, now),
        R::CompletedWithStragglers => straggling(view, rollout),
        R::RollingBack => rolled_back(view, rollout),
        R::Draft
        | R::Scheduled
        | R::Preparing
        | R::Paused(_)
        | R::RolledBack
        | R::Completed
        | R::Cancelled
        | R::Superseded
        | R::Rejected => None,
    }
}

/// Why a rollout may not begin.
fn fault(view: &View<'_>, rollout: &RolloutRow) -> Option<String> {
    let (release, hardware) = (&rollout.release, &rollout.hardware);
    match view.release(hardware, release) {
        None => return Some(format!("release {release} is not published for {hardware}")),
        Some(row) if !row.listed => return Some(format!("release {release} is listed by no channel")),
        Some(_) => {}
    }
    let (phases, rate) = (rollout.phases.len(), rollout.policy.max_failure_rate);
    if phases == 0 || phases > PHASES_MAX {
        return Some(format!("it has {phases} phases, 1 to {PHASES_MAX} are allowed"));
    }
    if !(0.0..1.0).contains(&rate) {
        return Some(format!("its failure limit {rate} is not from 0 to below 1"));
    }
    (view.cohort(rollout).next().is_none()).then(|| format!("it selects no active device of {hardware}"))
}

fn halt(rollout: &RolloutRow, reason: String) -> Action {
    let to = RolloutState::Paused(PauseReason::Gate);
    Action::Move { rollout: rollout.id.clone(), from: rollout.state, to, reason }
}

/// Admit -> Soak -> Gate, and on; the stop is asked first, at every stage.
fn running<'a>(view: &View<'a>, rollout: &'a RolloutRow, now: i64) -> Option<Action> {
    let stage = |to| {
        Some(Action::Stage { rollout: rollout.id.clone(), phase: rollout.phase, from: rollout.stage, to })
    };
    match (view.verdict(rollout, view.waiting(rollout)), rollout.stage) {
        (Verdict::Stop(stop), _) => Some(halt(rollout, stop_words(&stop, rollout.phase))),
        (Verdict::Wait(_), Stage::Soak | Stage::Gate) => stage(Stage::Admit),
        (Verdict::Wait(_), Stage::Admit) => None,
        (Verdict::GoOn(_), Stage::Admit) => stage(Stage::Soak),
        (Verdict::GoOn(_), Stage::Soak) if now >= soak_end(rollout) => stage(Stage::Gate),
        (Verdict::GoOn(_), Stage::Soak) => None,
        (Verdict::GoOn(well), Stage::Gate) => {
            let next = rollout.phase + 1;
            if (next as usize) < rollout.phases.len() {
                return Some(Action::AdvancePhase {
                    rollout: rollout.id.clone(),
                    from: rollout.phase,
                    to: next,
                });
            }
            let (to, left) = match view.stragglers(rollout) {
                0 => (RolloutState::Completed, String::new()),
                n => (RolloutState::CompletedWithStragglers, format!("; {n} devices are still to come")),
            };
            let reason = format!("last phase: {}{left}", go_on_words(&well));
            Some(Action::Move { rollout: rollout.id.clone(), from: rollout.state, to, reason })
        }
    }
}

/// Stragglers are held to the last phase's gate.
fn straggling<'a>(view: &View<'a>, rollout: &'a RolloutRow) -> Option<Action> {
    match view.verdict(rollout, 0) {
        Verdict::Stop(stop) => Some(halt(rollout, stop_words(&stop, rollout.phase))),
        Verdict::GoOn(_) if view.stragglers(rollout) == 0 && view.waiting(rollout) == 0 => {
            Some(Action::Move {
                rollout: rollout.id.clone(),
                from: rollout.state,
                to: RolloutState::Completed,
                reason: "the last straggler has ended".into(),
            })
        }
        Verdict::GoOn(_) | Verdict::Wait(_) => None,
    }
}

/// Rolled back once nobody is under way and whoever can go back has gone, or is not heard of.
fn rolled_back<'a>(view: &View<'a>, rollout: &'a RolloutRow) -> Option<Action> {
    // A lease that ran out holds nothing up by itself: whoever still runs the release is asked for below, and whoever
    // does not has nothing left to do. Its row stays when a later attempt follows.
    let mut rows = view.rows.assignments.iter();
    let under_way = rows.any(|row| row.rollout == rollout.id && row.state.is_active());
    if under_way {
        return None;
    }
    let (mut stuck, mut silent) = (0, 0);
    for (device, row) in view.to_roll_back(rollout) {
        let Some(previous) = &row.from_release else {
            stuck += 1;
            continue;
        };
        if view.installable(device, &rollout.hardware, previous).is_err() {
            stuck += 1;
            continue;
        }
        match view.newest(&device.id, rollout, Purpose::Rollback).map(|row| &row.state) {
            Some(AssignmentState::Dormant { .. }) => silent += 1,
            // It went back; that it runs the release again is another rollout's doing.
            Some(AssignmentState::Confirmed) => {}
            Some(state) if is_failure(state) => stuck += 1,
            _ => return None,
        }
    }
    let gone = count(view.rows.assignments.iter().filter(|row| {
        row.rollout == rollout.id
            && row.purpose == Purpose::Rollback
            && row.state == AssignmentState::Confirmed
    }));
    let reason = format!("{gone} devices went back, {stuck} cannot, {silent} were not heard of");
    Some(Action::Move {
        rollout: rollout.id.clone(),
        from: rollout.state,
        to: RolloutState::RolledBack,
        reason,
    })
}
