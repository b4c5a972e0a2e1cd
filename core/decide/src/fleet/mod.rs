//! The rollout planner: which device is offered which release, and when the fleet stops.
//!
//! Here: `plan` (what to do now, with its report of reasons), `advance` (what a device's report makes of its
//! assignment), `command` (what an operator may order), `apply` (what an action does to rows). Not here: storing,
//! signing, sending. A rule about when a phase may go on stands in `gate.rs`.
//! Invariant: planning again on what a plan left behind gives nothing more to do.

mod action;
mod assignment;
mod command;
pub mod gate;
mod model;
mod offer;
mod report;
mod stage;
mod sweep;
#[cfg(test)]
mod tests;
mod view;

pub use action::{Action, apply};
pub use assignment::{Alarm, AssignmentState, LOST, Refused, Transition, advance, word_for};
pub use command::{Command, CommandError, command};
pub use model::{
    Approval, AssignmentRow, Budget, Cohort, DeviceRow, Membership, PauseReason, PhaseError, PhasePlan,
    PhaseSize, PlanInput, Policy, Purpose, Rate, ReleaseRow, RolloutRow, RolloutState, Stage,
};
pub use report::{PlanReport, RolloutReport};

use crate::limits::PHASES_MAX;
use rand_core::RngCore;

/// What to do now, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// When the passing of time alone gives something to do, Unix seconds.
    pub wake_at: Option<i64>,
}

/// Rounds after which a run ends even if there is more to do; a phase takes at most five.
const MAX_ROUNDS: usize = 5 * PHASES_MAX + 16;

/// Plans over all rollouts. `rng` chooses among devices that are equally good.
pub fn plan(input: &PlanInput, now: i64, rng: &mut dyn RngCore) -> (Plan, PlanReport) {
    let mut rows = input.clone();
    let mut plan = Plan::default();
    for _ in 0..MAX_ROUNDS {
        let mut actions = sweep::sweep(&rows, now);
        if actions.is_empty() {
            actions = stage::moves(&rows, now);
        }
        if actions.is_empty() {
            actions = offer::offers(&rows, now, rng);
        }
        if actions.is_empty() {
            break;
        }
        for action in actions {
            if apply(&mut rows, &action, now) {
                plan.actions.push(action);
            }
        }
    }
    plan.wake_at = sweep::wake_at(&rows, now);
    let report = report::report(&rows, now);
    (plan, report)
}
