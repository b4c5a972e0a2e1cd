//! The planner's small rules, table by table: reports, orders, words, sizes, rates.

use super::*;
use holdfast_proto::api::rollout::{EvidenceLevel, PhaseSpec};
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::Progress;

fn row(state: AssignmentState, armed_at: Option<i64>) -> AssignmentRow {
    AssignmentRow {
        device: DeviceId::from("d1"),
        rollout: RolloutId::from("a"),
        purpose: Purpose::Forward,
        release: ReleaseName::from("r2"),
        from_release: Some(ReleaseName::from("r1")),
        phase: 0,
        epoch: 1,
        sequence: 1,
        attempt: 1,
        state,
        offered_at: 0,
        lease_until: 100,
        armed_at,
        since: 0,
        evidence: None,
    }
}

fn told(state: AssignmentState, armed_at: Option<i64>, progress: &Progress) -> Result<Transition, Refused> {
    told_at(state, armed_at, progress, RolloutState::Running, 50)
}

fn told_at(
    state: AssignmentState,
    armed_at: Option<i64>,
    progress: &Progress,
    rollout: RolloutState,
    now: i64,
) -> Result<Transition, Refused> {
    advance(&row(state, armed_at), progress, Some(EvidenceLevel::Claimed), rollout, &Policy::default(), now)
}

fn code(text: &str) -> String {
    text.to_owned()
}

use AssignmentState as S;

#[test]
fn progress_moves_an_assignment_to_what_it_says() {
    let steps = [
        (Progress::Accepted, S::Accepted),
        (Progress::Fetching, S::Fetching),
        (Progress::Staged, S::Staged),
        (Progress::Refused { code: code("below-floor") }, S::Refused { code: code("below-floor") }),
        (Progress::Failed { code: code("no-space") }, S::Failed { code: code("no-space") }),
    ];
    for (said, to) in steps {
        let wanted = Transition { to: Some(to), armed_at: None, alarm: None };
        assert_eq!(told(S::Offered, None, &said), Ok(wanted), "{said:?}");
    }
    for (said, to) in [
        (Progress::Arming, S::Arming),
        (Progress::Trial, S::Trial),
        (Progress::RolledBack { code: code("health-failed") }, S::RolledBack { code: code("health-failed") }),
    ] {
        let wanted = Transition { to: Some(to), armed_at: Some(50), alarm: None };
        assert_eq!(told(S::Staged, None, &said), Ok(wanted), "{said:?} arms it by our books");
    }
    let again = Transition { to: Some(S::Trial), armed_at: Some(7), alarm: None };
    assert_eq!(told(S::Arming, Some(7), &Progress::Trial), Ok(again), "the first arming counts");
    let nothing = Transition { to: None, armed_at: Some(7), alarm: None };
    for said in [Progress::Idle, Progress::Trial, Progress::Accepted, Progress::Fetching, Progress::Staged] {
        assert_eq!(told(S::Trial, Some(7), &said), Ok(nothing.clone()), "{said:?} of one in trial");
    }
}

#[test]
fn confirmed_needs_arming_and_the_evidence_that_policy_asks_for() {
    let confirm = |state, armed_at, evidence, need| {
        let policy = Policy { min_evidence: need, ..Policy::default() };
        advance(&row(state, armed_at), &Progress::Confirmed, evidence, RolloutState::Running, &policy, 50)
    };
    use EvidenceLevel as E;
    let done = Ok(Transition { to: Some(S::Confirmed), armed_at: Some(7), alarm: None });
    assert_eq!(confirm(S::Trial, Some(7), Some(E::Claimed), E::Claimed), done);
    assert_eq!(confirm(S::Trial, Some(7), Some(E::Full), E::Booted), done);
    assert_eq!(confirm(S::LeaseExpired, Some(7), Some(E::Claimed), E::Claimed), done, "late, but armed");
    for have in [None, Some(E::Claimed)] {
        assert_eq!(
            confirm(S::Trial, Some(7), have, E::Booted),
            Err(Refused::EvidenceTooLow { have, need: E::Booted })
        );
    }
    for state in [S::Offered, S::Accepted, S::Staged] {
        let refused = Err(Refused::NotArmed { state: state.to_string() });
        assert_eq!(confirm(state, None, Some(E::Full), E::Claimed), refused);
    }
}

