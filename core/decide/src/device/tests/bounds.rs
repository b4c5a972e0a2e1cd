//! Bounds, waits and what is counted: each at the very place where it changes.

use super::super::steps::STEPS_MAX;
use super::fixture::*;
use super::*;
use holdfast_proto::report::Progress;

/// A machine in Trial of r2, and what it wants to know first.
fn in_trial(gate: CommitGate) -> (Machine, Effect) {
    let policy = Policy { commit_gate: gate, ..policy(ONE_SHOT) };
    let mut machine = resumed_with(State::Rebooting { job: job() }, away(1), policy, 1_000);
    let first = drain(&mut machine).pop().unwrap();
    (machine, first)
}

#[test]
fn a_release_of_the_floor_itself_is_installed_and_from_the_least_counter_itself() {
    let machine = |manifest| {
        let mut machine = fresh(policy(ONE_SHOT));
        machine.handle(checked(assigned(manifest, 1, 1)), now(1));
        machine
    };
    assert_eq!(
        machine(manifest("r2", 2, 1)).record().state.word(),
        "planning",
        "two releases share a counter"
    );
    let from = |wanted| Manifest { min_counter_from: Some(wanted), ..manifest("r2", 2, 2) };
    assert_eq!(machine(from(1)).record().state.word(), "planning");
    assert_eq!(failed_with(&mut machine(from(2))), "not-from-here");
}

#[test]
fn changes_are_counted_up_to_the_limit_and_by_release() {
    for (changes, fails) in [(99, false), (100, false), (101, true)] {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.state = State::Verifying { job: job() };
        record.standing.tally = Some(Tally { manifest: job().digest, changes, trial_boots: 0 });
        let saved = Saved::Record(Box::new(record));
        let mut machine = Machine::resume(saved, home(), policy(ONE_SHOT), now(0));
        assert_eq!(failed_with(&mut machine) == "too-many-changes", fails, "{changes} changes");
    }
    // What another release used up is not held against this one.
    let mut record = fresh(policy(ONE_SHOT)).record().clone();
    record.standing.tally = Some(Tally { manifest: Digest([9; 32]), changes: 101, trial_boots: 3 });
    let mut machine = Machine::resume(Saved::Record(Box::new(record)), home(), policy(ONE_SHOT), now(0));
    machine.handle(checked(r2()), now(1));
    let fresh = Tally { manifest: job().digest, changes: 1, trial_boots: 0 };
    assert_eq!(machine.record().standing.tally, Some(fresh));
}

#[test]
fn artefacts_that_are_there_are_passed_over_in_one_change() {
    let mut big = manifest("r2", 2, 2);
    let one = big.artefacts[0].clone();
    big.artefacts = (0..500).map(|n| Artefact { name: format!("part-{n}"), ..one.clone() }).collect();
    let job = Job { manifest: big.clone(), ..job() };
    let fetched = |machine: &mut Machine| match drain(machine).pop() {
        Some(Effect::Fetch { artefact, .. }) => artefact.name,
        other => panic!("{other:?}"),
    };
    let mut sources = vec![Source::Present; 500];
    (sources[1], sources[400]) = (Source::Full { bytes: 4096 }, Source::Full { bytes: 4096 });
    let mut machine = resumed(State::Fetching { job, artefact: 0, sources }, home());
    drain(&mut machine);
    machine.handle(Event::SlotMarkedBad, now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
    machine.handle(checked(assigned(big, 1, 1)), now(1));
    assert_eq!(fetched(&mut machine), "part-1");
    machine.handle(whole(), now(2));
    assert_eq!(fetched(&mut machine), "part-400");
    machine.handle(whole(), now(3));
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::Verify { .. })));
}

#[test]
fn states_that_only_lead_to_each_other_end_in_a_long_wait() {
    let mut machine = fresh(policy(ONE_SHOT));
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 60_000 }, now(1_000));
    drain(&mut machine);
    let mut steps = 0;
    machine.advance_by(|_| {
        steps += 1;
        true
    });
    assert_eq!(steps, STEPS_MAX);
    let said = Note::Failed { what: "machine", detail: "it does not come to rest".into() };
    assert_eq!(drain(&mut machine), [Effect::Note(said)]);
    let later_ms = 1_000 + Policy::default().poll_max_ms;
    assert_eq!(machine.poll_timeout(), Some(Deadline { boottime_ms: later_ms }));
    assert_eq!(machine.volatile.hold_ms, later_ms);
}

