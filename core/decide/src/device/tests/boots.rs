//! What each state becomes when the program starts: the journal laid beside what the boot loader did.

use super::fixture::*;
use super::*;

#[test]
fn power_lost_between_verified_and_armed_verifies_again() {
    let mut machine = resumed(State::Arming { job: job() }, home());
    assert_eq!(drain(&mut machine), [Effect::MarkSlotBad { slot: Slot::B }]);
    machine.handle(Event::SlotMarkedBad, now(1));
    assert!(matches!(drain(&mut machine).pop(), Some(Effect::Verify { target: Slot::B, .. })));
    // From the journal alone a staged release asks again before it arms.
    let mut machine = resumed(State::AwaitingWindow { job: job() }, home());
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
}

#[test]
fn power_lost_in_committing_ends_committed() {
    let booted = Booted { boot_id: "boot-2".into(), slot: Slot::B, on_trial: true, ..home() };
    let mut machine = resumed(State::Committing { job: job() }, booted);
    assert_eq!(drain(&mut machine), [Effect::MarkGood { slot: Slot::B }]);
    // The one-shot boot was used up: the old slot runs, and the new one is tried, not trusted.
    let mut machine = resumed(State::Committing { job: job() }, home());
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Arm { slot: Slot::B }));
    machine.handle(Event::Armed, now(1));
    assert_eq!(drain(&mut machine), [Effect::Reboot]);
}

#[test]
fn a_journal_not_understood_runs_what_is_good_and_keeps_the_highest_counter() {
    let other = Some(installed(&manifest("r5", 5, 3)));
    let mut machine = Machine::resume(
        Saved::NotUnderstood,
        Booted { other: other.clone(), ..home() },
        policy(ONE_SHOT),
        now(0),
    );
    assert_eq!(machine.record().standing.floor, 3);
    assert!(drain(&mut machine).contains(&Effect::Note(Note::JournalNotUnderstood)));
    // On trial without a journal: back to the slot that is known.
    let booted = Booted { slot: Slot::B, on_trial: true, other, ..home() };
    let mut machine = Machine::resume(Saved::NotUnderstood, booted, policy(ONE_SHOT), now(0));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
    let schema = Record { schema: 99, ..machine.record().clone() };
    let machine = Machine::resume(Saved::Record(Box::new(schema)), home(), policy(ONE_SHOT), now(0));
    assert_eq!(machine.record().schema, RECORD_SCHEMA);
}

#[test]
fn a_boot_loader_that_forgets_mark_good_is_told_again_and_checks_go_on() {
    let mut machine = resumed(State::Idle, Booted { on_trial: true, ..home() });
    assert_eq!(drain(&mut machine), [Effect::MarkGood { slot: Slot::A }]);
    machine.handle(Event::NotMarkedGood { detail: "read-only".into() }, now(1));
    assert_eq!(drain(&mut machine).pop(), Some(Effect::FetchMetadata));
    machine.handle(Event::CheckFailed(CheckFailure::Offline), now(2));
    assert!(machine.poll_timeout().unwrap().boottime_ms > 2);
}

#[test]
fn a_fallback_that_does_not_boot_is_not_tried_for_ever() {
    let booted = |n: u32| Booted { boot_id: format!("boot-{n}"), slot: Slot::B, on_trial: true, ..home() };
    let mut state =
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None };
    for n in 0..3 {
        let mut machine = resumed(state, booted(n));
        machine.handle(Event::RevertDone, now(1));
        assert_eq!(drain(&mut machine).pop(), Some(Effect::Reboot));
        state = machine.record().state.clone();
    }
    let mut machine = resumed(state, booted(9));
    assert_eq!(failed_with(&mut machine), "fallback-does-not-boot");
    assert_eq!(machine.record().standing.slot, Slot::B);
}

#[test]
fn a_program_that_starts_again_while_it_leaves_a_bad_release_does_not_count_as_a_boot() {
    let booted = || Booted { boot_id: "boot-1".to_owned(), slot: Slot::B, on_trial: true, ..home() };
    let mut state =
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None };
    for n in 0..10 {
        let mut machine = resumed(state, booted());
        if n == 0 {
            machine.handle(Event::RevertDone, now(1));
        }
        assert_eq!(
            drain(&mut machine).pop(),
            Some(Effect::Reboot),
            "the bad release is kept after {n} starts"
        );
        state = machine.record().state.clone();
    }
    let State::Reverting { way, .. } = state else { panic!("{state:?}") };
    assert_eq!(way.reboots, 1);
}

#[test]
fn a_boot_loader_that_takes_no_order_is_rebooted_a_bounded_number_of_times_and_never_believed() {
    let mut state =
        State::Reverting { job: job(), reason: Revert::HealthFailed, way: WayBack::default(), detail: None };
    let mut reboots = 0;
    for n in 0..8 {
        let booted = Booted { boot_id: format!("boot-{n}"), slot: Slot::B, on_trial: true, ..home() };
        let mut machine = resumed(state, booted);
        for _ in 0..10 {
            let wait = machine.poll_timeout().map_or(1, |d| d.boottime_ms);
            machine.handle(Event::TimePassed, now(wait));
            let effects = drain(&mut machine);
            assert!(!effects.contains(&Effect::MarkGood { slot: Slot::B }), "a release that failed is kept");
            if effects.contains(&Effect::Reboot) {
                reboots += 1;
                break;
            }
            machine.handle(Event::RevertFailed { detail: "read-only".into() }, now(wait));
        }
        state = machine.record().state.clone();
    }
    assert_eq!(reboots, 3);
    assert!(matches!(state, State::Reverting { .. }));
}

