//! The table "Case / What happens" of the design, one test a row, and the rules beside it.

use super::fixture::*;
use super::world::{Nature, World};
use super::*;
use holdfast_proto::report::Progress;

#[test]
fn power_lost_while_fetching_goes_on_and_marks_the_slot_bad_first() {
    let mut before = fetching();
    let state = before.record().state.clone();
    drain(&mut before);
    let mut machine = resumed(state, home());
    assert_eq!(drain(&mut machine), [Effect::MarkSlotBad { slot: Slot::B }]);
    machine.handle(Event::SlotMarkedBad, now(1));
    assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(1));
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::Fetch { target: Slot::B, .. })));
}

#[test]
fn arming_needs_a_confirmation_received_after_staged() {
    let mut machine = staged();
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(4));
    machine.handle(Event::CheckWanted, now(5));
    drain(&mut machine);
    assert_eq!(machine.record().state.word(), "staged");
    machine.handle(checked(Assigned { lease_ms: 0, ..r2() }), now(6));
    assert_eq!(machine.record().state.word(), "staged", "a lease of nothing lets nothing arm");
    machine.handle(Event::CheckWanted, now(7));
    machine.handle(checked(r2()), now(8));
    assert_eq!(machine.record().state.word(), "arming");
}

#[test]
fn a_paused_assignment_is_kept_and_not_armed() {
    let mut machine = staged();
    machine.handle(checked(Assigned { word: AssignmentWord::Paused, ..r2() }), now(4));
    assert_eq!(machine.record().state.word(), "staged");
    assert!(!machine.holds_lease());
    machine.handle(Event::CheckWanted, now(5));
    machine.handle(checked(r2()), now(6));
    assert_eq!(machine.record().state.word(), "arming");
}

#[test]
fn a_lease_ends_after_its_length() {
    let mut machine = fetching();
    machine.handle(Event::FetchEnded(Fetched { bytes: 0, end: FetchEnd::Yielded }), now(61_000));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
    machine.handle(checked(Assigned { lease_ms: 1000, ..r2() }), now(61_000));
    assert!(machine.holds_lease());
    machine.handle(Event::TimePassed, now(62_000));
    assert!(!machine.holds_lease());
}

#[test]
fn an_unset_clock_arms_nothing() {
    let mut machine = staged();
    machine.handle(checked(r2()), Now { boottime_ms: 4, wall: Wall::Unset });
    assert_eq!(machine.record().state.word(), "staged");
}

#[test]
fn withdrawn_before_arming_is_dropped_without_quarantine() {
    for mut machine in [staged(), {
        let mut machine = fetching();
        machine.handle(Event::FetchEnded(Fetched { bytes: 0, end: FetchEnd::Yielded }), now(61_000));
        machine
    }] {
        machine.handle(checked(Assigned { word: AssignmentWord::Withdrawn, ..r2() }), now(61_001));
        assert_eq!(machine.record().state, State::Idle);
        assert!(machine.record().standing.quarantine.is_empty());
        assert!(drain(&mut machine).iter().all(|e| !matches!(e, Effect::Arm { .. })));
    }
}

#[test]
fn withdrawn_in_trial_reverts_without_quarantine() {
    let booted = Booted { boot_id: "boot-1".into(), slot: Slot::B, on_trial: true, ..home() };
    let mut machine = resumed(State::Rebooting { job: job() }, booted);
    machine.handle(Event::HealthEnded(HealthVerdict::Passed), now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
    machine.handle(checked(Assigned { word: AssignmentWord::Withdrawn, ..r2() }), now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
    machine.handle(Event::RevertDone, now(2));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Reboot));
    let mut machine = resumed(machine.record().state.clone(), Booted { boot_id: "boot-2".into(), ..home() });
    machine.handle(Event::RevertDone, now(1));
    assert_eq!(failed_with(&mut machine), "withdrawn");
    assert!(machine.record().standing.quarantine.is_empty());
}

