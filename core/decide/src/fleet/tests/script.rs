//! Golden scripts: `scripts/*.txt` hold commands (`> ..`) and, below each, what the planner said.
//!
//! `UPDATE_GOLDEN=1 cargo test -p holdfast-decide scripts` writes the answers anew. Commands:
//! `fleet N [label=value]`, `suspend D`, `label D key=value`, `release NAME COUNTER`, `yank NAME`, `rollout ID RELEASE key=value..`, `start|pause|resume|rollback|
//! cancel ID`, `approve ID BY`, `wait SECONDS`, `plan`, `D.. poll`, `D.. PROGRESS [CODE]`, `D.. updates`, `row D`.
//! `D..` is one device, `d1-d5`, `offered` (whoever holds an offer) or `held` (whoever holds an assignment).

use super::world::World;
use super::*;
use holdfast_proto::api::rollout::PhaseSpec;
use holdfast_proto::report::Progress;
use std::fmt::Write as _;

struct Player {
    world: World,
    out: String,
}

fn play(text: &str) -> String {
    let mut player = Player { world: World::new(7), out: String::new() };
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            player.out.push_str(line);
            player.out.push('\n');
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(player.out, "> {command}").unwrap();
            let words: Vec<&str> = command.split_whitespace().collect();
            player.obey(&words);
        }
    }
    player.out
}

