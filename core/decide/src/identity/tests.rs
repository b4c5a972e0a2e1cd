//! Tables: one row a rule.

use super::*;

const EK1: Digest = Digest([1; 32]);
const EK2: Digest = Digest([2; 32]);

fn presented() -> Presented {
    Presented {
        serial: "s1".into(),
        model: "hub".into(),
        ek_hash: Some(EK1),
        ak_name: Some(Bytes(vec![7])),
        tier: Tier::T4,
        vouched_serial: None,
    }
}

fn record(id: &str, serial: &str, ek_hash: Option<Digest>) -> Record {
    Record {
        id: id.into(),
        serial: serial.into(),
        ek_hash,
        ak_name: Some(Bytes(vec![7])),
        state: DeviceState::Active,
        tier: Some(Tier::T4),
        replaced_by: None,
    }
}

fn claim() -> Claim {
    Claim { serial: "s1".into(), model: "hub".into(), ek_hash: Some(EK1), ak_name: Some(Bytes(vec![7])) }
}

fn approval(ek_hash: Option<Digest>, serial: &str) -> Approval {
    Approval { ek_hash, serial: serial.into() }
}

fn resumed(id: &str) -> RowDecision {
    RowDecision::Resume { record: id.into(), tier: TierChange::Same { tier: Tier::T4 } }
}

fn pending(reason: PendingReason) -> RowDecision {
    RowDecision::Pending { reason }
}

#[test]
fn the_same_ek_and_serial_resume_under_the_same_record() {
    let known = Known {
        by_serial: Some(record("d1", "s1", Some(EK1))),
        by_ek: Some(record("d1", "s1", Some(EK1))),
        ..Known::default()
    };
    assert_eq!(identity_row(&presented(), &known), resumed("d1"));
    // A new AK under the same EK (recovery) resumes, too.
    let other_ak = Presented { ak_name: Some(Bytes(vec![8])), ..presented() };
    assert_eq!(identity_row(&other_ak, &known), resumed("d1"));
}

#[test]
fn the_same_serial_with_another_ek_is_a_conflict_until_that_ek_is_approved() {
    let mut known =
        Known { by_serial: Some(record("d1", "s1", Some(EK2))), claim: Some(claim()), ..Known::default() };
    let conflict = RowDecision::Conflict { record: "d1".into() };
    assert_eq!(identity_row(&presented(), &known), conflict);
    for (approval, wanted) in [
        (approval(Some(EK2), "s1"), conflict.clone()),
        (approval(Some(EK1), "s2"), conflict.clone()),
        (approval(None, "s1"), conflict.clone()),
        (approval(Some(EK1), "s1"), resumed("d1")),
    ] {
        known.approval = Some(approval);
        assert_eq!(identity_row(&presented(), &known), wanted, "{:?}", known.approval);
    }
}

#[test]
fn the_same_ek_with_another_serial_is_an_alarm_that_no_approval_lifts() {
    let known = Known {
        by_ek: Some(record("d9", "s9", Some(EK1))),
        claim: Some(claim()),
        approval: Some(approval(Some(EK1), "s1")),
        ..Known::default()
    };
    let alarm = RowDecision::Alarm { record: "d9".into(), reason: RefusalCode::EkOfAnotherSerial };
    assert_eq!(identity_row(&presented(), &known), alarm);
}

#[test]
fn a_denied_ek_is_refused_before_all_else() {
    let known = Known {
        by_serial: Some(record("d1", "s1", Some(EK1))),
        by_ek: Some(record("d9", "s9", Some(EK1))),
        claim: Some(claim()),
        approval: Some(approval(Some(EK1), "s1")),
        ek_denied: true,
    };
    let decision = identity_row(&presented(), &known);
    assert_eq!(decision, RowDecision::Refuse { reason: RefusalCode::EkDenied });
}