#[test]
fn the_floor_is_in_the_record_that_permits_mark_good() {
    let booted = Booted { boot_id: "boot-1".into(), slot: Slot::B, on_trial: true, ..home() };
    let mut machine = resumed(State::Rebooting { job: job() }, booted);
    machine.handle(Event::HealthEnded(HealthVerdict::Passed), now(1));
    drain(&mut machine);
    machine.handle(Event::Checked { assigned: None, poll_after_ms: 60_000 }, now(2));
    let effects = drain(&mut machine);
    assert!(matches!(&effects[..], [Effect::Persist(r), Effect::MarkGood { .. }] if r.standing.floor == 2));
}

#[test]
fn an_outage_of_the_service_alone_rolls_nothing_back() {
    let releases = vec![(manifest("r1", 1, 1), Nature::Good), (manifest("r2", 2, 2), Nature::Good)];
    let mut world = World::new(ONE_SHOT, releases.clone(), vec![]);
    world.assigned = Some(r2());
    let on_trial = |world: &mut World| {
        world.run(1);
        world.machine.record().state.word() == "trial"
    };
    assert!((0..1000).any(|_| on_trial(&mut world)), "{:?}", world.machine.record());
    world.online = false;
    assert!(world.run(50));
    assert_eq!(world.loader.default, Slot::B);
}

#[test]
fn no_contact_within_the_time_reverts_and_never_quarantines() {
    let gate = Policy { commit_gate: CommitGate::Both { within_ms: 120_000 }, ..policy(ONE_SHOT) };
    let mut record = fresh(gate.clone()).record().clone();
    record.state = State::Rebooting { job: job() };
    let booted = Booted { boot_id: "boot-1".into(), slot: Slot::B, on_trial: true, ..home() };
    let saved = Saved::Record(Box::new(record));
    let mut machine = Machine::resume(saved.clone(), booted.clone(), gate.clone(), now(0));
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(1));
    machine.handle(Event::HealthEnded(HealthVerdict::Passed), now(2));
    assert_eq!(machine.record().state.word(), "trial");
    machine.handle(Event::TimePassed, now(119_000));
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(119_500));
    assert_eq!(machine.record().state.word(), "trial");
    machine.handle(Event::TimePassed, now(120_000));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::NoContact, .. }));
    assert!(!Revert::NoContact.quarantines());
    // Whether a check that failed was contact is the connection's to say: whoever stands in between answers too.
    let failures = [
        CheckFailure::Busy { retry_after_ms: None },
        CheckFailure::Refused { code: "not-understood".into() },
        CheckFailure::Metadata { code: "metadata-unsigned".into() },
        CheckFailure::ClockAhead,
        CheckFailure::CertificateExpired,
    ];
    for failure in failures {
        for (contacted, wanted) in [(false, "trial"), (true, "committing")] {
            let mut machine = Machine::resume(saved.clone(), booted.clone(), gate.clone(), now(0));
            if contacted {
                machine.handle(Event::Contacted, now(1));
            }
            machine.handle(Event::CheckFailed(failure.clone()), now(1));
            if failure == CheckFailure::CertificateExpired {
                machine.handle(Event::IdentityNotRecovered { retry_after_ms: None }, now(2));
            }
            machine.handle(Event::HealthEnded(HealthVerdict::Passed), now(2));
            assert_eq!(machine.record().state.word(), wanted, "{failure:?}");
        }
    }
}

#[test]
fn a_trial_that_never_ends_is_reverted_at_its_deadline() {
    let booted = Booted { boot_id: "boot-1".into(), slot: Slot::B, on_trial: true, ..home() };
    let State::Trial { deadline_ms, .. } =
        resumed(State::Rebooting { job: job() }, booted.clone()).record().state.clone()
    else {
        panic!("not in trial")
    };
    // The program starts again in the same boot: neither a new deadline nor another attempt.
    let state = State::Trial { job: job(), boot_id: "boot-1".into(), deadline_ms, attempts_left: 2 };
    let mut record = fresh(policy(ONE_SHOT)).record().clone();
    record.state = state.clone();
    let saved = Saved::Record(Box::new(record));
    let machine = Machine::resume(saved.clone(), booted.clone(), policy(ONE_SHOT), now(deadline_ms - 1));
    assert_eq!(machine.record().state, state);
    let machine = Machine::resume(saved, booted, policy(ONE_SHOT), now(deadline_ms));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::HealthTimeout, .. }));
}

