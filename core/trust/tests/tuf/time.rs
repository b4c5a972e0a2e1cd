//! What time it is: unset clocks, clocks far ahead, signed time and the keys behind it.

use crate::support::fleet::{Device, Fleet};
use crate::support::{DAY, Memory, NOW, Pair, Repo};
use holdfast_trust::tuf::TufError;
use holdfast_trust::tuf::store::DurableTrust;
use holdfast_trust::tuf::time::{SignedTime, WallClock, effective_now};
use holdfast_trust::tuf::walk::At;
use serde_json::json;

const BUILT: i64 = NOW - 400 * DAY;
const YEAR_2099: i64 = 4_070_908_800;

fn refresh(device: &mut Device, repo: &mut Repo, wall: WallClock) -> Result<i64, &'static str> {
    device
        .trust
        .refresh(repo, BUILT, wall)
        .map(|trusted| trusted.now())
        .map_err(|error: TufError| error.code())
}

fn issued(fleet: &mut Fleet, at: i64) {
    fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(at);
    fleet.repo.bump("timestamp");
    fleet.repo.put("timestamp");
}

fn signed_at(device: &Device) -> Option<i64> {
    device.trust.state().signed_time.as_ref().map(|signed| signed.at)
}

#[test]
fn a_clock_of_1970_learns_the_time_from_the_timestamp() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(NOW));
    assert_eq!(signed_at(&device), Some(NOW));
    // A synchronised clock that is behind signed time is raised to it; one that is before it counts.
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(0)), Ok(NOW));
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW + DAY)), Ok(NOW + DAY));
    assert_eq!(signed_at(&device), Some(NOW), "a clock is never stored as signed time");
}

#[test]
fn build_time_is_the_least() {
    let mut fleet = Fleet::new();
    issued(&mut fleet, BUILT - DAY);
    let mut device = fleet.device();
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(BUILT));
}

#[test]
fn a_timestamp_must_say_when_it_was_signed() {
    for wrong in [json!(null), json!("2026-01-01"), json!(-1)] {
        let mut fleet = Fleet::new();
        fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = wrong.clone();
        fleet.repo.publish_below();
        let mut device = fleet.device();
        assert_eq!(
            refresh(&mut device, &mut fleet.repo, WallClock::Unset),
            Err("metadata-malformed"),
            "{wrong}"
        );
    }
}

#[test]
fn a_clock_of_2099_stores_nothing_and_recovers_once_corrected() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let before = device.flash.copies();
    let wrong = WallClock::Synchronised(YEAR_2099);
    assert_eq!(refresh(&mut device, &mut fleet.repo, wrong), Err("clock-ahead"));
    assert!(device.flash.copies() == before, "something was stored");
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW)), Ok(NOW));

    fleet.repo.next();
    let before = device.flash.copies();
    assert_eq!(refresh(&mut device, &mut fleet.repo, wrong), Err("clock-ahead"));
    assert!(device.flash.copies() == before, "something was stored");
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW + 60)), Ok(NOW + 60));
    assert_eq!(device.trust.state().versions["timestamp"], 2);
}

#[test]
fn a_clock_is_ahead_beyond_a_year_or_the_roots_end() {
    // The root ends in 365 days; a second longer than a year ends it later than the clock's limit.
    let mut fleet = Fleet::new();
    fleet.repo.expire("root", NOW + 3000 * DAY);
    for role in ["timestamp", "snapshot", "targets"] {
        fleet.repo.expire(role, NOW + 2900 * DAY);
    }
    fleet.repo.publish();
    let year = 365 * DAY;
    let mut device = fleet.device();
    assert_eq!(
        refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW + year + 1)),
        Err("clock-ahead")
    );
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW + year)), Ok(NOW + year));

    let mut fleet = Fleet::new();
    fleet.repo.expire("root", NOW + 10 * DAY);
    fleet.repo.expire("timestamp", NOW + 20 * DAY);
    fleet.repo.publish();
    let mut device = fleet.device();
    let end = NOW + 10 * DAY;
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(end)), Err("clock-ahead"));
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(end - 1)), Ok(end - 1));
}