#[test]
fn a_new_record_needs_a_claim_that_matches_or_an_approval_of_both() {
    let whole = claim();
    let create = |because| RowDecision::Create { because };
    for (claim, approval, wanted) in [
        (None, None, pending(PendingReason::Unclaimed)),
        (Some(Claim { serial: "s2".into(), ..claim() }), None, pending(PendingReason::Unclaimed)),
        (Some(whole.clone()), None, create(Because::Claimed)),
        (Some(Claim { ak_name: None, ..claim() }), None, create(Because::Claimed)),
        (Some(Claim { ek_hash: None, ..claim() }), None, pending(PendingReason::ClaimWithoutKey)),
        (Some(Claim { ek_hash: Some(EK2), ..claim() }), None, pending(PendingReason::ClaimOfAnotherEk)),
        (
            Some(Claim { ak_name: Some(Bytes(vec![8])), ..claim() }),
            None,
            pending(PendingReason::ClaimOfAnotherAk),
        ),
        (Some(Claim { model: "hut".into(), ..claim() }), None, pending(PendingReason::ClaimOfAnotherModel)),
        (None, Some(approval(Some(EK1), "s1")), create(Because::Approved)),
        (None, Some(approval(Some(EK2), "s1")), pending(PendingReason::Unclaimed)),
        (None, Some(approval(Some(EK1), "s2")), pending(PendingReason::Unclaimed)),
        (
            Some(Claim { ek_hash: Some(EK2), ..claim() }),
            Some(approval(Some(EK1), "s1")),
            create(Because::Approved),
        ),
    ] {
        let known = Known { claim, approval, ..Known::default() };
        assert_eq!(identity_row(&presented(), &known), wanted, "{known:?}");
    }
}

#[test]
fn records_that_were_ended_take_no_certificate() {
    for (state, replaced_by, wanted) in [
        (DeviceState::Pending, None, None),
        (DeviceState::Active, None, None),
        (DeviceState::Suspended, None, Some(RefusalCode::DeviceSuspended)),
        (DeviceState::Retired, None, Some(RefusalCode::DeviceRetired)),
        (DeviceState::Scrapped, None, Some(RefusalCode::DeviceScrapped)),
        (DeviceState::Active, Some("d2".into()), Some(RefusalCode::DeviceReplaced)),
    ] {
        let row = Record { state, replaced_by, ..record("d1", "s1", Some(EK1)) };
        let known = Known {
            by_serial: Some(row.clone()),
            by_ek: Some(row.clone()),
            approval: Some(approval(Some(EK1), "s1")),
            ..Known::default()
        };
        let decision = wanted.map_or(resumed("d1"), |reason| RowDecision::Refuse { reason });
        assert_eq!(identity_row(&presented(), &known), decision, "{state:?}");
        // A suspended record is no conflict for another TPM, either: it is refused.
        if wanted.is_some() {
            let other = Presented { ek_hash: Some(EK2), ..presented() };
            let known = Known { by_serial: Some(row), ..Known::default() };
            assert!(matches!(identity_row(&other, &known), RowDecision::Refuse { .. }), "{state:?}");
        }
    }
}

#[test]
fn a_token_speaks_for_its_own_serial_and_takes_over_no_tpm() {
    let token = |serial: Option<&str>| Presented {
        ek_hash: None,
        ak_name: None,
        tier: Tier::T0,
        vouched_serial: serial.map(str::to_owned),
        ..presented()
    };
    let none = Known::default();
    assert_eq!(identity_row(&token(Some("s1")), &none), RowDecision::Create { because: Because::Vouched });
    let nothing = RowDecision::Refuse { reason: RefusalCode::NothingProven };
    assert_eq!(identity_row(&token(None), &none), nothing);
    assert_eq!(identity_row(&token(Some("s2")), &none), nothing);
    let approved = Known { approval: Some(approval(None, "s1")), ..Known::default() };
    assert_eq!(identity_row(&token(None), &approved), RowDecision::Create { because: Because::Approved });

    let software = Record { tier: Some(Tier::T0), ek_hash: None, ..record("d1", "s1", None) };
    let known = |row: &Record| Known { by_serial: Some(row.clone()), ..Known::default() };
    let again = RowDecision::Resume { record: "d1".into(), tier: TierChange::Same { tier: Tier::T0 } };
    assert_eq!(identity_row(&token(Some("s1")), &known(&software)), again);
    let suspended = Record { state: DeviceState::Suspended, ..software };
    let refused = RowDecision::Refuse { reason: RefusalCode::DeviceSuspended };
    assert_eq!(identity_row(&token(Some("s1")), &known(&suspended)), refused);
    let tpm = record("d1", "s1", Some(EK1));
    assert_eq!(identity_row(&token(Some("s1")), &known(&tpm)), RowDecision::Conflict { record: "d1".into() });
}