#[test]
fn a_rolled_back_release_comes_back_only_by_a_newer_assignment_with_a_higher_attempt() {
    let releases = vec![(manifest("r1", 1, 1), Nature::Good), (manifest("r2", 2, 2), Nature::FailsHealth)];
    let mut world = World::new(ONE_SHOT, releases, vec![]);
    world.assigned = Some(r2());
    assert!(world.run(200));
    for (sequence, attempt, armed) in [(1, 1, false), (1, 2, false), (7, 1, false), (8, 2, true)] {
        world.log.clear();
        world.assigned = Some(assigned(manifest("r2", 2, 2), sequence, attempt));
        world.run(100);
        assert_eq!(world.log.contains(&"arm b".to_owned()), armed, "sequence {sequence}, attempt {attempt}");
    }
}

#[test]
fn the_floor_holds_except_for_a_manifest_signed_for_exactly_this_floor() {
    let low = manifest("r0", 9, 0);
    let mut refused = fresh(policy(ONE_SHOT));
    refused.handle(checked(assigned(low.clone(), 1, 9)), now(1));
    assert_eq!(failed_with(&mut refused), "below-floor");
    for (signed_for, taken) in [(1, true), (2, false), (0, false)] {
        let manifest = Manifest { allow_downgrade_from: Some(signed_for), ..low.clone() };
        let mut machine = fresh(policy(ONE_SHOT));
        machine.handle(checked(assigned(manifest, 1, 1)), now(1));
        assert_eq!(machine.record().state.word() == "planning", taken, "signed for {signed_for}");
    }
}

#[test]
fn other_hardware_schema_kind_or_origin_is_refused_with_its_reason() {
    let good = manifest("r2", 2, 2);
    let odd = [
        (Manifest { hardware: vec!["other".into()], ..good.clone() }, "wrong-hardware"),
        (Manifest { schema: 2, ..good.clone() }, "unknown-manifest-schema"),
        (Manifest { kind: ReleaseKind::Oci, ..good.clone() }, "unsupported-kind"),
        (Manifest { min_counter_from: Some(2), ..good.clone() }, "not-from-here"),
        (
            Manifest {
                artefacts: vec![good.artefacts[0].clone(), good.artefacts[0].clone()],
                ..good.clone()
            },
            "bad-artefacts",
        ),
    ];
    for (manifest, code) in odd {
        let mut machine = fresh(policy(ONE_SHOT));
        machine.handle(checked(assigned(manifest, 1, 1)), now(1));
        assert_eq!(failed_with(&mut machine), code);
        assert_eq!(machine.record().state, State::Idle);
    }
    let mut empty = fresh(policy(ONE_SHOT));
    let mut a = r2();
    a.manifest.artefacts.clear();
    empty.handle(checked(a), now(1));
    assert_eq!(failed_with(&mut empty), "bad-artefacts");
}

#[test]
fn expired_metadata_a_wrong_clock_or_no_contact_change_nothing_that_runs() {
    for failure in [
        CheckFailure::Metadata { code: "timestamp-expired".into() },
        CheckFailure::ClockAhead,
        CheckFailure::Offline,
        CheckFailure::Refused { code: "suspended".into() },
    ] {
        let mut machine = fresh(policy(ONE_SHOT));
        drain(&mut machine);
        machine.handle(Event::CheckFailed(failure), now(1));
        assert!(drain(&mut machine).iter().all(|e| matches!(e, Effect::Note(_))));
        let wake = machine.poll_timeout().unwrap().boottime_ms;
        assert!(wake > 1, "asked again later, not at once");
        machine.handle(Event::TimePassed, now(wake));
        assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
    }
}

