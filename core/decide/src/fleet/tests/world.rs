//! A fleet in virtual time: rows, reports that go through `advance`, polls that renew leases, plans that are applied.

use super::*;
use holdfast_proto::api::rollout::EvidenceLevel;
use holdfast_proto::report::Progress;

pub(crate) struct World {
    pub(crate) rows: PlanInput,
    pub(crate) now: i64,
    pub(crate) chance: Chance,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rows: PlanInput::default(), now: 0, chance: Chance(seed) }
    }

    /// Plans and applies the plan, as the service does: action by action.
    pub(crate) fn plan(&mut self) -> (Plan, PlanReport) {
        let (plan, report) = super::plan(&self.rows, self.now, &mut self.chance);
        for action in &plan.actions {
            assert!(apply(&mut self.rows, action, self.now), "the plan's own action is refused: {action}");
        }
        (plan, report)
    }

    pub(crate) fn device(&mut self, id: &str) -> &mut DeviceRow {
        let found = self.rows.devices.iter_mut().find(|d| d.id.as_str() == id);
        found.unwrap_or_else(|| panic!("no device {id}"))
    }

    pub(crate) fn rollout(&self, id: &str) -> &RolloutRow {
        let found = self.rows.rollouts.iter().find(|r| r.id.as_str() == id);
        found.unwrap_or_else(|| panic!("no rollout {id}"))
    }

    /// The device's newest assignment.
    pub(crate) fn newest(&self, id: &str) -> Option<&AssignmentRow> {
        let rows = self.rows.assignments.iter().filter(|row| row.device.as_str() == id);
        rows.max_by_key(|row| (row.epoch, row.sequence))
    }

    /// The device is heard of, and confirms what it holds: the lease runs anew.
    pub(crate) fn poll(&mut self, id: &str) {
        let now = self.now;
        self.device(id).last_seen = Some(now);
        let held = self.newest(id).map(|row| (row.sequence, row.rollout.clone()));
        let Some((sequence, rollout)) = held else { return };
        let lease_s = self.rollout(rollout.as_str()).policy.lease_s;
        let row = self
            .rows
            .assignments
            .iter_mut()
            .find(|row| row.device.as_str() == id && row.sequence == sequence);
        if let Some(row) = row.filter(|row| row.state.is_active()) {
            row.lease_until = now.saturating_add_unsigned(lease_s);
        }
    }

    /// A genuine report about the device's newest assignment.
    pub(crate) fn report(&mut self, id: &str, progress: &Progress) -> Result<Transition, Refused> {
        let now = self.now;
        self.device(id).last_seen = Some(now);
        let row = self.newest(id).unwrap_or_else(|| panic!("{id} holds no assignment")).clone();
        let rollout = self.rollout(row.rollout.as_str());
        let evidence = (*progress == Progress::Confirmed).then_some(EvidenceLevel::Claimed);
        let transition = advance(&row, progress, evidence, rollout.state, &rollout.policy, now)?;
        let counter =
            self.rows.releases.iter().find(|r| r.release == row.release).map_or(0, |r| r.security_counter);
        let kept =
            self.rows.assignments.iter_mut().find(|r| r.device == row.device && r.sequence == row.sequence);
        let kept = kept.expect("the row");
        kept.armed_at = transition.armed_at;
        if let Some(to) = &transition.to {
            (kept.state, kept.since) = (to.clone(), now);
            if *to == AssignmentState::Confirmed {
                kept.evidence = evidence;
                let device = self.device(id);
                device.running = Some(row.release.clone());
                device.floor = device.floor.max(counter);
            } else if matches!(to, AssignmentState::RolledBack { .. }) {
                self.device(id).running = row.from_release;
            }
        }
        Ok(transition)
    }

    pub(crate) fn order(&mut self, id: &str, order: &Command) -> Result<(), CommandError> {
        let next = command(self.rollout(id), order, self.now)?;
        let place = self.rows.rollouts.iter().position(|r| r.id == next.id).expect("the rollout");
        self.rows.rollouts[place] = next;
        Ok(())
    }
}
