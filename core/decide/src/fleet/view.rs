//! The rows of one planning round, indexed, and the questions that the planner asks of them.

use super::assignment::AssignmentState;
use super::gate::{Admitted, Counts, Limits, Verdict, judge};
use super::model::{
    AssignmentRow, DeviceRow, Membership, PlanInput, Purpose, ReleaseRow, RolloutRow, RolloutState,
};
use holdfast_proto::api::device::DeviceState;
use holdfast_proto::{DeviceId, ReleaseName};
use std::collections::BTreeMap;

/// Rows and indexes over them.
pub(super) struct View<'a> {
    pub(super) rows: &'a PlanInput,
    devices: BTreeMap<&'a DeviceId, &'a DeviceRow>,
    /// By device, oldest first.
    by_device: BTreeMap<&'a DeviceId, Vec<&'a AssignmentRow>>,
}

/// Whether a device may be offered a release now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Eligible<'a> {
    /// At this attempt.
    Yes { attempt: u32 },
    /// Another's unarmed assignment of lower priority must be withdrawn first.
    AfterWithdrawing(&'a AssignmentRow),
    /// It will be, once another assignment ends.
    Later,
    /// Nothing to do, or nothing to be done.
    No,
    /// It cannot be installed; why, in words.
    Impossible(String),
}

impl<'a> View<'a> {
    pub(super) fn new(rows: &'a PlanInput) -> Self {
        let devices = rows.devices.iter().map(|d| (&d.id, d)).collect();
        let mut by_device: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in &rows.assignments {
            by_device.entry(&row.device).or_default().push(row);
        }
        for list in by_device.values_mut() {
            list.sort_by_key(|row| (row.epoch, row.sequence));
        }
        Self { rows, devices, by_device }
    }

