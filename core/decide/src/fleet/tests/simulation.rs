//! A fleet in virtual time with a nature of its own: every run is seeded, nothing sleeps, and after every plan the
//! planner's promises are looked at. Left alone afterwards, every rollout comes to an end.

use super::world::World;
use super::*;
use holdfast_proto::report::Progress;
use proptest::prelude::*;
use rand_core::RngCore as _;
use std::collections::BTreeSet;

/// How a device takes a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Well,
    FailsHealth,
    DiesSilently,
    CannotInstall,
    /// Not heard of for long stretches.
    Sleeps,
}

struct Fleet {
    world: World,
    natures: Vec<Nature>,
    /// Rollouts and the sizes of their phases, as ordered.
    log: Vec<String>,
}

const HOUR: i64 = 3600;

impl Fleet {
    fn new(seed: u64, devices: usize) -> Self {
        let mut fleet = Self { world: World::new(seed), natures: Vec::new(), log: Vec::new() };
        let counters = [("r1", 1), ("r2", 2), ("r3", 3), ("old", 1), ("down", 1)];
        fleet.world.rows.releases = counters.iter().map(|(name, counter)| release(name, *counter)).collect();
        fleet.world.rows.releases[4].allow_downgrade_from = Some(3);
        for n in 0..devices {
            let mut row = device(&format!("d{n}"), "r1");
            row.floor = 1 + fleet.below(4) as u64 / 2;
            row.labels.insert("rack".into(), format!("k{}", fleet.below(3)));
            row.labels
                .insert("ring".into(), if fleet.below(3) == 0 { "canary".into() } else { "stable".into() });
            if fleet.below(10) == 0 {
                row.state = DeviceState::Suspended;
            }
            fleet.world.rows.devices.push(row);
            let nature = match fleet.below(10) {
                0 => Nature::FailsHealth,
                1 => Nature::DiesSilently,
                2 => Nature::CannotInstall,
                3 => Nature::Sleeps,
                _ => Nature::Well,
            };
            fleet.natures.push(nature);
        }
        fleet
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.world.chance.next_u64() % limit as u64) as usize
    }

    fn draft(&mut self, id: &str) {
        let names = ["r2", "r3", "old", "down"];
        let name = names[self.below(4)];
        let mut row = RolloutRow { created_at: self.world.now, ..rollout(id, name) };
        let size = |text: &str| PhasePlan {
            size: PhaseSize::parse(text).unwrap(),
            soak_s: 60,
            max_failures: Some(2),
        };
        row.phases = match self.below(4) {
            0 => vec![size("1"), size("rest")],
            1 => vec![size("10%"), size("50%"), size("rest")],
            2 => vec![size("3"), PhasePlan { max_failures: None, ..size("rest") }],
            _ => vec![size("rest")],
        };
        let canary = Selector::parse("ring=canary").unwrap();
        row.cohort.selector = if self.below(3) == 0 { canary } else { Selector::default() };
        row.cohort.membership = match self.below(3) {
            0 => Membership::ToFreeze,
            1 => Membership::LiveWithoutLateJoiners,
            _ => Membership::Live,
        };
        row.priority = self.below(3) as i32;
        row.policy.lease_s = 600;
        row.policy.stall_after_s = 4 * HOUR as u64;
        if self.below(3) == 0 {
            row.policy.budget =
                Some(Budget { label: "rack".into(), max_disrupted: 1 + self.below(2) as u32 });
        }
        if self.below(3) == 0 {
            row.policy.rate =
                Some(Rate { base_per_minute: 1, factor: 2.0, per_successes: 2, max_per_minute: 4 });
        }
        self.world.rows.rollouts.push(row);
        self.world.order(id, &Command::Start).unwrap();
        self.log.push(format!("{} start {id} {name}", self.world.now));
    }

    /// One device does what its nature does with what it holds.
    fn act(&mut self, place: usize) {
        let id = self.world.rows.devices[place].id.to_string();
        let nature = self.natures[place];
        if nature == Nature::Sleeps && self.below(20) > 0 {
            return;
        }
        let Some(held) = self.world.newest(&id).map(|row| row.state.clone()) else {
            self.world.poll(&id);
            return;
        };
        let code = |text: &str| text.to_owned();
        let next = match (held, nature) {
            (AssignmentState::Arming | AssignmentState::Trial, Nature::DiesSilently) => return,
            (AssignmentState::Offered, Nature::CannotInstall) => {
                Some(Progress::Failed { code: code("no-space") })
            }
            (AssignmentState::Trial, Nature::FailsHealth) => {
                Some(Progress::RolledBack { code: code("health-failed") })
            }
            (AssignmentState::Offered, _) => Some(Progress::Accepted),
            (AssignmentState::Accepted, _) => Some(Progress::Fetching),
            (AssignmentState::Fetching, _) => Some(Progress::Staged),
            (AssignmentState::Staged, _) if self.may_arm(&id) => Some(Progress::Arming),
            (AssignmentState::Arming, _) => Some(Progress::Trial),
            (AssignmentState::Trial, _) => Some(Progress::Confirmed),
            _ => None,
        };
        self.world.poll(&id);
        if let Some(progress) = next {
            let told = self.world.report(&id, &progress);
            assert!(
                told.as_ref().is_ok_and(|t| t.alarm.is_none()),
                "{id} {progress:?}: {told:?}\n{}",
                self.story()
            );
        }
    }

    /// A device arms only while the envelope says that it may: the service's own word.
    fn may_arm(&self, id: &str) -> bool {
        let row = self.world.newest(id).expect("held");
        let rollout = self.world.rollout(row.rollout.as_str());
        word_for(rollout.state, row) == holdfast_proto::assignment::AssignmentWord::Active
            && self.world.now <= row.lease_until
    }

    fn story(&self) -> String {
        self.log.join("\n")
    }

    /// Plans, and looks at every promise.
    fn plan(&mut self) -> Plan {
        let before = self.world.rows.clone();
        let now = self.world.now;
        let (plan, report) = self.world.plan();
        self.log.extend(plan.actions.iter().map(|action| format!("{now} {action}")));
        let story = || self.log.join("\n");
        assert_eq!(report.rollouts.len(), self.world.rows.rollouts.len());
        let (again, _) = super::plan(&self.world.rows, now, &mut Chance(now as u64));
        assert_eq!(again.actions, [], "planning again gives more to do\n{}", story());
        assert!(plan.wake_at.is_none_or(|at| at > now), "it would wake at once, for ever");
        self.one_assignment_each();
        for action in &plan.actions {
            match action {
                Action::Offer { device, rollout, release, purpose, phase, .. } => {
                    self.offered(&before, device, rollout, release, *purpose, *phase);
                }
                Action::End { from, to, .. } => {
                    let lost = *to == AssignmentState::Failed { code: LOST.into() };
                    // Superseding, withdrawing, dormancy: only before Arming. What armed ends as lost at most.
                    assert_eq!(from.is_in_flight(), lost, "{action}\n{}", story());
                }
                Action::AdvancePhase { from, to, .. } => assert_eq!(*to, from + 1),
                Action::Move { .. } | Action::Stage { .. } | Action::Freeze { .. } => {}
            }
        }
        self.budgets(&before, &plan);
        plan
    }

    fn one_assignment_each(&self) {
        let mut holds = BTreeSet::new();
        for row in self.world.rows.assignments.iter().filter(|row| row.state.is_active()) {
            assert!(holds.insert(&row.device), "{} holds two assignments\n{}", row.device, self.story());
        }
        let mut numbers = BTreeSet::new();
        for row in &self.world.rows.assignments {
            assert!(
                numbers.insert((&row.device, row.epoch, row.sequence)),
                "a sequence twice\n{}",
                self.story()
            );
        }
    }

    fn offered(
        &self,
        before: &PlanInput,
        id: &DeviceId,
        by: &RolloutId,
        name: &ReleaseName,
        purpose: Purpose,
        phase: u32,
    ) {
        let story = || self.story();
        let device = before.devices.iter().find(|d| d.id == *id).expect("a device");
        let release = before.releases.iter().find(|r| r.release == *name).expect("a release");
        let rollout = self.world.rollout(by.as_str());
        // Floor: no offer below it but by a manifest signed for exactly this floor.
        let permitted =
            release.security_counter >= device.floor || release.allow_downgrade_from == Some(device.floor);
        assert!(permitted, "{id} with floor {} is offered {name}\n{}", device.floor, story());
        assert!(release.listed, "{name} is yanked\n{}", story());
        assert_eq!(device.state, DeviceState::Active, "{id}\n{}", story());
        // A halted rollout offers nothing; forward offers come from one that runs, others from one that rolls back.
        let was = before.rollouts.iter().find(|r| r.id == *by).expect("a rollout").state;
        match purpose {
            Purpose::Forward => {
                assert!(
                    !matches!(was, RolloutState::Paused(_) | RolloutState::Cancelled),
                    "{by} was {was}\n{}",
                    story()
                );
                assert!(rollout.concerns(device), "{id} is not of {by}\n{}", story());
                assert!(phase <= rollout.phase, "{by} offers in phase {phase}\n{}", story());
                assert_ne!(device.running.as_ref(), Some(name), "{id} runs it\n{}", story());
            }
            Purpose::Rollback => assert_eq!(was, RolloutState::RollingBack, "{by}\n{}", story()),
        }
    }

    /// Played again offer by offer: whoever has a budget offers into a free place of it, whoever holds the others. What
    /// a lighter rollout without a budget offers afterwards is its own affair.
    fn budgets(&self, before: &PlanInput, plan: &Plan) {
        let mut rows = before.clone();
        for action in &plan.actions {
            if let Action::Offer { device, rollout, .. } = action {
                let by = rows.rollouts.iter().find(|r| r.id == *rollout).expect("a rollout");
                if let Some(budget) = &by.policy.budget {
                    let held = disrupted(&rows, budget, device);
                    assert!(
                        held < budget.max_disrupted,
                        "{action}: {held} of its group are disrupted already\n{}",
                        self.story()
                    );
                }
            }
            assert!(apply(&mut rows, action, self.world.now), "{action}");
        }
    }

    /// An operator, now and then.
    fn operator(&mut self) {
        let place = self.below(self.world.rows.rollouts.len());
        let id = self.world.rows.rollouts[place].id.to_string();
        let order = match self.below(12) {
            0 => Command::Pause,
            1..=4 => Command::Resume,
            5 => Command::Rollback,
            6 => Command::Cancel,
            _ => return,
        };
        if self.world.order(&id, &order).is_ok() {
            self.log.push(format!("{} {order:?} {id}", self.world.now));
        }
    }

    fn late_joiner(&mut self) {
        let mut row = device(&format!("d{}", self.world.rows.devices.len()), "r1");
        (row.joined_at, row.last_seen) = (self.world.now, Some(self.world.now));
        row.labels.insert("rack".into(), "k0".into());
        self.world.rows.devices.push(row);
        self.natures.push(Nature::Well);
    }

    fn step(&mut self) {
        self.world.now += [1, 10, 60, 300, 601, HOUR][self.below(6)];
        for place in 0..self.world.rows.devices.len() {
            if self.below(3) > 0 {
                self.act(place);
            }
        }
        match self.below(30) {
            0 => self.late_joiner(),
            1 => self.world.rows.releases[1].listed ^= true,
            2..=7 => self.operator(),
            _ => {}
        }
        self.plan();
    }

    fn at_rest(&self) -> bool {
        let under_way = self.world.rows.assignments.iter().any(|row| row.state.is_active());
        !under_way && self.world.rows.rollouts.iter().all(|rollout| has_ended(rollout.state))
    }

    /// Everybody well and awake, nobody gives orders: by the planner's own alarm clock it comes to an end.
    fn left_alone(&mut self) {
        self.natures.fill(Nature::Well);
        self.world.rows.releases[1].listed = true;
        // Four hundred minutes at most; a fleet that is at rest needs no more of them.
        for _ in 0..400 {
            if self.at_rest() {
                break;
            }
            let wake_at = self.plan().wake_at;
            let next = self.world.now + 60;
            self.world.now = wake_at.map_or(next, |at| at.min(next));
            (0..self.world.rows.devices.len()).for_each(|place| self.act(place));
        }
        use RolloutState as R;
        for rollout in &self.world.rows.rollouts {
            assert!(
                has_ended(rollout.state),
                "{} stays {} in phase {}\n{}",
                rollout.id,
                rollout.state,
                rollout.phase,
                self.story()
            );
            if rollout.state == R::Completed {
                assert_eq!(rollout.phase as usize + 1, rollout.phases.len());
            }
        }
        let still = self.world.rows.assignments.iter().filter(|row| row.state.is_in_flight()).count();
        assert_eq!(still, 0, "{}", self.story());
    }
}