#[test]
fn what_was_armed_and_did_not_come_up_is_left_for_good_or_tried_again() {
    let rows = [
        // state, tries that the boot loader has left, what becomes of it
        (State::Arming { job: job() }, None, "arming"),
        (State::Arming { job: job() }, Some(1), "arming"),
        (State::Arming { job: job() }, Some(0), "reverting"),
        (State::Rebooting { job: job() }, None, "verifying"),
        (State::Rebooting { job: job() }, Some(1), "rebooting"),
        (State::Rebooting { job: job() }, Some(0), "reverting"),
        (State::Activating { job: job() }, None, "verifying"),
    ];
    for (begun, other_tries, becomes) in rows {
        let machine = resumed(begun.clone(), Booted { other_tries, ..home() });
        assert_eq!(state(&machine), becomes, "{} with {other_tries:?}", begun.word());
        if let State::Reverting { reason, .. } = machine.record().state {
            assert_eq!(reason, Revert::BootFailed);
        }
    }
}

#[test]
fn a_reboot_that_is_lost_is_asked_for_until_the_changes_are_used_up() {
    let lost = Booted { other_tries: Some(1), ..home() };
    let mut record = resumed(State::Rebooting { job: job() }, lost.clone()).record().clone();
    assert_eq!(record.state.word(), "rebooting");
    let limit = policy(ONE_SHOT).max_changes;
    for (changes, becomes) in [(limit, "rebooting"), (limit + 1, "reverting")] {
        record.state = State::Rebooting { job: job() };
        record.standing.tally = Some(Tally { manifest: job().digest, changes, trial_boots: 0 });
        let saved = Saved::Record(Box::new(record.clone()));
        let machine = Machine::resume(saved, lost.clone(), policy(ONE_SHOT), now(0));
        assert_eq!(state(&machine), becomes, "after {changes} changes");
    }
}

#[test]
fn a_reboot_that_does_not_come_is_asked_for_again_after_two_minutes() {
    let mut machine = resumed_with(
        State::Rebooting { job: job() },
        Booted { other_tries: Some(1), ..home() },
        policy(ONE_SHOT),
        5_000,
    );
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Reboot));
    assert_eq!(machine.poll_timeout().unwrap().boottime_ms, 125_000);
    machine.handle(Event::TimePassed, now(124_999));
    assert!(drain(&mut machine).is_empty(), "the reboot may still come");
    machine.handle(Event::TimePassed, now(125_000));
    assert_eq!(drain(&mut machine), [Effect::Reboot]);
    // Time alone ends no other wait.
    let mut machine = fresh(policy(ONE_SHOT));
    drain(&mut machine);
    assert_eq!(machine.poll_timeout(), None);
    machine.handle(Event::TimePassed, now(u64::MAX));
    assert!(drain(&mut machine).is_empty(), "a check is under way");
}

#[test]
fn an_unknown_slot_on_trial_is_left_and_one_that_runs_for_good_is_taken_as_it_is() {
    let booted = Booted { running: Some(installed(&manifest("r9", 9, 4))), ..away(1) };
    let mut machine = resumed(State::Idle, booted.clone());
    assert_eq!(state(&machine), "recovery");
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));

    let mut machine = resumed(State::Idle, Booted { on_trial: false, ..booted });
    let fell = Effect::Note(Note::FellBack { expected: Slot::A, booted: Slot::B });
    assert!(drain(&mut machine).contains(&fell));
    let standing = &machine.record().standing;
    assert_eq!((standing.slot, standing.running.security_counter), (Slot::B, 4));
    assert_eq!((&standing.previous, &standing.ended), (&None, &None));
    assert_eq!(standing.floor, 1, "what was committed before still counts");
}

#[test]
fn a_slot_without_its_install_record_is_what_the_journal_last_held_there() {
    let mut record = fresh(policy(ONE_SHOT)).record().clone();
    record.standing.previous = Some(installed(&manifest("r0", 7, 1)));
    let booted = Booted { on_trial: false, running: None, ..away(1) };
    let machine = Machine::resume(Saved::Record(Box::new(record)), booted, policy(ONE_SHOT), now(0));
    assert_eq!(machine.record().standing.running.release.as_ref().unwrap().as_str(), "r0");
}