    pub(super) fn device(&self, id: &DeviceId) -> Option<&'a DeviceRow> {
        self.devices.get(id).copied()
    }

    pub(super) fn rollout_of(&self, row: &AssignmentRow) -> Option<&'a RolloutRow> {
        self.rows.rollouts.iter().find(|r| r.id == row.rollout)
    }

    pub(super) fn release(&self, hardware: &str, name: &ReleaseName) -> Option<&'a ReleaseRow> {
        self.rows.releases.iter().find(|r| r.hardware == hardware && r.release == *name)
    }

    fn of_device(&self, id: &DeviceId) -> &[&'a AssignmentRow] {
        self.by_device.get(id).map_or(&[], Vec::as_slice)
    }

    /// The assignment that the device holds now.
    pub(super) fn active(&self, id: &DeviceId) -> Option<&'a AssignmentRow> {
        self.of_device(id).iter().rev().find(|row| row.state.is_active()).copied()
    }

    /// The device's newest row of a rollout and purpose.
    pub(super) fn newest(
        &self,
        id: &DeviceId,
        rollout: &RolloutRow,
        purpose: Purpose,
    ) -> Option<&'a AssignmentRow> {
        let mut rows = self.of_device(id).iter().rev();
        rows.find(|row| row.rollout == rollout.id && row.purpose == purpose).copied()
    }

    /// The newest forward row of each device of a rollout.
    pub(super) fn forward(&self, rollout: &'a RolloutRow) -> impl Iterator<Item = &'a AssignmentRow> {
        self.by_device.keys().filter_map(|id| self.newest(id, rollout, Purpose::Forward))
    }

    /// Devices of the cohort, whatever they run.
    pub(super) fn cohort(&self, rollout: &RolloutRow) -> impl Iterator<Item = &'a DeviceRow> {
        self.rows.devices.iter().filter(|d| d.state == DeviceState::Active && rollout.concerns(d))
    }

    /// Places of the current phase that are taken: everything offered in it that is not dormant or withdrawn.
    pub(super) fn taken(&self, rollout: &'a RolloutRow) -> u32 {
        let held = |row: &&AssignmentRow| {
            row.phase == rollout.phase
                && !matches!(row.state, AssignmentState::Dormant { .. } | AssignmentState::Withdrawn { .. })
        };
        count(self.forward(rollout).filter(held))
    }

    /// How many devices the current phase shall have.
    pub(super) fn target(&self, rollout: &RolloutRow) -> u32 {
        let size = rollout.phases.get(rollout.phase as usize).map(|phase| phase.size);
        size.map_or(0, |size| size.of(count(self.cohort(rollout))))
    }

    /// May this device be offered the rollout's release now?
    pub(super) fn eligible(&self, rollout: &RolloutRow, device: &DeviceRow) -> Eligible<'a> {
        let newest = self.newest(&device.id, rollout, Purpose::Forward);
        let attempt = match newest.map(|row| (&row.state, row)) {
            None if rollout.state != RolloutState::Running => return Eligible::No,
            None => 1,
            Some((AssignmentState::LeaseExpired | AssignmentState::Dormant { .. }, row))
                if device.heard_since(row.since) =>
            {
                row.attempt.saturating_add(1)
            }
            Some(_) => return Eligible::No,
        };
        if device.running.as_ref() == Some(&rollout.release) || self.overtaken(rollout, device) {
            return Eligible::No;
        }
        if let Err(why) = self.installable(device, &rollout.hardware, &rollout.release) {
            return Eligible::Impossible(why);
        }
        let Some(active) = self.active(&device.id) else {
            return Eligible::Yes { attempt };
        };
        let outranked = self.rollout_of(active).is_none_or(|other| other.priority < rollout.priority);
        // Superseding only before Arming.
        if outranked && active.state.is_unarmed() {
            Eligible::AfterWithdrawing(active)
        } else {
            Eligible::Later
        }
    }

    /// True if a rollout of more weight, or of the same and younger, has given the device its release since.
    pub(super) fn overtaken(&self, rollout: &RolloutRow, device: &DeviceRow) -> bool {
        self.of_device(&device.id).iter().any(|row| {
            row.rollout != rollout.id
                && row.state == AssignmentState::Confirmed
                && self.rollout_of(row).is_some_and(|other| {
                    (other.priority, other.created_at) > (rollout.priority, rollout.created_at)
                })
        })
    }

    /// Whether a release may be installed on this device by its counters; if not, why.
    pub(super) fn installable(
        &self,
        device: &DeviceRow,
        hardware: &str,
        name: &ReleaseName,
    ) -> Result<(), String> {
        let Some(release) = self.release(hardware, name) else {
            return Err(format!("release {name} is not known for {hardware}"));
        };
        if !release.listed {
            return Err(format!("release {name} is listed by no channel"));
        }
        let (counter, floor) = (release.security_counter, device.floor);
        if counter < floor && release.allow_downgrade_from != Some(floor) {
            return Err(format!("its floor {floor} is above the counter {counter} of {name}"));
        }
        match release.min_counter_from {
            Some(least) if floor < least => {
                Err(format!("{name} comes from counter {least} on, its floor is {floor}"))
            }
            _ => Ok(()),
        }
    }

    /// Devices that shall go back: they run the rollout's release and hold nothing else.
    pub(super) fn to_roll_back(
        &self,
        rollout: &'a RolloutRow,
    ) -> impl Iterator<Item = (&'a DeviceRow, &'a AssignmentRow)> {
        self.forward(rollout).filter_map(|row| {
            let device = self.device(&row.device)?;
            let confirmed_unheard = row.state == AssignmentState::Confirmed && device.running.is_none();
            let runs_it = device.running.as_ref() == Some(&rollout.release) || confirmed_unheard;
            (runs_it && device.state == DeviceState::Active).then_some((device, row))
        })
    }

    /// The gate's counts of the current phase. Earlier phases' devices count where they are still armed, or ended
    /// since this phase began; failures that an operator saw and resumed over do not stop it again.
    pub(super) fn counts(&self, rollout: &'a RolloutRow) -> Counts {
        let acknowledged = |row: &&AssignmentRow| {
            !(is_failure(&row.state) && rollout.resumed_at.is_some_and(|resumed| row.since < resumed))
        };
        let here = |row: &&AssignmentRow| {
            let late = row.state.is_in_flight() || (is_ended(&row.state) && row.since >= rollout.phase_since);
            row.phase == rollout.phase || (row.phase < rollout.phase && late)
        };
        tally(self.forward(rollout).filter(here).filter(acknowledged))
    }

    /// What the gate says of the current phase.
    pub(super) fn verdict(&self, rollout: &'a RolloutRow, waiting: u32) -> Verdict {
        let (target, taken) = (self.target(rollout), self.taken(rollout));
        let room = target.saturating_sub(taken);
        let admitted = if room == 0 || waiting == 0 { Admitted::Wholly } else { Admitted::Partly };
        let limits = Limits {
            max_failure_rate: rollout.policy.max_failure_rate,
            max_failures: rollout.phases.get(rollout.phase as usize).and_then(|phase| phase.max_failures),
        };
        judge(&self.counts(rollout), &limits, taken.saturating_add(room.min(waiting)), admitted)
    }

    /// Devices that the current phase may still offer to, now or later.
    pub(super) fn waiting(&self, rollout: &RolloutRow) -> u32 {
        count(self.cohort(rollout).filter(|device| {
            matches!(
                self.eligible(rollout, device),
                Eligible::Yes { .. } | Eligible::AfterWithdrawing(_) | Eligible::Later
            )
        }))
    }

    /// Devices that may still come to the release after the last phase: dormant, or offered and not armed.
    pub(super) fn stragglers(&self, rollout: &'a RolloutRow) -> u32 {
        count(self.forward(rollout).filter(|row| {
            row.state.is_unarmed()
                || matches!(row.state, AssignmentState::LeaseExpired | AssignmentState::Dormant { .. })
        }))
    }

    /// Members to freeze, if the cohort wants that.
    pub(super) fn to_freeze(&self, rollout: &RolloutRow) -> Option<Vec<DeviceId>> {
        (rollout.cohort.membership == Membership::ToFreeze)
            .then(|| self.cohort(rollout).map(|device| device.id.clone()).collect())
    }
}

/// Counts rows by how they stand; dormant and withdrawn ones are in nothing.
pub(super) fn tally<'r>(rows: impl Iterator<Item = &'r AssignmentRow>) -> Counts {
    use AssignmentState as S;
    let mut counts = Counts::default();
    for row in rows {
        let armed = row.armed_at.is_some();
        match &row.state {
            S::Pending | S::Offered | S::Accepted | S::Fetching | S::Staged | S::LeaseExpired => {
                counts.unarmed += 1;
            }
            S::Arming | S::Trial => counts.in_flight += 1,
            S::Confirmed => counts.confirmed += 1,
            S::RolledBack { .. } => counts.rolled_back += 1,
            state if state.is_lost() => counts.lost += 1,
            S::Failed { .. } | S::Refused { .. } if armed => counts.failed_after_arming += 1,
            S::Failed { .. } | S::Refused { .. } => counts.failed_to_install += 1,
            S::Withdrawn { .. } | S::Dormant { .. } => {}
        }
    }
    counts
}

pub(super) fn is_failure(state: &AssignmentState) -> bool {
    use AssignmentState as S;
    matches!(state, S::RolledBack { .. } | S::Failed { .. } | S::Refused { .. })
}

fn is_ended(state: &AssignmentState) -> bool {
    is_failure(state) || *state == AssignmentState::Confirmed
}

/// A fleet has fewer than 2^32 devices.
pub(super) fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