impl Player {
    fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.out, "  {line}").unwrap();
    }

    fn obey(&mut self, words: &[&str]) {
        match *words {
            ["fleet", count, ref labels @ ..] => self.fleet(count, labels),
            ["release", name, counter] => {
                let row = release(name, counter.parse().unwrap());
                self.world.rows.releases.retain(|known| known.release != row.release);
                self.world.rows.releases.push(row);
            }
            ["yank", name] => {
                let release = self.world.rows.releases.iter_mut().find(|r| r.release.as_str() == name);
                release.expect("a release").listed = false;
            }
            ["suspend", id] => self.world.device(id).state = DeviceState::Suspended,
            ["label", id, label] => {
                let (key, value) = label.split_once('=').expect("key=value");
                self.world.device(id).labels.insert(key.to_owned(), value.to_owned());
            }
            ["rollout", id, release, ref options @ ..] => {
                let made = draft(id, release, options, self.world.now);
                self.world.rows.rollouts.push(made);
            }
            ["set", id, ref options @ ..] => {
                let place =
                    self.world.rows.rollouts.iter().position(|r| r.id.as_str() == id).expect("a rollout");
                for option in options {
                    set(&mut self.world.rows.rollouts[place], option);
                }
            }
            ["start", id] => self.order(id, &Command::Start),
            ["approve", id, by] => self.order(id, &Command::Approve { by: by.to_owned() }),
            ["pause", id] => self.order(id, &Command::Pause),
            ["resume", id] => self.order(id, &Command::Resume),
            ["rollback", id] => self.order(id, &Command::Rollback),
            ["cancel", id] => self.order(id, &Command::Cancel),
            ["wait", seconds] => {
                self.world.now += seconds.parse::<i64>().unwrap();
                let now = self.world.now;
                self.say(format_args!("it is {now}"));
            }
            ["plan"] => self.plan(),
            ["row", device] => {
                let row = self.world.newest(device).cloned();
                let line = row.map_or("none".to_owned(), |row| {
                    let armed = row.armed_at.map_or("never armed".to_owned(), |at| format!("armed at {at}"));
                    format!("{} attempt {} lease until {} {armed}", row.state, row.attempt, row.lease_until)
                });
                self.say(line);
            }
            [devices, "poll"] => self.each(devices, super::world::World::poll),
            [devices, "updates"] => self.each(devices, |world, id| {
                for step in ["accepted", "fetching", "staged", "arming", "trial", "confirmed"] {
                    world
                        .report(id, &progress(step, None))
                        .unwrap_or_else(|why| panic!("{id} {step}: {why}"));
                }
            }),
            [devices, word] => self.report(devices, &progress(word, None)),
            [devices, word, code] => self.report(devices, &progress(word, Some(code))),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn fleet(&mut self, count: &str, labels: &[&str]) {
        let known = self.world.rows.devices.len();
        let now = self.world.now;
        for n in 1..=count.parse::<usize>().unwrap() {
            let mut row = device(&format!("d{}", known + n), "r1");
            (row.joined_at, row.last_seen) = (now, Some(now));
            for label in labels {
                let (key, value) = label.split_once('=').expect("key=value");
                if key == "floor" {
                    row.floor = value.parse().unwrap();
                } else if key == "state" {
                    row.state = DeviceState::Suspended;
                } else {
                    row.labels.insert(key.to_owned(), value.to_owned());
                }
            }
            self.world.rows.devices.push(row);
        }
    }

    fn order(&mut self, id: &str, order: &Command) {
        match self.world.order(id, order) {
            Ok(()) => {
                let state = self.world.rollout(id).state;
                self.say(state);
            }
            Err(why) => self.say(format_args!("refused: {why}")),
        }
    }

    fn report(&mut self, devices: &str, progress: &Progress) {
        for id in self.named(devices) {
            match self.world.report(&id, progress) {
                Ok(Transition { alarm: Some(alarm), .. }) => self.say(format_args!("{id} alarm {alarm:?}")),
                Ok(Transition { to: None, .. }) => self.say(format_args!("{id} changes nothing")),
                Ok(_) => {}
                Err(why) => self.say(format_args!("{id} refused: {why}")),
            }
        }
    }

    fn each(&mut self, devices: &str, act: impl Fn(&mut World, &str)) {
        for id in self.named(devices) {
            act(&mut self.world, &id);
        }
    }

    fn named(&self, devices: &str) -> Vec<String> {
        if devices == "offered" {
            let offered = self.world.rows.assignments.iter().filter(|row| row.state.is_unarmed());
            return offered.map(|row| row.device.to_string()).collect();
        }
        if devices == "held" {
            let held = self.world.rows.assignments.iter().filter(|row| row.state.is_active());
            return held.map(|row| row.device.to_string()).collect();
        }
        let number =
            |id: &str| id.trim_start_matches('d').parse::<u32>().unwrap_or_else(|_| panic!("{devices}?"));
        match devices.split_once('-') {
            Some((from, to)) => (number(from)..=number(to)).map(|n| format!("d{n}")).collect(),
            None => vec![devices.to_owned()],
        }
    }

    fn plan(&mut self) {
        let (plan, report) = self.world.plan();
        for action in &plan.actions {
            self.say(action);
        }
        if plan.actions.is_empty() {
            self.say("nothing to do");
        }
        if let Some(at) = plan.wake_at {
            self.say(format_args!("wake at {at}"));
        }
        for rollout in report.rollouts {
            for line in rollout.lines {
                self.say(format_args!("| {}: {line}", rollout.rollout));
            }
        }
        let (again, _) = super::plan(&self.world.rows, self.world.now, &mut self.world.chance);
        assert_eq!(again.actions, [], "planning again gives more to do");
    }
}

fn draft(id: &str, release: &str, options: &[&str], now: i64) -> RolloutRow {
    let mut row =
        RolloutRow { created_at: now, phases: PhasePlan::parse_all(&[]).unwrap(), ..rollout(id, release) };
    for option in options {
        set(&mut row, option);
    }
    row
}

fn set(row: &mut RolloutRow, option: &str) {
    let (key, value) = option.split_once('=').expect("key=value");
    let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{option}?"));
    match key {
        "phases" => {
            row.phases = PhasePlan::parse_all(&value.split(',').map(phase).collect::<Vec<_>>()).unwrap();
        }
        "where" => row.cohort.selector = Selector::parse(value).unwrap(),
        "members" => {
            row.cohort.membership = match value {
                "frozen" => Membership::ToFreeze,
                "early" => Membership::LiveWithoutLateJoiners,
                _ => Membership::Live,
            }
        }
        "priority" => row.priority = value.parse().unwrap(),
        "lease" => row.policy.lease_s = number(),
        "stall" => row.policy.stall_after_s = number(),
        "attempts" => row.policy.max_attempts = number() as u32,
        "lost" => row.policy.lost_after_s = number(),
        "limit" => row.policy.max_failure_rate = value.parse().unwrap(),
        "approval" => row.approval = Approval::Needed,
        "at" => row.start_at = Some(number() as i64),
        "deltas" => row.deltas_ready = value == "ready",
        // base*factor/successes<cap
        "rate" => {
            let numbers: Vec<u32> = value.split(['*', '/', '<']).map(|n| n.parse().unwrap()).collect();
            let [base_per_minute, factor, per_successes, max_per_minute] = numbers[..] else {
                panic!("{option}?")
            };
            row.policy.rate =
                Some(Rate { base_per_minute, factor: f64::from(factor), per_successes, max_per_minute });
        }
        "budget" => {
            let (label, max) = value.split_once('<').expect("label<n");
            row.policy.budget = Some(Budget { label: label.to_owned(), max_disrupted: max.parse().unwrap() });
        }
        _ => panic!("{option}?"),
    }
}

/// `size[:soak][!max_failures]`
fn phase(text: &str) -> PhaseSpec {
    let (text, max_failures) = match text.split_once('!') {
        Some((text, max)) => (text, Some(max.parse().unwrap())),
        None => (text, None),
    };
    let (size, soak) = text.split_once(':').unwrap_or((text, "0"));
    PhaseSpec { size: size.to_owned(), soak_s: soak.parse().unwrap(), max_failures }
}

fn progress(word: &str, code: Option<&str>) -> Progress {
    let code = code.unwrap_or("test").to_owned();
    match word {
        "idle" => Progress::Idle,
        "accepted" => Progress::Accepted,
        "fetching" => Progress::Fetching,
        "staged" => Progress::Staged,
        "arming" => Progress::Arming,
        "trial" => Progress::Trial,
        "confirmed" => Progress::Confirmed,
        "rolled-back" => Progress::RolledBack { code },
        "refused" => Progress::Refused { code },
        "failed" => Progress::Failed { code },
        _ => panic!("{word}?"),
    }
}

macro_rules! scripts {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            let path = format!("{}/src/fleet/tests/scripts/{}.txt", env!("CARGO_MANIFEST_DIR"), stringify!($name).replace('_', "-"));
            let kept = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
            let played = play(&kept);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                #[expect(clippy::disallowed_methods, reason = "a test's golden file, on demand")]
                std::fs::write(&path, &played).unwrap();
                return;
            }
            assert_eq!(kept, played, "run with UPDATE_GOLDEN=1 and review the difference");
        }
    )+};
}

scripts! {
    one_then_the_rest
    a_canary_that_fails_halts_the_fleet
    a_census_of_five_goes_on
    the_lower_bound_stops_a_large_phase
    max_failures_stops_a_large_phase
    lost_after_arming
    stragglers_and_dormant_devices
    leases_and_attempts
    pause_reaches_offers_and_resume_keeps_the_failed_in_view
    rollback_is_a_new_assignment
    superseding_only_before_arming
    late_joiners
    a_frozen_cohort
    rate_and_disruption_budget
    approval_schedule_and_deltas
    soak
    what_cannot_be_installed_is_not_offered
    cancel
    a_place_that_nobody_can_take_again_is_given_up
    a_rollback_is_not_held_up_by_a_device_that_another_brought_back
    a_rollback_that_was_superseded_is_offered_again
    a_rollback_whose_lease_ran_out_once_still_ends
}