#[test]
fn attempts_are_forgotten_with_an_end_and_kept_when_the_service_only_withdraws() {
    let spent = Some(Tally { manifest: job().digest, changes: 1, trial_boots: 2 });
    for (reason, kept) in [(Revert::Withdrawn, true), (Revert::HealthFailed, false)] {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.state = State::Reverted { job: job(), reason, detail: None };
        record.standing.tally = spent.clone();
        let machine = Machine::resume(Saved::Record(Box::new(record)), home(), policy(ONE_SHOT), now(0));
        assert!(machine.record().standing.ended.is_some());
        assert_eq!(machine.record().standing.tally.is_some(), kept, "{}", reason.code());
    }
}

#[test]
fn bytes_that_come_wrong_are_fetched_as_often_as_the_policy_says() {
    let wrong = [
        (FetchFailure::DigestMismatch { detail: "block".into() }, "digest-mismatch"),
        (FetchFailure::Storage { detail: "EIO".into() }, "storage-failed"),
    ];
    for (failure, code) in wrong {
        let mut machine = fetching();
        // By the delta first, then as a whole: once and two retries.
        for n in 0..3 {
            machine.handle(fetch_failed(failure.clone()), now(2));
            let effects = drain(&mut machine);
            assert!(matches!(effects.last(), Some(Effect::Fetch { source: Source::Full { .. }, .. })), "{n}");
        }
        machine.handle(fetch_failed(failure), now(2));
        assert_eq!(failed_with(&mut machine), code);
    }
    let mut machine = fetching();
    for _ in 0..2 {
        machine.handle(whole(), now(2));
        machine.handle(Event::VerifyFailed { detail: "rootfs".into() }, now(3));
        assert!(matches!(drain(&mut machine).pop(), Some(Effect::Survey { .. })));
        machine.handle(survey(), now(4));
        machine.handle(Event::SlotMarkedBad, now(4));
    }
    machine.handle(whole(), now(5));
    machine.handle(Event::VerifyFailed { detail: "rootfs".into() }, now(6));
    assert_eq!(failed_with(&mut machine), "digest-mismatch");
}

#[test]
fn waits_double_from_the_shortest_poll_and_spread_by_the_seed() {
    // splitmix64 of the seed 1234567 gives 6457827717110365317, then 3203168211198807973.
    let policy = Policy { poll_min_ms: 1_000, jitter_seed: 1_234_567, ..policy(ONE_SHOT) };
    let mut machine = fresh(policy);
    for (at, base, random) in
        [(10, 2_000, 6_457_827_717_110_365_317_u64), (0, 4_000, 3_203_168_211_198_807_973)]
    {
        let at = if at == 0 { wait(&mut machine) } else { at };
        machine.handle(Event::CheckFailed(CheckFailure::Offline), now(at));
        let wait = base / 2 + random % (base / 2 + 1);
        assert_eq!(machine.poll_timeout().unwrap().boottime_ms, at + wait);
    }
}

#[test]
fn an_event_that_does_not_fit_is_named_and_changes_nothing() {
    let unfit: [(Event, &str); 15] = [
        (Event::IdentityRecovered, "identity-recovered"),
        (Event::IdentityNotRecovered { retry_after_ms: None }, "identity-not-recovered"),
        (survey(), "surveyed"),
        (Event::SurveyFailed { detail: "x".into() }, "survey-failed"),
        (Event::SlotMarkedBad, "slot-marked-bad"),
        (Event::SlotNotMarkedBad { detail: "x".into() }, "slot-not-marked-bad"),
        (whole(), "fetch-ended"),
        (Event::Verified, "verified"),
        (Event::VerifyFailed { detail: "x".into() }, "verify-failed"),
        (Event::Armed, "armed"),
        (Event::Activated, "activated"),
        (Event::HealthEnded(HealthVerdict::Passed), "health-ended"),
        (Event::MarkedGood, "marked-good"),
        (Event::RevertDone, "revert-done"),
        (Event::RevertFailed { detail: "x".into() }, "revert-failed"),
    ];
    for (event, name) in unfit {
        let mut machine = fresh(policy(ONE_SHOT));
        let before = machine.record().clone();
        drain(&mut machine);
        machine.handle(event, now(1));
        assert_eq!(drain(&mut machine), [Effect::Note(Note::Unfitting { state: "checking", event: name })]);
        assert_eq!(*machine.record(), before);
    }
    // Nothing is awaited: no answer fits.
    let mut machine = fresh(policy(ONE_SHOT));
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 60_000 }, now(1));
    drain(&mut machine);
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 60_000 }, now(2));
    assert_eq!(drain(&mut machine), [Effect::Note(Note::Unfitting { state: "idle", event: "checked" })]);
}