#[test]
fn an_expired_root_ends_the_walk_before_anything_below_it_is_asked_for() {
    // TUF 5.3.10: by the build time, by signed time, by the plain workflow's clock.
    let end = NOW + 365 * DAY;
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let walk = |device: &mut Device, repo: &mut Repo, built: i64| {
        repo.requests.clear();
        let ended = device.trust.refresh(repo, built, WallClock::Unset).map(|trusted| trusted.now());
        let asked = repo.requests.iter().any(|name| name == "timestamp.json");
        (ended.map_err(|error| error.code()), asked)
    };
    assert_eq!(walk(&mut device, &mut fleet.repo, end), (Err("metadata-expired"), false));
    assert_eq!(walk(&mut device, &mut fleet.repo, end - 1), (Err("metadata-expired"), true));
    let mut plain = |at: i64| {
        fleet.repo.requests.clear();
        let mut store = Memory::with_root(fleet.repo.first_root());
        let ended = holdfast_trust::tuf::refresh(&mut store, &mut fleet.repo, &At(at)).map(|_| ());
        let asked = fleet.repo.requests.iter().any(|name| name == "timestamp.json");
        (ended.map_err(|error| error.code()), asked)
    };
    assert_eq!(plain(end), (Err("metadata-expired"), false));
    assert_eq!(plain(NOW), (Ok(()), true));
}

#[test]
fn a_root_that_ends_at_the_very_time_that_was_signed_has_ended() {
    let end = NOW + 365 * DAY;
    let mut fleet = Fleet::new();
    fleet.repo.expire("timestamp", end + 7 * DAY);
    issued(&mut fleet, end);
    let mut device = fleet.device();
    let wall = WallClock::Synchronised(end);
    assert_eq!(refresh(&mut device, &mut fleet.repo, wall), Err("metadata-expired"));
    issued(&mut fleet, end - 1);
    assert_eq!(refresh(&mut device, &mut fleet.repo, wall), Err("clock-ahead"));
}

#[test]
fn the_same_time_signed_again_keeps_the_names_of_those_who_signed_last() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    let (old, new) = (Pair::named("timestamp"), Pair::named("timestamp-new"));
    let signers = |device: &Device| device.trust.state().signed_time.clone().unwrap().key_ids;
    assert_eq!(signers(&device), std::slice::from_ref(&old.id));
    fleet.repo.keys("timestamp", 1, &[old, new.clone()]);
    fleet.repo.signers.insert("timestamp".to_owned(), vec![new.clone()]);
    fleet.repo.next_root();
    issued(&mut fleet, NOW);
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    assert_eq!((signed_at(&device), signers(&device)), (Some(NOW), vec![new.id]));
}

#[test]
fn a_root_that_really_ended_is_expired_and_not_a_clock_ahead() {
    let mut fleet = Fleet::new();
    let end = NOW + 365 * DAY;
    fleet.repo.expire("timestamp", end + 7 * DAY);
    issued(&mut fleet, end + 60);
    let mut device = fleet.device();
    assert_eq!(
        refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(end + 90)),
        Err("metadata-expired")
    );
    assert!(device.trust.state().signed_time.is_none());
}

#[test]
fn months_in_a_drawer_are_no_clock_ahead() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(NOW)).unwrap();
    let later = NOW + 800 * DAY;
    for role in ["root", "timestamp", "snapshot", "targets"] {
        fleet.repo.expire(role, later + 30 * DAY);
    }
    fleet.repo.next_root();
    fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(later);
    fleet.repo.next();
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Synchronised(later)), Ok(later));
    assert_eq!(signed_at(&device), Some(later));
}

