//! Who is offered a release now: within the phase, the rate and the disruption budget.

use super::action::Action;
use super::assignment::AssignmentState;
use super::model::{
    AssignmentRow, Budget, DeviceRow, PlanInput, Purpose, Rate, RolloutRow, RolloutState, Stage,
};
use super::view::{Eligible, View, count};
use holdfast_proto::DeviceId;
use rand_core::RngCore;
use std::collections::{BTreeMap, BTreeSet};

/// Window of the rate, seconds.
const MINUTE_S: i64 = 60;

/// One round over all rollouts, the weightiest first; a device appears in it once.
pub(super) fn offers(rows: &PlanInput, now: i64, rng: &mut dyn RngCore) -> Vec<Action> {
    let view = View::new(rows);
    let mut actions = Vec::new();
    let mut touched = BTreeSet::new();
    let mut rollouts: Vec<_> = rows.rollouts.iter().collect();
    rollouts.sort_by_key(|r| (std::cmp::Reverse(r.priority), r.created_at, r.id.clone()));
    for rollout in rollouts {
        let made = match (rollout.state, rollout.stage) {
            (RolloutState::Running, Stage::Admit) | (RolloutState::CompletedWithStragglers, _) => {
                forward(&view, rollout, now, rng, &touched)
            }
            (RolloutState::RollingBack, _) => back(&view, rollout, &touched),
            _ => Vec::new(),
        };
        touched.extend(made.iter().filter_map(device_of).cloned());
        actions.extend(made);
    }
    actions
}

fn device_of(action: &Action) -> Option<&DeviceId> {
    match action {
        Action::Offer { device, .. } | Action::End { device, .. } => Some(device),
        _ => None,
    }
}

/// Offers of the rollout's own release.
fn forward(
    view: &View<'_>,
    rollout: &RolloutRow,
    now: i64,
    rng: &mut dyn RngCore,
    touched: &BTreeSet<DeviceId>,
) -> Vec<Action> {
    let mut candidates: Vec<_> = view
        .cohort(rollout)
        .filter(|device| !touched.contains(&device.id))
        .filter_map(|device| match view.eligible(rollout, device) {
            eligible @ (Eligible::Yes { .. } | Eligible::AfterWithdrawing(_)) => Some((device, eligible)),
            Eligible::Later | Eligible::No | Eligible::Impossible(_) => None,
        })
        .collect();
    shuffle(&mut candidates, rng);
    // Devices that were heard of lately first: a canary that sleeps tells nothing.
    let lately = now.saturating_sub_unsigned(rollout.policy.lease_s);
    candidates.sort_by_key(|(device, _)| !device.heard_since(lately));

    let mut room = view.target(rollout).saturating_sub(view.taken(rollout));
    let mut rate = rate_room(view, rollout, now);
    let mut budget = BudgetRoom::new(view, rollout, touched);
    let mut actions = Vec::new();
    for (device, eligible) in candidates {
        let newest = view.newest(&device.id, rollout, Purpose::Forward);
        // A lease that ran out in this phase keeps its place.
        let has_place = newest
            .is_some_and(|row| row.phase == rollout.phase && row.state == AssignmentState::LeaseExpired);
        if (room == 0 && !has_place) || rate == 0 || !budget.take(device) {
            continue;
        }
        room -= u32::from(!has_place);
        rate -= 1;
        actions.push(match eligible {
            Eligible::Yes { attempt } => Action::Offer {
                device: device.id.clone(),
                rollout: rollout.id.clone(),
                purpose: Purpose::Forward,
                release: rollout.release.clone(),
                from_release: device.running.clone(),
                phase: rollout.phase,
                attempt,
                lease_s: rollout.policy.lease_s,
            },
            Eligible::AfterWithdrawing(row) => supersede(row),
            Eligible::Later | Eligible::No | Eligible::Impossible(_) => continue,
        });
    }
    actions
}

fn supersede(row: &AssignmentRow) -> Action {
    Action::End {
        device: row.device.clone(),
        rollout: row.rollout.clone(),
        epoch: row.epoch,
        sequence: row.sequence,
        from: row.state.clone(),
        to: AssignmentState::Withdrawn { code: "superseded".to_owned() },
    }
}