#[test]
fn what_waits_does_nothing_before_its_time() {
    // A paused release is asked about when the next check is due, and not sooner.
    let mut machine = staged();
    machine.handle(checked(Assigned { word: AssignmentWord::Paused, ..r2() }), now(4));
    assert!(drain(&mut machine).is_empty());
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 60_004);
    machine.handle(Event::TimePassed, now(60_003));
    assert!(drain(&mut machine).is_empty());
    machine.handle(Event::TimePassed, now(60_004));
    assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
    // So is a boot loader that took no order.
    let states = [
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None },
        State::Recovery { way: WayBack::default() },
    ];
    for state in states {
        let mut machine = resumed(state, away(1));
        assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
        machine.handle(Event::RevertFailed { detail: "read-only".into() }, now(1));
        assert!(drain(&mut machine).iter().all(|e| matches!(e, Effect::Note(_))));
        let until = machine.poll_timeout().unwrap().boottime_ms;
        assert!(until > 1);
        machine.handle(Event::TimePassed, now(until - 1));
        assert!(drain(&mut machine).is_empty());
        machine.handle(Event::TimePassed, now(until));
        assert_eq!(drain(&mut machine), [Effect::Revert { to: Slot::A }]);
    }
}

#[test]
fn an_unmarked_slot_wakes_for_whichever_comes_first() {
    let mut machine = resumed(State::Idle, Booted { on_trial: true, ..home() });
    machine.handle(Event::NotMarkedGood { detail: "read-only".into() }, now(1));
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 3_600_000 }, now(2));
    drain(&mut machine);
    let at = wait(&mut machine);
    assert!(at < 3_600_000, "mark-good is tried again long before the next check: {at}");
    assert_eq!(drain(&mut machine), [Effect::MarkGood { slot: Slot::A }]);
    machine.handle(Event::MarkedGood, now(at));
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 3_600_002);
}

#[test]
fn a_slot_that_cannot_be_marked_bad_ends_the_attempt() {
    let mut machine = fresh(policy(ONE_SHOT));
    machine.handle(checked(r2()), now(1));
    machine.handle(survey(), now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::MarkSlotBad { slot: Slot::B }));
    machine.handle(Event::SlotNotMarkedBad { detail: "read-only".into() }, now(2));
    assert_eq!(failed_with(&mut machine), "boot-loader");
    assert!(machine.record().standing.quarantine.is_empty());
    let mut machine = resumed(State::Arming { job: job() }, home());
    machine.handle(Event::SlotNotMarkedBad { detail: "read-only".into() }, now(2));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::NotArmed, .. }));
}

#[test]
fn a_slot_that_cannot_be_armed_is_a_failure_here_and_not_of_the_release() {
    let mut machine = staged();
    machine.handle(checked(r2()), now(4));
    assert!(drain(&mut machine).contains(&Effect::Arm { slot: Slot::B }));
    machine.handle(Event::ArmFailed { detail: "no variable store".into() }, now(5));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
    machine.handle(Event::RevertDone, now(6));
    let effects = drain(&mut machine);
    let told = effects.iter().find_map(|e| match e {
        Effect::Report(f) => Some((f.progress.clone(), f.detail.clone())),
        _ => None,
    });
    let failed = Progress::Failed { code: "not-armed".into() };
    assert_eq!(told, Some((failed, Some("no variable store".to_owned()))));
    assert!(machine.record().standing.quarantine.is_empty());
    // The same by a swap, and where a release that passed its trial cannot be booted again.
    let swap = policy(Activation::Swap);
    let mut machine = resumed_with(State::Verifying { job: job() }, home(), swap, 0);
    machine.handle(Event::Verified, now(1));
    machine.handle(checked(r2()), now(2));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Activate { slot: Slot::B }));
    machine.handle(Event::ActivateFailed { detail: "read-only".into() }, now(3));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::NotArmed, .. }));
    let mut machine = resumed(State::Committing { job: job() }, home());
    machine.handle(Event::ArmFailed { detail: "read-only".into() }, now(3));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::NotCommitted, .. }));
}