#[test]
fn signed_time_never_counts_beyond_the_roots_end_nor_blocks_the_device_there() {
    let mut fleet = Fleet::new();
    let end = NOW + 365 * DAY;
    for role in ["timestamp", "snapshot", "targets"] {
        fleet.repo.expire(role, YEAR_2099);
    }
    fleet.repo.publish_below();
    issued(&mut fleet, YEAR_2099);
    let mut device = fleet.device();
    let now = refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    assert_eq!(now, end - 1, "the last second of the root");
    assert_eq!(signed_at(&device), Some(end - 1));
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(end - 1));
}

#[test]
fn signed_time_does_not_go_back() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    issued(&mut fleet, NOW - 5 * DAY);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(NOW));
    assert_eq!(signed_at(&device), Some(NOW));

    // It freezes nothing out: an old timestamp ends by it.
    fleet.repo.expire("timestamp", NOW);
    issued(&mut fleet, NOW - 6 * DAY);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Err("metadata-expired"));
}

#[test]
fn a_refused_walk_leaves_the_signed_time() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    issued(&mut fleet, NOW + 100 * DAY);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Err("metadata-expired"));
    assert_eq!(signed_at(&device), Some(NOW));
}

#[test]
fn a_root_that_retires_the_timestamp_key_drops_the_time_that_it_signed() {
    let mut fleet = Fleet::new();
    let thief = NOW + 300 * DAY;
    for role in ["timestamp", "snapshot", "targets"] {
        fleet.repo.expire(role, NOW + 364 * DAY);
    }
    fleet.repo.publish_below();
    issued(&mut fleet, thief);
    let mut device = fleet.device();
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(thief));

    // The same key after a new root: the time stays.
    fleet.repo.next_root();
    issued(&mut fleet, NOW);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(thief));

    // A key is added: the old one still stands behind it.
    let old = Pair::named("timestamp");
    fleet.repo.keys("timestamp", 1, &[Pair::named("new timestamp"), old]);
    fleet.repo.next_root();
    issued(&mut fleet, NOW);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(thief));

    fleet.repo.keys("timestamp", 1, &[Pair::named("new timestamp")]);
    fleet.repo.next_root();
    issued(&mut fleet, NOW);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(NOW));
    let kept = device.trust.state().signed_time.clone().unwrap();
    assert_eq!((kept.at, kept.key_ids), (NOW, vec![Pair::named("new timestamp").id]));
}

#[test]
fn a_key_that_only_waits_in_the_list_vouches_for_nothing() {
    let mut fleet = Fleet::new();
    let (used, spare) = (Pair::named("timestamp"), Pair::named("spare timestamp"));
    fleet.repo.listed_keys("timestamp", 1, &[used.clone(), spare.clone()]);
    fleet.repo.publish();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    assert_eq!(
        device.trust.state().signed_time.as_ref().unwrap().key_ids.as_slice(),
        std::slice::from_ref(&used.id)
    );

    // Retiring the spare key costs no time; retiring the used one does.
    fleet.repo.keys("timestamp", 1, std::slice::from_ref(&used));
    fleet.repo.next_root();
    issued(&mut fleet, NOW - DAY);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(NOW));
}

#[test]
fn the_time_for_tls_is_the_same_maximum() {
    let signed = SignedTime { at: 50, key_ids: vec!["k".into()] };
    for (build, wall, signed, expected) in [
        (10, WallClock::Unset, None, 10),
        (10, WallClock::Unset, Some(&signed), 50),
        (60, WallClock::Unset, Some(&signed), 60),
        (10, WallClock::Synchronised(20), None, 20),
        (10, WallClock::Synchronised(5), None, 10),
        (10, WallClock::Synchronised(20), Some(&signed), 50),
    ] {
        assert_eq!(effective_now(build, wall, signed), expected);
    }
}

#[test]
fn the_time_survives_a_restart() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    refresh(&mut device, &mut fleet.repo, WallClock::Unset).unwrap();
    let trust = DurableTrust::open(device.flash.clone()).unwrap();
    let mut device = Device { trust, flash: device.flash };
    issued(&mut fleet, NOW - 5 * DAY);
    assert_eq!(refresh(&mut device, &mut fleet.repo, WallClock::Unset), Ok(NOW));
}