/// Offers of the release before, to devices that run the one that is taken back. The phases do not hold here, the
/// budget does.
fn back(view: &View<'_>, rollout: &RolloutRow, touched: &BTreeSet<DeviceId>) -> Vec<Action> {
    let mut budget = BudgetRoom::new(view, rollout, touched);
    let mut actions = Vec::new();
    for (device, row) in view.to_roll_back(rollout) {
        let Some(previous) = &row.from_release else { continue };
        let attempt = match view.newest(&device.id, rollout, Purpose::Rollback) {
            None => 1,
            Some(before) => match before.state {
                AssignmentState::LeaseExpired | AssignmentState::Dormant { .. }
                    if device.heard_since(before.since) =>
                {
                    before.attempt.saturating_add(1)
                }
                // Another rollout superseded it, and did not bring the device away from the release.
                AssignmentState::Withdrawn { .. } => before.attempt.saturating_add(1),
                _ => continue,
            },
        };
        if view.active(&device.id).is_some()
            || touched.contains(&device.id)
            || view.installable(device, &rollout.hardware, previous).is_err()
            || !budget.take(device)
        {
            continue;
        }
        actions.push(Action::Offer {
            device: device.id.clone(),
            rollout: rollout.id.clone(),
            purpose: Purpose::Rollback,
            release: previous.clone(),
            from_release: device.running.clone(),
            phase: row.phase,
            attempt,
            lease_s: rollout.policy.lease_s,
        });
    }
    actions
}

/// How many more offers this minute may see: base × factor for every so many successes, capped.
fn rate_room(view: &View<'_>, rollout: &RolloutRow, now: i64) -> u32 {
    let Some(rate) = rollout.policy.rate else { return u32::MAX };
    let own = || {
        view.rows
            .assignments
            .iter()
            .filter(|row| row.rollout == rollout.id && row.purpose == Purpose::Forward)
    };
    let successes = count(own().filter(|row| row.state == AssignmentState::Confirmed));
    let lately = count(own().filter(|row| row.offered_at > now.saturating_sub(MINUTE_S)));
    rate.per_minute(successes).saturating_sub(lately)
}

impl Rate {
    /// Offers a minute after so many successes; at least one.
    pub fn per_minute(&self, successes: u32) -> u32 {
        let steps = i32::try_from(successes / self.per_successes.max(1)).unwrap_or(i32::MAX);
        let grown = f64::from(self.base_per_minute) * self.factor.max(1.0).powi(steps);
        // The cast saturates, and the cap follows.
        (grown as u32).min(self.max_per_minute).max(1)
    }
}

/// What the disruption budget leaves, by value of its label.
struct BudgetRoom<'a> {
    budget: Option<&'a Budget>,
    disrupted: BTreeMap<String, u32>,
}

impl<'a> BudgetRoom<'a> {
    /// Devices under way in any rollout, devices lost and not heard of since, and devices that another rollout took
    /// in this very round are disrupted.
    fn new(view: &View<'_>, rollout: &'a RolloutRow, touched: &BTreeSet<DeviceId>) -> Self {
        let budget = rollout.policy.budget.as_ref();
        let mut disrupted = BTreeMap::new();
        if let Some(budget) = budget {
            let mut down = BTreeSet::new();
            for row in &view.rows.assignments {
                let Some(device) = view.device(&row.device) else { continue };
                let lost = row.state.is_lost() && !device.heard_since(row.since);
                if row.state.is_active() || lost {
                    down.insert(&row.device);
                }
            }
            down.extend(touched);
            for device in down.into_iter().filter_map(|id| view.device(id)) {
                *disrupted.entry(group(budget, device)).or_default() += 1;
            }
        }
        Self { budget, disrupted }
    }

    /// Takes one place in the device's group, if there is one. An offer that supersedes another's takes none
    /// twice: the place is freed and taken again in the next round.
    fn take(&mut self, device: &DeviceRow) -> bool {
        let Some(budget) = self.budget else { return true };
        let taken = self.disrupted.entry(group(budget, device)).or_default();
        let free = *taken < budget.max_disrupted;
        *taken += u32::from(free);
        free
    }
}

/// Devices without the label form one group.
fn group(budget: &Budget, device: &DeviceRow) -> String {
    device.label(&budget.label).unwrap_or_default().to_owned()
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut dyn RngCore) {
    for i in (1..items.len()).rev() {
        // The high half of a 64 x 64 bit product is below i + 1.
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        items.swap(i, j as usize);
    }
}