#[test]
fn a_boot_loader_that_does_not_keep_a_release_is_asked_five_times() {
    let mut machine = resumed(State::Committing { job: job() }, away(1));
    for n in 1..=5 {
        assert!(drain(&mut machine).contains(&Effect::MarkGood { slot: Slot::B }), "time {n}");
        machine.handle(Event::NotMarkedGood { detail: "read-only".into() }, now(n));
        if n < 5 {
            assert_eq!(state(&machine), "committing", "time {n}");
            machine.handle(Event::TimePassed, now(n));
            assert!(drain(&mut machine).iter().all(|e| matches!(e, Effect::Note(_))), "not before its time");
            wait(&mut machine);
        }
    }
    let State::Reverting { reason, detail, .. } = &machine.record().state else {
        panic!("{}", state(&machine))
    };
    assert_eq!((*reason, detail.as_deref()), (Revert::NotCommitted, Some("read-only")));
    assert!(!Revert::NotCommitted.quarantines());
}

#[test]
fn a_boot_loader_that_takes_no_order_gets_four_tries_before_each_reboot_and_none_by_a_swap() {
    let reverting =
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None };
    let tries = |policy: Policy| {
        let mut machine = resumed_with(reverting.clone(), away(1), policy, 0);
        (1..=20).find(|_| {
            machine.handle(Event::RevertFailed { detail: "read-only".into() }, now(1));
            let rebooted = drain(&mut machine).contains(&Effect::Reboot);
            if !rebooted {
                wait(&mut machine);
            }
            rebooted
        })
    };
    assert_eq!(tries(policy(ONE_SHOT)), Some(4));
    assert_eq!(tries(policy(Activation::Swap)), None);
}

#[test]
fn quarantine_holds_one_entry_for_a_release_and_a_commit_clears_its_own_alone() {
    let entry = |mark: u8, attempt: u32| Quarantined {
        manifest: Digest([mark; 32]),
        release: ReleaseName::new(format!("r{mark}")),
        assignment: reference(1, attempt),
        code: "health-failed".into(),
    };
    let with = |state: State, booted: Booted| {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.standing.quarantine = vec![entry(2, 0), entry(8, 0)];
        record.state = state;
        Machine::resume(Saved::Record(Box::new(record)), booted, policy(ONE_SHOT), now(0))
    };
    let marks = |machine: &Machine| {
        let quarantine = &machine.record().standing.quarantine;
        quarantine.iter().map(|q| (q.manifest.0[0], q.assignment.attempt)).collect::<Vec<_>>()
    };
    let reverting =
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None };
    let mut machine = with(reverting, home());
    machine.handle(Event::RevertDone, now(1));
    assert_eq!(marks(&machine), [(8, 0), (2, 1)]);
    let mut machine = with(State::Committing { job: job() }, away(1));
    machine.handle(Event::MarkedGood, now(1));
    assert_eq!(marks(&machine), [(8, 0)]);
}

#[test]
fn quarantine_forgets_the_oldest_of_more_than_it_holds() {
    for held in [63_u8, 64] {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.standing.quarantine = (0..held)
            .map(|n| Quarantined {
                manifest: Digest([100 + n; 32]),
                release: ReleaseName::new("old"),
                assignment: reference(1, 1),
                code: "health-failed".into(),
            })
            .collect();
        record.state = State::Reverting {
            job: job(),
            reason: Revert::HealthFailed,
            way: WayBack::default(),
            detail: None,
        };
        let mut machine = Machine::resume(Saved::Record(Box::new(record)), home(), policy(ONE_SHOT), now(0));
        machine.handle(Event::RevertDone, now(1));
        let quarantine = &machine.record().standing.quarantine;
        assert_eq!(quarantine.len(), 64);
        assert_eq!(quarantine[0].manifest, Digest([100 + u8::from(held == 64); 32]));
        assert_eq!(quarantine[63].manifest, job().digest);
    }
}