#[test]
fn a_tier_is_never_raised_silently_and_never_lowered_without_an_operator() {
    use TierChange as C;
    for (had, proven, wanted, tier) in [
        (None, Tier::T3, C::First { tier: Tier::T3 }, Tier::T3),
        (Some(Tier::T3), Tier::T3, C::Same { tier: Tier::T3 }, Tier::T3),
        (Some(Tier::T3), Tier::T4, C::RaiseOffered { stays: Tier::T3, proven: Tier::T4 }, Tier::T3),
        (Some(Tier::T4), Tier::T3, C::Lower { from: Tier::T4, to: Tier::T3 }, Tier::T3),
    ] {
        assert_eq!(tier_after(had, proven), wanted);
        assert_eq!(wanted.tier(), tier);
    }
    let lower = Presented { tier: Tier::T3, ..presented() };
    let mut known = Known { by_serial: Some(record("d1", "s1", Some(EK1))), ..Known::default() };
    assert_eq!(identity_row(&lower, &known), pending(PendingReason::TierLower));
    known.approval = Some(approval(Some(EK1), "s1"));
    let lowered =
        RowDecision::Resume { record: "d1".into(), tier: C::Lower { from: Tier::T4, to: Tier::T3 } };
    assert_eq!(identity_row(&lower, &known), lowered);
}

#[test]
fn the_life_of_a_record_and_who_moves_it() {
    use crate::access::Role;
    use DeviceState::{Active, Pending, Retired, Scrapped, Suspended};
    let operator = Mover::Operator(Role::Operator);
    let admin = Mover::Operator(Role::TenantAdmin);
    for (order, by, wanted) in [
        (Order::Acknowledge, Mover::Device, [Some(Active), Some(Active), None, None, None]),
        (Order::Quarantine, operator, [Some(Suspended), Some(Suspended), Some(Suspended), None, None]),
        (Order::Quarantine, Mover::Policy, [Some(Suspended), Some(Suspended), Some(Suspended), None, None]),
        (Order::Release, operator, [None, Some(Active), Some(Active), None, None]),
        (Order::Retire, operator, [Some(Retired), Some(Retired), Some(Retired), Some(Retired), None]),
        (
            Order::Scrap,
            admin,
            [Some(Scrapped), Some(Scrapped), Some(Scrapped), Some(Scrapped), Some(Scrapped)],
        ),
    ] {
        for (from, wanted) in [Pending, Active, Suspended, Retired, Scrapped].into_iter().zip(wanted) {
            let moved = move_device(from, order, by);
            assert_eq!(moved.ok(), wanted, "{order:?} from {from:?} by {by:?}");
            if wanted.is_none() {
                assert_eq!(moved, Err(LifecycleError::NotFrom { from, order }));
            }
        }
    }
    for (order, by) in [
        (Order::Acknowledge, admin),
        (Order::Acknowledge, Mover::Policy),
        (Order::Quarantine, Mover::Device),
        (Order::Release, Mover::Policy),
        (Order::Release, Mover::Device),
        (Order::Retire, Mover::Policy),
        (Order::Retire, Mover::Device),
        (Order::Scrap, Mover::Policy),
        (Order::Scrap, operator),
        (Order::Quarantine, Mover::Operator(Role::Viewer)),
        (Order::Retire, Mover::Operator(Role::GrantApprover)),
    ] {
        assert_eq!(move_device(Active, order, by), Err(LifecycleError::NotYours { order, by }));
    }
}

/// Always the same draw.
struct Draw(u64);

impl rand_core::RngCore for Draw {
    fn next_u32(&mut self) -> u32 {
        (self.0 >> 32) as u32
    }
    fn next_u64(&mut self) -> u64 {
        self.0
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0 as u8);
    }
}

#[test]
fn renewal_falls_between_two_thirds_and_five_sixths_of_life() {
    for (draw, wanted) in [(0, 1600), (u64::MAX, 1750), (u64::MAX / 2, 1675)] {
        assert_eq!(renew_at(1000, 1900, &mut Draw(draw)), wanted);
    }
    for life in 0..20 {
        for draw in [0, u64::MAX] {
            let at = renew_at(1000, 1000 + life, &mut Draw(draw));
            assert!(at >= 1000 && at <= 1000 + life && (life < 2 || at < 1000 + life), "{life}: {at}");
        }
    }
    assert_eq!(renew_at(1000, 500, &mut Draw(u64::MAX)), 1000);
    assert_eq!(certificate_duty(1600, 1900, 1599), CertificateDuty::Keep { renew_at: 1600 });
    assert_eq!(certificate_duty(1600, 1900, 1600), CertificateDuty::Renew);
    assert_eq!(certificate_duty(1600, 1900, 1899), CertificateDuty::Renew);
    assert_eq!(certificate_duty(1600, 1900, 1900), CertificateDuty::Recover);
}