#[test]
fn recovery_that_cannot_leave_a_slot_takes_what_runs() {
    let mut way = WayBack::default();
    for n in 0..3 {
        let mut machine = resumed(State::Recovery { way }, away(n));
        machine.handle(Event::RevertDone, now(1));
        assert_eq!(drain(&mut machine).pop(), Some(Effect::Reboot));
        let State::Recovery { way: told } = machine.record().state.clone() else { panic!() };
        way = told;
    }
    let machine = resumed(State::Recovery { way: way.clone() }, away(2));
    assert_eq!(state(&machine), "recovery", "the same boot: the reboot was ordered and has not come");
    let mut machine = resumed(State::Recovery { way: way.clone() }, away(9));
    assert_eq!(machine.record().standing.slot, Slot::B);
    let said = Effect::Note(Note::Failed { what: "revert", detail: "fallback-does-not-boot".into() });
    assert!(drain(&mut machine).contains(&said));
    // A slot that is known to be good is no reason to settle.
    let mut machine = resumed(State::Recovery { way }, Booted { on_trial: false, ..away(9) });
    assert!(!drain(&mut machine).contains(&said));
}

#[test]
fn recovery_ends_where_the_known_slot_runs() {
    let machine = resumed(State::Recovery { way: WayBack::default() }, home());
    assert_eq!(state(&machine), "checking");
    // By a swap there is no boot to wait for.
    let swap = policy(Activation::Swap);
    let mut machine = resumed_with(State::Recovery { way: WayBack::default() }, away(1), swap, 0);
    assert_eq!(drain(&mut machine).pop(), Some(Effect::Revert { to: Slot::A }));
    machine.handle(Event::RevertDone, now(1));
    assert_eq!((machine.booted().slot, machine.booted().on_trial), (Slot::A, false));
    assert_eq!(state(&machine), "checking");
    assert!(!drain(&mut machine).contains(&Effect::Reboot));
}

#[test]
fn a_trial_that_ends_in_the_old_slot_goes_by_what_the_boot_loader_can_do() {
    let trial = |boots_spent: u32, kind: BootKind, booted: Booted| {
        let policy = policy(Activation::Reboot(kind));
        let mut record = fresh(policy.clone()).record().clone();
        record.state = State::Trial {
            job: job(),
            boot_id: "boot-1".into(),
            deadline_ms: 600_000,
            attempts_left: 3 - boots_spent,
        };
        record.standing.tally = Some(Tally { manifest: job().digest, changes: 1, trial_boots: boots_spent });
        Machine::resume(Saved::Record(Box::new(record)), booted, policy, now(0))
    };
    // A boot loader that counts gave up on it.
    let machine = trial(1, BootKind::Counted(3), home());
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::BootFailed, .. }));
    // After a one-shot boot the old slot is what any other boot brings: try again, a bounded number of times.
    for boots_spent in [1, 2] {
        assert_eq!(state(&trial(boots_spent, BootKind::OneShot, home())), "verifying");
    }
    let machine = trial(3, BootKind::OneShot, home());
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::TooManyTrialBoots, .. }));
    // In the new slot a further boot is a further attempt; a start in the same boot is none.
    for (n, spent) in [(1, 1), (2, 2)] {
        let machine = trial(1, BootKind::Counted(3), away(n));
        assert_eq!(state(&machine), "trial");
        assert_eq!(machine.record().standing.tally.as_ref().unwrap().trial_boots, spent, "boot {n}");
    }
    let machine = trial(3, BootKind::Counted(3), away(2));
    assert!(matches!(machine.record().state, State::Reverting { reason: Revert::TooManyTrialBoots, .. }));
}

#[test]
fn what_passed_its_trial_and_is_not_kept_is_booted_again_while_attempts_are_left() {
    for (trial_boots, becomes) in [(1, "committing"), (2, "committing"), (3, "reverting")] {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.state = State::Committing { job: job() };
        record.standing.tally = Some(Tally { manifest: job().digest, changes: 1, trial_boots });
        let saved = Saved::Record(Box::new(record));
        let machine = Machine::resume(saved, home(), policy(ONE_SHOT), now(0));
        assert_eq!(state(&machine), becomes, "{trial_boots} trial boots");
        let spent = machine.record().standing.tally.as_ref().unwrap().trial_boots;
        assert_eq!(spent, (trial_boots + 1).min(3));
    }
}

#[test]
fn an_attempt_is_spent_by_a_boot_that_left_no_trace() {
    for (trial_boots, becomes) in [(0, "verifying"), (1, "verifying"), (2, "reverting"), (3, "reverting")] {
        let mut record = fresh(policy(ONE_SHOT)).record().clone();
        record.state = State::Rebooting { job: job() };
        record.standing.tally = Some(Tally { manifest: job().digest, changes: 1, trial_boots });
        let machine = Machine::resume(Saved::Record(Box::new(record)), home(), policy(ONE_SHOT), now(0));
        assert_eq!(state(&machine), becomes, "{trial_boots} trial boots");
    }
}

#[test]
fn a_slot_on_trial_without_any_journal_is_left() {
    let mut machine = Machine::resume(Saved::Nothing, away(1), policy(ONE_SHOT), now(0));
    assert_eq!((state(&machine), machine.record().standing.slot), ("recovery", Slot::A));
    assert!(drain(&mut machine).contains(&Effect::Note(Note::JournalNotUnderstood)));
}