#[test]
fn a_trial_waits_for_what_its_gate_wants_and_no_more() {
    // Contact alone: the health profile is not run.
    let (mut machine, first) = in_trial(CommitGate::ServerContact { within_ms: 120_000 });
    assert_eq!(first, Effect::FetchMetadata);
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 60_000 }, now(1_001));
    assert_eq!(state(&machine), "committing");
    // Without contact it wakes for the next check, then for the end of its time.
    let (mut machine, _) = in_trial(CommitGate::ServerContact { within_ms: 120_000 });
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(1_001));
    drain(&mut machine);
    let due = machine.poll_timeout().unwrap().boottime_ms;
    assert!(due > 1_001 && due < 121_000, "{due}");
    machine.handle(Event::TimePassed, now(due));
    assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(120_999));
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 121_000);
    // A contact of any kind is one.
    machine.handle(Event::Contacted, now(120_999));
    assert_eq!(state(&machine), "committing");
    // Both: contact is looked for while health may still take long, since it has less time.
    let (mut machine, first) = in_trial(CommitGate::Both { within_ms: 120_000 });
    assert_eq!(first, Effect::FetchMetadata);
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(1_001));
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::RunHealth { .. })));
    // Health alone is asked for before anybody who could answer slowly, and a release that is not well asks nobody.
    let health = |verdict, at| {
        let (mut machine, first) = in_trial(CommitGate::LocalHealth);
        assert!(matches!(first, Effect::RunHealth { deadline_ms: 601_000, .. }), "{first:?}");
        machine.handle(Event::HealthEnded(verdict), now(at));
        machine
    };
    let mut machine = health(HealthVerdict::Failed { detail: String::new() }, 1_001);
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
    // One that is well, in its last moment even, is kept if it was not withdrawn, however long that answer takes.
    for at in [1_001, 601_000] {
        let mut machine = health(HealthVerdict::Passed, at);
        assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
        machine.handle(Event::CheckFailed(CheckFailure::Offline), now(9_000_000));
        assert_eq!(state(&machine), "committing");
    }
}

#[test]
fn reports_name_the_release_that_runs_and_the_codec_that_brought_it() {
    let runs = |machine: &Machine| machine.running().release.unwrap().as_str().to_owned();
    let machine = fetching();
    assert_eq!(machine.record().state.job().unwrap().transfer.codec, "bsdiff");
    assert_eq!(runs(&machine), "r1");
    assert_eq!(runs(&in_trial(CommitGate::LocalHealth).0), "r2");
    assert_eq!(
        runs(&resumed(State::Reverted { job: job(), reason: Revert::HealthFailed, detail: None }, home())),
        "r1"
    );
}

#[test]
fn a_newer_assignment_of_the_same_release_keeps_what_is_fetched() {
    let mut machine = fetching();
    machine.handle(Event::FetchEnded(Fetched { bytes: 7, end: FetchEnd::Yielded }), now(61_000));
    machine.handle(checked(assigned(manifest("r2", 2, 2), 2, 1)), now(61_000));
    let State::Fetching { job, sources, .. } = &machine.record().state else { panic!("{}", state(&machine)) };
    assert_eq!((job.assignment.sequence, job.transfer.bytes, sources.len()), (2, 7, 1));
}

#[test]
fn details_are_cut_at_a_characters_edge() {
    let detail = |text: String| {
        let mut machine = fetching();
        machine.handle(fetch_failed(FetchFailure::NoSpace { detail: text }), now(2));
        let told = drain(&mut machine).into_iter().find_map(|e| match e {
            Effect::Report(f) => f.detail,
            _ => None,
        });
        told.unwrap()
    };
    assert_eq!(detail("no space".into()), "no space");
    assert_eq!(detail("x".repeat(2_000)), "x".repeat(1_024));
    // 341 characters of three bytes are 1023.
    assert_eq!(detail("€".repeat(400)), "€".repeat(341));
}