#[test]
fn retries_back_off_up_to_the_longest_poll_and_honour_retry_after() {
    let mut machine = fresh(policy(ONE_SHOT));
    let mut at = 1;
    let mut longest = 0;
    for _ in 0..40 {
        machine.handle(Event::CheckFailed(CheckFailure::Offline), now(at));
        let wake = machine.poll_timeout().unwrap().boottime_ms;
        longest = longest.max(wake - at);
        at = wake;
        machine.handle(Event::TimePassed, now(at));
    }
    let max = policy(ONE_SHOT).poll_max_ms;
    assert!(longest <= max && longest >= max / 2, "{longest}");
    let mut machine = fresh(policy(ONE_SHOT));
    machine.handle(Event::CheckFailed(CheckFailure::Busy { retry_after_ms: Some(3_000_000) }), now(1));
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 3_000_001);
}

#[test]
fn an_expired_certificate_is_recovered_then_as_usual() {
    let mut machine = fresh(policy(ONE_SHOT));
    drain(&mut machine);
    machine.handle(Event::CheckFailed(CheckFailure::CertificateExpired), now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::RecoverIdentity));
    machine.handle(Event::IdentityRecovered, now(2));
    assert_eq!(drain(&mut machine), [Effect::FetchMetadata]);
    machine.handle(Event::CheckFailed(CheckFailure::CertificateExpired), now(3));
    machine.handle(Event::IdentityNotRecovered { retry_after_ms: None }, now(4));
    assert_eq!(machine.record().state, State::Idle);
}

#[test]
fn a_bad_delta_is_followed_by_the_whole_artefact_once() {
    for failure in [FetchFailure::DeltaBad { detail: "output".into() }, FetchFailure::Gone] {
        let mut machine = fetching();
        machine.handle(fetch_failed(failure), now(2));
        let effects = drain(&mut machine);
        assert!(matches!(effects.last(), Some(Effect::Fetch { source: Source::Full { bytes: 4096 }, .. })));
        assert_eq!(machine.record().state.job().unwrap().transfer.codec, "full");
        machine.handle(fetch_failed(FetchFailure::Gone), now(3));
        assert_eq!(failed_with(&mut machine), "artefact-gone");
    }
}

#[test]
fn bytes_that_stay_wrong_end_the_attempt() {
    let mut machine = fetching();
    for n in 0..9 {
        machine.handle(fetch_failed(FetchFailure::DigestMismatch { detail: "block".into() }), now(2 + n));
    }
    assert_eq!(failed_with(&mut machine), "digest-mismatch");
    assert_eq!(machine.record().state, State::Idle);
}

#[test]
fn what_reads_back_wrong_is_surveyed_again_and_then_given_up() {
    let mut machine = fetching();
    for _ in 0..3 {
        machine.handle(whole(), now(2));
        machine.handle(Event::VerifyFailed { detail: "rootfs".into() }, now(3));
        machine.handle(survey(), now(4));
        machine.handle(Event::SlotMarkedBad, now(4));
    }
    assert_eq!(failed_with(&mut machine), "digest-mismatch");
}

#[test]
fn a_full_disk_ends_the_attempt_with_its_code() {
    let mut machine = fresh(policy(ONE_SHOT));
    machine.handle(checked(r2()), now(1));
    let Event::Surveyed(mut survey) = survey() else { panic!() };
    survey.free_bytes = Some(4095);
    machine.handle(Event::Surveyed(survey), now(2));
    assert_eq!(failed_with(&mut machine), "disk-full");
    let mut machine = fetching();
    machine.handle(fetch_failed(FetchFailure::NoSpace { detail: "ENOSPC".into() }), now(2));
    assert_eq!(failed_with(&mut machine), "disk-full");
    // The same assignment is not begun again.
    machine.handle(Event::CheckWanted, now(3));
    drain(&mut machine);
    machine.handle(checked(r2()), now(4));
    assert_eq!(machine.record().state, State::Idle);
}

