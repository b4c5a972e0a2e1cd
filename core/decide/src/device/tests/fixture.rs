//! A machine brought to where a row begins, and what is read off it.

use super::*;
use holdfast_proto::report::Progress;

pub(super) const ONE_SHOT: Activation = Activation::Reboot(BootKind::OneShot);

pub(super) fn now(boottime_ms: u64) -> Now {
    Now { boottime_ms, wall: Wall::Synchronised(1_700_000_000) }
}

pub(super) fn home() -> Booted {
    Booted {
        boot_id: "boot-0".to_owned(),
        slot: Slot::A,
        on_trial: false,
        other_tries: None,
        running: Some(installed(&manifest("r1", 1, 1))),
        other: None,
    }
}

pub(super) fn fresh(policy: Policy) -> Machine {
    Machine::resume(Saved::Nothing, home(), policy, now(0))
}

pub(super) fn resumed(state: State, booted: Booted) -> Machine {
    let mut record = fresh(policy(ONE_SHOT)).record().clone();
    record.state = state;
    Machine::resume(Saved::Record(Box::new(record)), booted, policy(ONE_SHOT), now(0))
}

pub(super) fn job() -> Job {
    let manifest = manifest("r2", 2, 2);
    Job {
        assignment: reference(1, 1),
        digest: manifest.artefacts[0].sha256,
        manifest,
        target: Slot::B,
        transfer: holdfast_proto::report::Transfer { codec: "full".into(), bytes: 0, full_bytes: 4096 },
        wrong: 0,
    }
}

pub(super) fn drain(machine: &mut Machine) -> Vec<Effect> {
    std::iter::from_fn(|| machine.poll_effect()).collect()
}

pub(super) fn checked(assigned: Assigned) -> Event {
    Event::Checked { assigned: Some(Box::new(assigned)), poll_after_ms: 60_000 }
}

pub(super) fn r2() -> Assigned {
    assigned(manifest("r2", 2, 2), 1, 1)
}

pub(super) fn survey() -> Event {
    let artefacts = vec![ArtefactSurvey {
        unknown_name: false,
        present: false,
        room_bytes: None,
        base: Some(Digest([1; 32])),
        deltas: vec![DeltaOffer {
            base: Digest([1; 32]),
            output: Digest([2; 32]),
            codec: "bsdiff".into(),
            bytes: 99,
            ram_bytes: 1,
        }],
    }];
    Event::Surveyed(Survey { free_bytes: None, artefacts })
}

/// A machine that fetches r2 by a delta.
pub(super) fn fetching() -> Machine {
    let mut machine = fresh(policy(ONE_SHOT));
    for event in [checked(r2()), survey(), Event::SlotMarkedBad] {
        drain(&mut machine);
        machine.handle(event, now(1));
    }
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::Fetch { source: Source::Delta { .. }, .. })));
    machine
}

/// A machine that has r2 staged and waits for the confirmation.
pub(super) fn staged() -> Machine {
    let mut machine = fetching();
    machine.handle(whole(), now(2));
    machine.handle(Event::Verified, now(3));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
    assert_eq!(machine.record().state.word(), "staged");
    machine
}

pub(super) fn whole() -> Event {
    Event::FetchEnded(Fetched { bytes: 99, end: FetchEnd::Whole })
}

pub(super) fn fetch_failed(failure: FetchFailure) -> Event {
    Event::FetchEnded(Fetched { bytes: 5, end: FetchEnd::Failed(failure) })
}

pub(super) fn failed_with(machine: &mut Machine) -> String {
    let codes: Vec<String> = drain(machine)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Report(facts) => match facts.progress {
                Progress::Failed { code } | Progress::Refused { code } | Progress::RolledBack { code } => {
                    Some(code)
                }
                _ => None,
            },
            _ => None,
        })
        .collect();
    codes.join(",")
}

/// The second slot runs r2, as the boot loader found it in boot `n`.
pub(super) fn away(n: u32) -> Booted {
    Booted { boot_id: format!("boot-{n}"), slot: Slot::B, on_trial: true, ..home() }
}

/// A machine that resumes `state` under `policy` at `at_ms` of the boot time.
pub(super) fn resumed_with(state: State, booted: Booted, policy: Policy, at_ms: u64) -> Machine {
    let mut record = fresh(policy.clone()).record().clone();
    record.state = state;
    Machine::resume(Saved::Record(Box::new(record)), booted, policy, now(at_ms))
}

/// Waits as long as the machine says, at least a millisecond.
pub(super) fn wait(machine: &mut Machine) -> u64 {
    let at = machine.poll_timeout().expect("a machine that waits").boottime_ms;
    machine.handle(Event::TimePassed, now(at));
    at
}

pub(super) fn state(machine: &Machine) -> &'static str {
    machine.record().state.word()
}