/// Devices of this one's group that are under way, or lost and not heard of since.
fn disrupted(rows: &PlanInput, budget: &Budget, id: &DeviceId) -> u32 {
    let find = |id: &DeviceId| rows.devices.iter().find(|d| d.id == *id).expect("a device");
    let group = find(id).label(&budget.label);
    let down = rows.assignments.iter().filter(|row| {
        let device = find(&row.device);
        let lost = row.state.is_lost() && !device.heard_since(row.since);
        device.label(&budget.label) == group && (row.state.is_active() || lost)
    });
    down.map(|row| &row.device).collect::<BTreeSet<_>>().len() as u32
}

/// No state of these waits for anything but an operator or a straggler.
fn has_ended(state: RolloutState) -> bool {
    use RolloutState as R;
    matches!(
        state,
        R::RolledBack | R::Completed | R::Cancelled | R::Rejected | R::Paused(_) | R::CompletedWithStragglers
    )
}

proptest! {
    #![proptest_config(crate::cases(24))]

    #[test]
    fn a_fleet_with_faults_keeps_every_promise_and_comes_to_rest(seed: u64, devices in 1_usize..14, rollouts in 1_usize..4) {
        let mut fleet = Fleet::new(seed, devices);
        for n in 0..rollouts {
            fleet.draft(["a", "b", "c"][n]);
            for _ in 0..12 {
                fleet.step();
            }
        }
        for _ in 0..20 {
            fleet.step();
        }
        fleet.left_alone();
    }

    /// A healthy fleet, whatever its size and phases: all get the release, the phases in order, nobody twice.
    #[test]
    fn a_healthy_fleet_is_updated_whole(seed: u64, devices in 1_usize..25) {
        let mut fleet = Fleet::new(seed, devices);
        fleet.natures.fill(Nature::Well);
        for row in &mut fleet.world.rows.devices {
            (row.state, row.floor) = (DeviceState::Active, 1);
        }
        fleet.draft("a");
        let everybody = Cohort { selector: Selector::default(), membership: Membership::Live };
        let row = &mut fleet.world.rows.rollouts[0];
        (row.release, row.cohort) = (ReleaseName::from("r2"), everybody);
        fleet.left_alone();
        prop_assert_eq!(fleet.world.rollout("a").state, RolloutState::Completed, "{}", fleet.story());
        for device in &fleet.world.rows.devices {
            prop_assert_eq!(device.running.as_ref().map(ReleaseName::as_str), Some("r2"));
        }
        prop_assert_eq!(fleet.world.rows.assignments.len(), devices);
        let phase_of_offers: Vec<u32> = fleet.world.rows.assignments.iter().map(|row| row.phase).collect();
        prop_assert!(phase_of_offers.is_sorted());
    }

    /// A release that kills silently never passes the first phase, whatever its size.
    #[test]
    fn a_release_that_kills_silently_stays_in_its_first_phase(seed: u64, devices in 2_usize..40, first in 1_usize..30) {
        let mut fleet = Fleet::new(seed, devices);
        fleet.natures.fill(Nature::DiesSilently);
        for row in &mut fleet.world.rows.devices {
            (row.state, row.floor) = (DeviceState::Active, 1);
        }
        let first = first.min(devices);
        fleet.draft("a");
        let row = &mut fleet.world.rows.rollouts[0];
        let plain = |size| PhasePlan { size, soak_s: 0, max_failures: None };
        row.phases = vec![plain(PhaseSize::Count(first as u32)), plain(PhaseSize::Rest)];
        (row.release, row.policy) = (ReleaseName::from("r2"), Policy::default());
        row.cohort = Cohort { selector: Selector::default(), membership: Membership::Live };
        for _ in 0..16 {
            fleet.plan();
            fleet.world.now += 300;
            (0..devices).for_each(|place| fleet.act(place));
        }
        fleet.plan();
        prop_assert_eq!(fleet.world.rollout("a").state, RolloutState::Paused(PauseReason::Gate), "{}", fleet.story());
        let touched: BTreeSet<_> = fleet.world.rows.assignments.iter().map(|row| &row.device).collect();
        prop_assert_eq!(touched.len(), first);
    }
}