#[test]
fn a_lost_link_keeps_what_is_there_and_waits() {
    let mut machine = fetching();
    machine.handle(fetch_failed(FetchFailure::Offline { retry_after_ms: Some(20_000) }), now(10));
    assert!(drain(&mut machine).is_empty());
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 20_010);
    machine.handle(Event::TimePassed, now(20_010));
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::Fetch { source: Source::Delta { .. }, .. })));
    assert_eq!(machine.record().state.job().unwrap().transfer.bytes, 5);
}

#[test]
fn a_newer_assignment_supersedes_only_before_arming() {
    let mut machine = staged();
    machine.handle(checked(assigned(manifest("r5", 5, 3), 2, 1)), now(4));
    assert_eq!(machine.record().state.job().unwrap().manifest.release.as_str(), "r5");
    assert_eq!(machine.record().state.word(), "planning");
    // The same release under a newer assignment keeps what is staged.
    let mut machine = staged();
    machine.handle(checked(assigned(manifest("r2", 2, 2), 2, 1)), now(4));
    assert_eq!(machine.record().state.word(), "arming");
    assert_eq!(machine.record().state.job().unwrap().assignment.sequence, 2);
    // In a trial it waits its turn.
    let booted = Booted { boot_id: "boot-1".into(), slot: Slot::B, on_trial: true, ..home() };
    let mut machine = resumed(State::Rebooting { job: job() }, booted);
    machine.handle(checked(assigned(manifest("r5", 5, 3), 2, 1)), now(1));
    assert_eq!(machine.record().state.word(), "trial");
    // An older one is nothing.
    let mut machine = staged();
    machine.handle(checked(assigned(manifest("r5", 5, 3), 0, 1)), now(4));
    assert_eq!(machine.record().state.word(), "staged");
}

#[test]
fn what_runs_already_is_confirmed_and_not_fetched() {
    let mut machine = fresh(policy(ONE_SHOT));
    drain(&mut machine);
    machine.handle(checked(assigned(manifest("r1", 1, 1), 4, 1)), now(1));
    let effects = drain(&mut machine);
    assert!(matches!(&effects[0], Effect::Report(f) if f.progress == Progress::Confirmed && f.evidence));
    assert_eq!(machine.record().state, State::Idle);
}

#[test]
fn too_many_changes_quarantine_a_release() {
    let mut machine =
        Machine::resume(Saved::Nothing, home(), Policy { max_changes: 3, ..policy(ONE_SHOT) }, now(0));
    for event in [checked(r2()), survey(), Event::SlotMarkedBad, whole()] {
        machine.handle(event, now(1));
    }
    machine.handle(Event::VerifyFailed { detail: "x".into() }, now(2));
    assert_eq!(failed_with(&mut machine), "too-many-changes");
    assert_eq!(machine.record().standing.quarantine.len(), 1);
}

#[test]
fn a_newer_assignment_takes_over_what_is_staged_only_if_it_could_have_begun_it() {
    let clears = || assigned(manifest("r2", 2, 2), 2, 2);
    let mut record = fresh(policy(ONE_SHOT)).record().clone();
    record.standing.quarantine = vec![Quarantined {
        manifest: job().digest,
        release: manifest("r2", 2, 2).release,
        assignment: reference(1, 1),
        code: "health-failed".into(),
    }];
    let staged = || {
        let saved = Saved::Record(Box::new(record.clone()));
        let mut machine = Machine::resume(saved, home(), policy(ONE_SHOT), now(0));
        for event in [checked(clears()), survey(), Event::SlotMarkedBad, whole(), Event::Verified] {
            machine.handle(event, now(1));
        }
        assert_eq!(state(&machine), "staged");
        drain(&mut machine);
        machine
    };
    let mut machine = staged();
    machine.handle(checked(assigned(manifest("r2", 2, 2), 3, 1)), now(2));
    assert_eq!(failed_with(&mut machine), "quarantined");
    assert_eq!(machine.record().state, State::Idle);
    let mut machine = staged();
    machine.handle(checked(assigned(manifest("r2", 2, 2), 3, 2)), now(2));
    assert_eq!(state(&machine), "arming");
}