#[test]
fn nothing_moves_what_has_ended_but_a_confirmed_device_that_fails() {
    let ended = [
        S::Confirmed,
        S::RolledBack { code: code("x") },
        S::Refused { code: code("x") },
        S::Failed { code: code("x") },
    ];
    for state in ended {
        for said in [
            Progress::Accepted,
            Progress::Fetching,
            Progress::Staged,
            Progress::Arming,
            Progress::Trial,
            Progress::Confirmed,
            Progress::RolledBack { code: code("y") },
            Progress::Refused { code: code("y") },
            Progress::Failed { code: code("y") },
        ] {
            let same = state == S::Confirmed && said == Progress::Confirmed;
            let relapse = state == S::Confirmed
                && matches!(said, Progress::RolledBack { .. } | Progress::Failed { .. });
            let result = told(state.clone(), Some(7), &said);
            match result {
                Ok(transition) if same => assert_eq!(transition.to, None),
                Ok(transition) => assert!(relapse && transition.to.is_some(), "{state} {said:?}"),
                Err(why) => {
                    assert!(
                        !relapse && !same && matches!(why, Refused::AlreadyEnded { .. }),
                        "{state} {said:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_let_go_assignment_takes_no_step_and_one_that_armed_late_raises_an_alarm() {
    let let_go = [S::LeaseExpired, S::Withdrawn { code: code("x") }, S::Dormant { code: code("x") }];
    for state in let_go.clone() {
        for said in [Progress::Accepted, Progress::Fetching, Progress::Staged] {
            assert_eq!(told(state.clone(), None, &said), Err(Refused::LeaseOver), "{state} {said:?}");
        }
    }
    let alarm = |state: AssignmentState, rollout, now| {
        told_at(state, None, &Progress::Arming, rollout, now).unwrap().alarm
    };
    let running = RolloutState::Running;
    assert_eq!(alarm(S::Staged, running, 100), None, "the lease holds to its last second");
    assert_eq!(alarm(S::Staged, running, 101), Some(Alarm::ArmedWithoutLease));
    assert_eq!(alarm(S::LeaseExpired, running, 101), Some(Alarm::ArmedWithoutLease));
    assert_eq!(alarm(S::Withdrawn { code: code("x") }, running, 50), Some(Alarm::ArmedAfterWithdrawal));
    assert_eq!(alarm(S::Staged, RolloutState::Paused(PauseReason::Gate), 50), Some(Alarm::ArmedWhilePaused));
    assert_eq!(alarm(S::Staged, RolloutState::Cancelled, 50), Some(Alarm::ArmedAfterWithdrawal));
    let late = told_at(S::Arming, Some(7), &Progress::Trial, RolloutState::Cancelled, 5000).unwrap();
    assert_eq!(late.alarm, None, "it had armed before");
}

#[test]
fn a_withdrawn_trial_that_goes_back_is_as_it_must_be() {
    let withdrawn = || S::Withdrawn { code: code("cancelled") };
    let back = Progress::RolledBack { code: code("withdrawn") };
    let nothing = Transition { to: None, armed_at: Some(7), alarm: None };
    assert_eq!(told(withdrawn(), Some(7), &back), Ok(nothing));
    let other = Progress::RolledBack { code: code("health-failed") };
    assert!(told(withdrawn(), Some(7), &other).unwrap().to.is_some());
    assert!(told(S::Trial, Some(7), &back).unwrap().to.is_some());
    let refused = Progress::Refused { code: code("quarantined") };
    let failed = Some(S::Failed { code: code("quarantined") });
    assert_eq!(told(S::Trial, Some(7), &refused).unwrap().to, failed, "refusing after arming is a failure");
}

#[test]
fn a_devices_codes_are_bounded_printable_and_never_the_services_own_word() {
    let kept = |said: &str| {
        let to = told(S::Offered, None, &Progress::Failed { code: said.to_owned() }).unwrap().to.unwrap();
        to.code().unwrap().to_owned()
    };
    assert_eq!(kept("disk-full_2.a:b"), "disk-full_2.a:b");
    assert_eq!(kept("a b\n<é>"), "a_b____");
    assert_eq!(kept(""), "unspecified");
    assert_eq!(kept(LOST), "lost-by-its-own-word");
    assert_eq!(kept(&"x".repeat(65)), "x".repeat(64));
}

#[test]
fn the_envelopes_word_follows_rollout_and_state() {
    use AssignmentWord as W;
    let word = |state, rollout, purpose| word_for(rollout, &AssignmentRow { purpose, ..row(state, None) });
    let forward = |state, rollout| word(state, rollout, Purpose::Forward);
    assert_eq!(forward(S::Staged, RolloutState::Running), W::Active);
    assert_eq!(forward(S::Withdrawn { code: code("x") }, RolloutState::Running), W::Withdrawn);
    assert_eq!(forward(S::LeaseExpired, RolloutState::Running), W::Paused);
    assert_eq!(forward(S::Dormant { code: code("x") }, RolloutState::Running), W::Paused);
    for rollout in [
        RolloutState::RollingBack,
        RolloutState::RolledBack,
        RolloutState::Cancelled,
        RolloutState::Superseded,
        RolloutState::Rejected,
    ] {
        assert_eq!(forward(S::Staged, rollout), W::Withdrawn, "{rollout}");
        assert_eq!(word(S::Staged, rollout, Purpose::Rollback), W::Active, "{rollout}");
        // What has armed ends what it began.
        assert_eq!(forward(S::Trial, rollout), W::Active, "{rollout}");
    }
    for reason in [PauseReason::Gate, PauseReason::Operator] {
        assert_eq!(forward(S::Staged, RolloutState::Paused(reason)), W::Paused);
        assert_eq!(word(S::Staged, RolloutState::Paused(reason), Purpose::Rollback), W::Paused);
        assert_eq!(forward(S::Arming, RolloutState::Paused(reason)), W::Active);
    }
}

#[test]
fn words_are_read_back() {
    let states = [
        S::Pending,
        S::Offered,
        S::Accepted,
        S::Fetching,
        S::Staged,
        S::Arming,
        S::Trial,
        S::Confirmed,
        S::LeaseExpired,
        S::RolledBack { code: code("a") },
        S::Refused { code: code("b") },
        S::Failed { code: code("c") },
        S::Withdrawn { code: code("d") },
        S::Dormant { code: code("e") },
    ];
    for state in states {
        assert_eq!(AssignmentState::parse(state.name(), state.code()), Some(state.clone()), "{state}");
    }
    assert_eq!(AssignmentState::parse("Gone", None), None);
    for text in
        ["Draft", "Running", "Paused(gate)", "Paused(operator)", "CompletedWithStragglers", "RolledBack"]
    {
        assert_eq!(RolloutState::parse(text).map(|state| state.to_string()).as_deref(), Some(text));
    }
    assert_eq!(RolloutState::parse("Paused"), None);
    for stage in [Stage::Admit, Stage::Soak, Stage::Gate] {
        assert_eq!(Stage::parse(stage.as_str()), Some(stage));
    }
    for purpose in [Purpose::Forward, Purpose::Rollback] {
        assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
    }
}

#[test]
fn an_operators_orders_hold_from_the_states_that_they_fit() {
    use RolloutState as R;
    let paused = [R::Paused(PauseReason::Gate), R::Paused(PauseReason::Operator)];
    let approve = Command::Approve { by: "anna".into() };
    let fits: [(&Command, Vec<R>); 6] = [
        (&Command::Start, vec![R::Draft]),
        (&approve, vec![R::AwaitingApproval]),
        (&Command::Pause, vec![R::Running, R::CompletedWithStragglers]),
        (&Command::Resume, paused.to_vec()),
        (&Command::Rollback, [&paused[..], &[R::Running, R::Completed, R::CompletedWithStragglers]].concat()),
        (
            &Command::Cancel,
            [
                &paused[..],
                &[R::Draft, R::Validating, R::AwaitingApproval, R::Scheduled, R::Preparing, R::Running],
                &[R::CompletedWithStragglers],
            ]
            .concat(),
        ),
    ];
    let all = [
        "Draft",
        "Validating",
        "AwaitingApproval",
        "Scheduled",
        "Preparing",
        "Running",
        "Paused(gate)",
        "Paused(operator)",
        "RollingBack",
        "RolledBack",
        "Completed",
        "CompletedWithStragglers",
        "Cancelled",
        "Superseded",
        "Rejected",
    ];
    for (order, from) in fits {
        for state in all.map(|text| R::parse(text).expect(text)) {
            let before = RolloutRow { state, ..rollout("a", "r2") };
            let result = command(&before, order, 9);
            assert_eq!(result.is_ok(), from.contains(&state), "{order:?} from {state}");
        }
    }
    let before = RolloutRow { state: R::Paused(PauseReason::Gate), stage: Stage::Gate, ..rollout("a", "r2") };
    let after = command(&before, &Command::Resume, 9).unwrap();
    assert_eq!(
        (after.state, after.resumed_at, after.stage, after.stage_since),
        (R::Running, Some(9), Stage::Admit, 9)
    );
    let own = Command::Approve { by: "rita".into() };
    let before = RolloutRow { state: R::AwaitingApproval, ..before };
    assert_eq!(command(&before, &own, 9), Err(CommandError::OwnRollout { author: "rita".into() }));
}

#[test]
fn phases_are_read_to_their_limits() {
    let spec = |size: &str| PhaseSpec { size: size.into(), soak_s: 5, max_failures: Some(2) };
    let parse =
        |sizes: &[&str]| PhasePlan::parse_all(&sizes.iter().map(|size| spec(size)).collect::<Vec<_>>());
    for bad in ["", "0", "-1", "+1", "1.5", "0%", "101%", "%", "all", "4294967296", "1 "] {
        assert_eq!(PhaseSize::parse(bad), Err(PhaseError::Size { text: bad.to_owned() }), "{bad}");
    }
    for (text, size) in
        [("1", PhaseSize::Count(1)), ("100%", PhaseSize::Percent(100)), ("rest", PhaseSize::Rest)]
    {
        assert_eq!(PhaseSize::parse(text), Ok(size));
        assert_eq!(size.to_string(), text);
    }
    let plans = parse(&["1", "10%", "rest"]).unwrap();
    assert_eq!(plans.iter().map(|p| p.size.of(11)).collect::<Vec<_>>(), [1, 2, u32::MAX]);
    assert_eq!((plans[0].soak_s, plans[0].max_failures), (5, Some(2)));
    assert_eq!(PhaseSize::Percent(1).of(3), 1, "at least one");
    assert_eq!(PhaseSize::Percent(100).of(u32::MAX), u32::MAX);
    let usual = PhasePlan::parse_all(&[]).unwrap();
    assert_eq!(usual.iter().map(|p| p.size).collect::<Vec<_>>(), [PhaseSize::Count(1), PhaseSize::Rest]);
    assert_eq!(parse(&["rest", "1"]), Err(PhaseError::AfterRest { phase: 2 }));
    assert!(parse(&["1"; PHASES_MAX]).is_ok());
    assert_eq!(parse(&["1"; PHASES_MAX + 1]), Err(PhaseError::Count { count: PHASES_MAX + 1 }));
}

#[test]
fn the_rate_grows_with_successes_up_to_its_cap() {
    let rate = Rate { base_per_minute: 2, factor: 3.0, per_successes: 5, max_per_minute: 40 };
    let found = [0, 4, 5, 9, 10, 14, 15, 1000, u32::MAX].map(|successes| rate.per_minute(successes));
    assert_eq!(found, [2, 2, 6, 6, 18, 18, 40, 40, 40]);
    let shrinking = Rate { factor: 0.5, ..rate };
    assert_eq!(shrinking.per_minute(50), 2, "a rate never falls with success");
    let nothing = Rate { base_per_minute: 0, per_successes: 0, max_per_minute: 0, factor: 1.0 };
    assert_eq!(nothing.per_minute(3), 1, "it never stands still");
}