#[test]
fn expired_is_not_revoked_and_what_was_ended_does_not_recover() {
    const YEAR_S: i64 = 31_536_000;
    let row = record("d1", "s1", Some(EK1));
    let recover = |row: &Record, ek, revoked, ago| may_recover(row, ek, revoked, 1000, 3600, 1000 + ago);
    assert_eq!(recover(&row, Some(EK1), false, 10 * YEAR_S), Ok(()));
    assert_eq!(recover(&row, Some(EK1), false, -5), Ok(()));
    assert_eq!(recover(&row, Some(EK1), true, 5), Err(RecoveryRefused::Revoked));
    assert_eq!(recover(&row, Some(EK2), false, 5), Err(RecoveryRefused::AnotherEk));
    assert_eq!(recover(&row, None, false, 5), Err(RecoveryRefused::AnotherEk));
    for (state, code) in [
        (DeviceState::Suspended, RefusalCode::DeviceSuspended),
        (DeviceState::Retired, RefusalCode::DeviceRetired),
        (DeviceState::Scrapped, RefusalCode::DeviceScrapped),
    ] {
        let row = Record { state, ..row.clone() };
        assert_eq!(recover(&row, Some(EK1), false, 5), Err(RecoveryRefused::Record(code)));
    }
    let replaced = Record { replaced_by: Some("d2".into()), ..row.clone() };
    let refused = Err(RecoveryRefused::Record(RefusalCode::DeviceReplaced));
    assert_eq!(recover(&replaced, Some(EK1), false, 5), refused);
    let fresh = Record { state: DeviceState::Pending, ..row };
    assert_eq!(recover(&fresh, Some(EK1), false, 5), Err(RecoveryRefused::NeverActive));

    let software = Record { ek_hash: None, tier: Some(Tier::T0), ..record("d1", "s1", None) };
    assert_eq!(recover(&software, None, false, 3600), Ok(()));
    let outside = RecoveryRefused::OutsideWindow { ago_s: 3601, window_s: 3600 };
    assert_eq!(recover(&software, None, false, 3601), Err(outside));
}

#[test]
fn a_lost_answer_is_given_again_only_for_the_same_four_facts() {
    let issued = IssuedFor {
        ek_hash: Some(EK1),
        ak_name: Some(Bytes(vec![7])),
        public_key: Bytes(vec![9]),
        serial: "s1".into(),
    };
    let same = |asked: &IssuedFor| reanswers(&issued, asked, false, 100, 99);
    assert!(same(&issued));
    assert!(!same(&IssuedFor { ek_hash: Some(EK2), ..issued.clone() }));
    assert!(!same(&IssuedFor { ak_name: None, ..issued.clone() }));
    assert!(!same(&IssuedFor { public_key: Bytes(vec![8]), ..issued.clone() }));
    assert!(!same(&IssuedFor { serial: "s2".into(), ..issued.clone() }));
    assert!(!reanswers(&issued, &issued, true, 100, 99));
    assert!(!reanswers(&issued, &issued, false, 100, 100));
}

#[test]
fn codes_are_stable() {
    use PendingReason as P;
    use RefusalCode as R;
    let pending = [
        P::Unclaimed,
        P::ClaimWithoutKey,
        P::ClaimOfAnotherEk,
        P::ClaimOfAnotherAk,
        P::ClaimOfAnotherModel,
        P::TierLower,
    ];
    assert_eq!(
        pending.map(PendingReason::as_str),
        [
            "unclaimed",
            "claim-without-key",
            "claim-of-another-ek",
            "claim-of-another-ak",
            "claim-of-another-model",
            "tier-lower"
        ]
    );
    let refused = [
        R::EkDenied,
        R::EkOfAnotherSerial,
        R::DeviceSuspended,
        R::DeviceRetired,
        R::DeviceScrapped,
        R::DeviceReplaced,
        R::NothingProven,
    ];
    assert_eq!(
        refused.map(RefusalCode::as_str),
        [
            "ek-denied",
            "ek-of-another-serial",
            "device-suspended",
            "device-retired",
            "device-scrapped",
            "device-replaced",
            "nothing-proven"
        ]
    );
}
