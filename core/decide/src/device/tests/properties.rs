//! Random faults, a crash at any effect, any event in any state.

use super::world::{Nature, World};
use super::*;
use proptest::prelude::*;

fn releases() -> Vec<(Manifest, Nature)> {
    vec![
        (manifest("r1", 1, 1), Nature::Good),
        (manifest("r2", 2, 2), Nature::Good),
        (manifest("r3-fails", 3, 2), Nature::FailsHealth),
        (manifest("r4-hangs", 4, 5), Nature::DoesNotBoot),
        (manifest("r5", 5, 3), Nature::Good),
        (manifest("r6-old", 6, 0), Nature::Good),
    ]
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Reboot(BootKind::OneShot)),
        (1u32..4).prop_map(|n| Activation::Reboot(BootKind::Counted(n))),
        Just(Activation::Swap),
    ]
}

/// (release, attempt, word): what the service says, in turn.
fn script() -> impl Strategy<Value = Vec<(usize, u32, u8)>> {
    prop::collection::vec((1usize..6, 1u32..4, 0u8..6), 1..8)
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn ends_on_the_assigned_release_whatever_happened(
        activation in activation(),
        script in script(),
        tape in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let releases = releases();
        // A program that hangs before its agent runs is beyond a swap: a unit outside the agent decides there.
        let swaps = activation == Activation::Swap;
        let mut world = World::new(activation, releases.clone(), tape);
        let mut sequence = 0;
        for (release, attempt, word) in script {
            if swaps && releases[release].1 == Nature::DoesNotBoot { continue; }
            sequence += 1;
            let mut next = assigned(releases[release].0.clone(), sequence, attempt);
            next.word = match word {
                0 => AssignmentWord::Paused,
                1 => AssignmentWord::Withdrawn,
                _ => AssignmentWord::Active,
            };
            world.assigned = Some(next);
            world.run(60);
        }
        // Left alone with a good release at the floor or above, asked for anew.
        world.tape.clear();
        let good = 4;
        world.assigned = Some(assigned(releases[good].0.clone(), sequence + 1, 9));
        let done = world.run(3000);
        prop_assert!(done, "never came to rest:\n{}", world.log.join("\n"));
        prop_assert_eq!(world.running_release(), good, "{}", world.log.join("\n"));
        prop_assert_eq!(world.loader.default, world.running);
        prop_assert!(world.machine.record().standing.floor >= world.floor);
    }

    #[test]
    fn takes_any_event_in_any_state_without_panic(
        activation in activation(),
        tape in prop::collection::vec(any::<u8>(), 0..200),
        events in prop::collection::vec((0u8..30, any::<u64>(), 1usize..6), 0..80),
        steps in 0usize..60,
    ) {
        let releases = releases();
        let mut world = World::new(activation, releases.clone(), tape);
        world.assigned = Some(assigned(releases[1].0.clone(), 1, 1));
        world.run(steps);
        let mut machine = world.machine;
        for (kind, n, release) in events {
            let wall = if n % 5 == 0 { Wall::Unset } else { Wall::Floor(n as i64) };
            machine.handle(event(kind, n, &releases[release].0), Now { boottime_ms: n, wall });
            let mut bound = 0;
            while machine.poll_effect().is_some() {
                bound += 1;
                prop_assert!(bound < 200, "one event gives endless effects");
            }
            let _ = (machine.poll_timeout(), machine.running(), machine.progress());
        }
    }

    #[test]
    fn starts_from_any_journal_beside_any_boot(
        tape in prop::collection::vec(any::<u8>(), 0..200),
        steps in 0usize..80,
        slot in prop_oneof![Just(Slot::A), Just(Slot::B)],
        on_trial: bool,
        other_tries in prop::option::of(0u32..3),
        understood: bool,
        activation in activation(),
    ) {
        let releases = releases();
        let mut world = World::new(activation, releases.clone(), tape);
        world.assigned = Some(assigned(releases[1].0.clone(), 1, 1));
        world.run(steps);
        let record = world.machine.record().clone();
        let saved = if understood { Saved::Record(Box::new(record)) } else { Saved::NotUnderstood };
        let booted = Booted {
            boot_id: "other".into(), slot, on_trial, other_tries,
            running: Some(installed(&releases[1].0)), other: None,
        };
        let now = Now { boottime_ms: 5, wall: Wall::Unset };
        let mut machine = Machine::resume(saved, booted, policy(activation), now);
        let mut bound = 0;
        while machine.poll_effect().is_some() {
            bound += 1;
            prop_assert!(bound < 50);
        }
    }
}

fn event(kind: u8, n: u64, manifest: &Manifest) -> Event {
    let detail = String::from("x");
    match kind {
        0 => Event::TimePassed,
        1 => Event::CheckWanted,
        2..=5 => Event::Checked {
            assigned: Some(Box::new(assigned(manifest.clone(), n % 7, (n % 3) as u32))),
            poll_after_ms: n,
        },
        6 => Event::Checked { assigned: None, poll_after_ms: n },
        7 => Event::CheckFailed(CheckFailure::ClockAhead),
        8 => Event::CheckFailed(CheckFailure::CertificateExpired),
        9 => Event::Contacted,
        10 => Event::IdentityRecovered,
        11 => Event::IdentityNotRecovered { retry_after_ms: Some(n) },
        12 | 13 => Event::Surveyed(Survey {
            free_bytes: Some(n),
            artefacts: vec![ArtefactSurvey {
                unknown_name: n.is_multiple_of(2),
                present: n.is_multiple_of(3),
                room_bytes: Some(n),
                base: None,
                deltas: vec![],
            }],
        }),
        14 => Event::SurveyFailed { detail },
        15 => Event::SlotMarkedBad,
        16 => Event::SlotNotMarkedBad { detail },
        17 => Event::FetchEnded(Fetched { bytes: n, end: FetchEnd::Whole }),
        18 => {
            Event::FetchEnded(Fetched { bytes: n, end: FetchEnd::Failed(FetchFailure::Storage { detail }) })
        }
        19 => Event::Verified,
        20 => Event::VerifyFailed { detail },
        21 => Event::Armed,
        22 => Event::ArmFailed { detail },
        23 => Event::Activated,
        24 => Event::ActivateFailed { detail },
        25 => Event::HealthEnded(HealthVerdict::Passed),
        26 => Event::HealthEnded(HealthVerdict::Failed { detail }),
        27 => Event::MarkedGood,
        28 => Event::NotMarkedGood { detail },
        _ => Event::RevertDone,
    }
}
