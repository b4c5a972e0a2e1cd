//! The walk against a repository that lies: every fixture is named after its fault and refused for it alone, and what
//! was trusted before stays trusted.

mod tuf_support;

use holdfast_trust::tuf::walk::{self, At, Source, SourceError};
use holdfast_trust::tuf::{Trusted, TufError, limits};
use serde_json::json;
use tuf_support::{DAY, Memory, NOW, Pair, Repo, pairs};

fn begin() -> (Repo, Memory) {
    let repo = Repo::new();
    let store = Memory::with_root(repo.first_root());
    (repo, store)
}

fn refresh(store: &mut Memory, repo: &mut Repo) -> Result<Trusted, TufError> {
    refresh_at(store, repo, NOW)
}

fn refresh_at(store: &mut Memory, repo: &mut Repo, now: i64) -> Result<Trusted, TufError> {
    repo.requests.clear();
    walk::refresh(store, repo, &At(now))
}

fn code(result: Result<Trusted, TufError>) -> &'static str {
    match result {
        Ok(_) => "believed",
        Err(error) => error.code(),
    }
}

const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

fn versions(store: &Memory) -> [Option<u64>; 4] {
    TOP_LEVEL.map(|role| store.version(role))
}

#[test]
fn a_first_refresh_asks_for_each_role_once_and_keeps_the_bytes() {
    let (mut repo, mut store) = begin();
    let trusted = refresh(&mut store, &mut repo).unwrap();
    assert_eq!(repo.requests, ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    for role in TOP_LEVEL {
        assert_eq!(store.files[&format!("{role}.json")], repo.served[&format!("{role}.json")]);
    }
    assert_eq!((trusted.now(), trusted.snapshot_version()), (NOW, 1));
    assert_eq!(trusted.pinned(), [("targets".to_owned(), 1)]);
    assert_eq!(trusted.timestamp().unwrap().version, 1);
    assert_eq!(trusted.root().version, 1);

    refresh(&mut store, &mut repo).unwrap();
    assert_eq!(repo.requests, ["2.root.json", "timestamp.json"]);
}

#[test]
fn names_carry_no_version_without_consistent_snapshots() {
    let (mut repo, _) = begin();
    repo.signed("root")["consistent_snapshot"] = json!(false);
    repo.list("targets", "a/b.txt", b"text", None);
    repo.publish();
    let mut store = Memory::with_root(repo.first_root());
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    let (_, target) = trusted.find("a/b.txt", &mut store, &mut repo).unwrap().unwrap();
    assert_eq!(trusted.fetch("a/b.txt", &target, &mut repo).unwrap(), b"text");
    let asked = ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", "a/b.txt"];
    assert_eq!(repo.requests, asked);
}

/// Fault, what makes it, the code, and the versions that are trusted afterwards (root, timestamp, snapshot, targets).
type Fault = (&'static str, fn(&mut Repo), &'static str, [u64; 4]);

/// Each begins where version 2 of everything below root 1 is trusted and version 3 is about to be published.
const FAULTS: &[Fault] = &[
    ("no fault", |repo| repo.publish_below(), "believed", [1, 3, 3, 3]),
    (
        "timestamp expired",
        |repo| spoil(repo, |repo| repo.expire("timestamp", NOW - 1)),
        "metadata-expired",
        [1, 2, 2, 2],
    ),
    (
        "timestamp expires now",
        |repo| spoil(repo, |repo| repo.expire("timestamp", NOW)),
        "metadata-expired",
        [1, 2, 2, 2],
    ),
    (
        "timestamp expires in a second",
        |repo| spoil(repo, |repo| repo.expire("timestamp", NOW + 1)),
        "believed",
        [1, 3, 3, 3],
    ),
    (
        "snapshot expired",
        |repo| spoil(repo, |repo| repo.expire("snapshot", NOW)),
        "metadata-expired",
        [1, 3, 2, 2],
    ),
    (
        "targets expired",
        |repo| spoil(repo, |repo| repo.expire("targets", NOW)),
        "metadata-expired",
        [1, 3, 3, 2],
    ),
    (
        "root expired",
        |repo| {
            repo.expire("root", NOW);
            repo.next_root();
            repo.publish_below();
        },
        "metadata-expired",
        [2, 2, 2, 2],
    ),
    (
        "timestamp unsigned",
        |repo| spoil(repo, |repo| unsign(repo, "timestamp")),
        "metadata-unsigned",
        [1, 2, 2, 2],
    ),
    (
        "snapshot unsigned",
        |repo| spoil(repo, |repo| unsign(repo, "snapshot")),
        "metadata-unsigned",
        [1, 3, 2, 2],
    ),
    (
        "targets unsigned",
        |repo| spoil(repo, |repo| unsign(repo, "targets")),
        "metadata-unsigned",
        [1, 3, 3, 2],
    ),
    (
        "root unsigned",
        |repo| {
            unsign(repo, "root");
            repo.next_root();
            repo.publish_below();
        },
        "metadata-unsigned",
        [1, 2, 2, 2],
    ),
    (
        "root signed by a thief",
        |repo| {
            repo.keys("root", 1, &[Pair::named("thief")]);
            repo.next_root();
        },
        "metadata-unsigned",
        [1, 2, 2, 2],
    ),
    (
        "root jumps",
        |repo| {
            repo.set_version("root", 3);
            let bytes = repo.put("root");
            repo.served.insert("2.root.json".into(), bytes);
        },
        "metadata-rollback",
        [1, 2, 2, 2],
    ),
    (
        "root again",
        |repo| {
            repo.served.insert("2.root.json".into(), repo.first_root());
        },
        "metadata-rollback",
        [1, 2, 2, 2],
    ),
    (
        "timestamp signed twice by one key",
        |repo| {
            spoil(repo, |repo| repo.signers.get_mut("timestamp").unwrap().push(Pair::named("timestamp")));
        },
        "metadata-unsigned",
        [1, 2, 2, 2],
    ),
    (
        "timestamp rolled back",
        |repo| spoil(repo, |repo| repo.set_version("timestamp", 1)),
        "metadata-rollback",
        [1, 2, 2, 2],
    ),
    (
        "snapshot rolled back",
        |repo| spoil(repo, |repo| repo.set_version("snapshot", 1)),
        "metadata-rollback",
        [1, 2, 2, 2],
    ),
    (
        "targets rolled back",
        |repo| spoil(repo, |repo| repo.set_version("targets", 1)),
        "metadata-rollback",
        [1, 3, 2, 2],
    ),
    (
        "targets gone from the snapshot",
        |repo| {
            repo.signed("snapshot")["meta"] = json!({"other.json": {"version": 9}});
            repo.publish_snapshot();
        },
        "metadata-mismatch",
        [1, 3, 2, 2],
    ),
    (
        "timestamp pins no snapshot",
        |repo| {
            repo.signed("timestamp")["meta"] = json!({});
            repo.put("timestamp");
        },
        "metadata-malformed",
        [1, 2, 2, 2],
    ),
    // Mix and match: files that were never published together.
    (
        "old snapshot under a new timestamp",
        |repo| {
            repo.publish_below();
            repo.served.insert("3.snapshot.json".into(), repo.served["2.snapshot.json"].clone());
        },
        "metadata-mismatch",
        [1, 3, 2, 2],
    ),
    (
        "old targets under a new snapshot",
        |repo| {
            repo.publish_below();
            repo.served.insert("3.targets.json".into(), repo.served["2.targets.json"].clone());
        },
        "metadata-mismatch",
        [1, 3, 3, 2],
    ),
    (
        "other targets of the pinned length",
        |repo| {
            repo.publish_below();
            let text = String::from_utf8(repo.served["3.targets.json"].clone()).unwrap();
            repo.served.insert("3.targets.json".into(), text.replace("1.0.31", "1.0.32").into_bytes());
        },
        "metadata-mismatch",
        [1, 3, 3, 2],
    ),
    (
        "targets in place of the snapshot",
        |repo| {
            repo.publish_below();
            repo.signed("timestamp")["meta"]["snapshot.json"] = json!({"version": 3});
            repo.put("timestamp");
            repo.served.insert("3.snapshot.json".into(), repo.served["3.targets.json"].clone());
        },
        "metadata-malformed",
        [1, 3, 2, 2],
    ),
    (
        "another major specification",
        |repo| {
            spoil(repo, |repo| repo.signed("timestamp")["spec_version"] = json!("2.0.0"));
        },
        "metadata-malformed",
        [1, 2, 2, 2],
    ),
    (
        "timestamp is no JSON",
        |repo| {
            repo.served.insert("timestamp.json".into(), b"{".to_vec());
        },
        "metadata-malformed",
        [1, 2, 2, 2],
    ),
    (
        "timestamp absent",
        |repo| {
            repo.served.remove("timestamp.json");
        },
        "metadata-absent",
        [1, 2, 2, 2],
    ),
    (
        "snapshot absent",
        |repo| {
            repo.publish_below();
            repo.served.remove("3.snapshot.json");
        },
        "metadata-absent",
        [1, 3, 2, 2],
    ),
    (
        "targets absent",
        |repo| {
            repo.publish_below();
            repo.served.remove("3.targets.json");
        },
        "metadata-absent",
        [1, 3, 3, 2],
    ),
    (
        "connection lost",
        |repo| {
            repo.publish_below();
            repo.broken.push("3.snapshot.json".into());
        },
        "metadata-unreachable",
        [1, 3, 2, 2],
    ),
    (
        "connection lost at root",
        |repo| {
            repo.publish_below();
            repo.broken.push("2.root.json".into());
        },
        "metadata-unreachable",
        [1, 2, 2, 2],
    ),
    (
        "root with one key under two ids",
        |repo| {
            let key = Pair::named("timestamp");
            repo.keys("timestamp", 2, &[key.clone(), key.alias("other")]);
            repo.next_root();
            repo.publish_below();
        },
        "metadata-key-twice",
        [1, 2, 2, 2],
    ),
    (
        "delegation with one key under two ids",
        |repo| {
            let key = Pair::named("a");
            spoil(repo, |repo| {
                repo.delegate("targets", "a", &["*"], false, (2, &[key.clone(), key.alias("other")]));
            });
        },
        "metadata-key-twice",
        [1, 3, 3, 2],
    ),
    (
        "endless root",
        |repo| endless(repo, "2.root.json", limits::ROOT_MAX_BYTES),
        "metadata-too-long",
        [1, 2, 2, 2],
    ),
    (
        "endless timestamp",
        |repo| endless(repo, "timestamp.json", limits::TIMESTAMP_MAX_BYTES),
        "metadata-too-long",
        [1, 2, 2, 2],
    ),
    (
        "endless snapshot",
        |repo| {
            repo.publish_below();
            let length = repo.served["3.snapshot.json"].len() as u64;
            endless(repo, "3.snapshot.json", length);
        },
        "metadata-too-long",
        [1, 3, 2, 2],
    ),
    (
        "endless snapshot whose length nobody pins",
        |repo| {
            repo.publish_below();
            repo.signed("timestamp")["meta"]["snapshot.json"] = json!({"version": 3});
            repo.put("timestamp");
            endless(repo, "3.snapshot.json", limits::SNAPSHOT_MAX_BYTES);
        },
        "metadata-too-long",
        [1, 3, 2, 2],
    ),
    (
        "snapshot pinned beyond the limit",
        |repo| {
            repo.publish_below();
            repo.signed("timestamp")["meta"]["snapshot.json"] = json!({"version": 3, "length": u64::MAX});
            repo.put("timestamp");
            endless(repo, "3.snapshot.json", limits::SNAPSHOT_MAX_BYTES);
        },
        "metadata-too-long",
        [1, 3, 2, 2],
    ),
    (
        "endless targets whose length nobody pins",
        |repo| {
            repo.publish_below();
            repo.signed("snapshot")["meta"]["targets.json"] = json!({"version": 3});
            repo.publish_snapshot();
            endless(repo, "3.targets.json", limits::TARGETS_MAX_BYTES);
        },
        "metadata-too-long",
        [1, 3, 3, 2],
    ),
];

fn spoil(repo: &mut Repo, fault: impl FnOnce(&mut Repo)) {
    fault(repo);
    repo.publish_below();
}

fn unsign(repo: &mut Repo, role: &str) {
    repo.signers.insert(role.to_owned(), vec![Pair::named("thief")]);
}

/// One byte more than the limit.
fn endless(repo: &mut Repo, name: &str, limit: u64) {
    repo.served.insert(name.to_owned(), vec![b' '; limit as usize + 1]);
}

#[test]
fn each_fault_is_refused_for_its_own_reason_and_what_was_trusted_stays() {
    for (name, fault, expected, trusted) in FAULTS {
        let (mut repo, mut store) = begin();
        repo.next();
        refresh(&mut store, &mut repo).unwrap();
        for role in ["timestamp", "snapshot", "targets"] {
            repo.bump(role);
        }
        fault(&mut repo);
        assert_eq!(code(refresh(&mut store, &mut repo)), *expected, "{name}");
        assert_eq!(versions(&store), trusted.map(Some), "{name}");
        // And the genuine article is still believed afterwards.
        // Root 2 stays, and so does the delegated role that the stored snapshot pins.
        let is_recoverable = !matches!(*name, "root expired" | "delegation with one key under two ids");
        if is_recoverable {
            let mut genuine = recovered(trusted);
            assert_eq!(code(refresh(&mut store, &mut genuine)), "believed", "{name}, genuine again");
        }
    }
}

/// What the same keys publish next, above all that was trusted.
fn recovered(trusted: &[u64; 4]) -> Repo {
    let mut repo = Repo::new();
    for role in ["timestamp", "snapshot", "targets"] {
        repo.set_version(role, 4);
    }
    assert_eq!(trusted[0], 1);
    repo.publish_below();
    repo
}

#[test]
fn a_limit_is_reached_but_not_passed() {
    let (mut repo, mut store) = begin();
    let mut bytes = repo.served["timestamp.json"].clone();
    bytes.resize(limits::TIMESTAMP_MAX_BYTES as usize, b' ');
    repo.served.insert("timestamp.json".into(), bytes);
    assert_eq!(code(refresh(&mut store, &mut repo)), "believed");
}

#[test]
fn the_same_timestamp_version_with_other_content_is_passed_over() {
    let (mut repo, mut store) = begin();
    refresh(&mut store, &mut repo).unwrap();
    let before = store.clone();
    repo.signed("timestamp")["meta"]["snapshot.json"] = json!({"version": 100});
    repo.put("timestamp");
    refresh(&mut store, &mut repo).unwrap();
    assert_eq!(repo.requests, ["2.root.json", "timestamp.json"]);
    assert_eq!(store, before);
}

#[test]
fn a_repository_that_stands_still_is_believed_until_its_timestamp_ends() {
    let (mut repo, mut store) = begin();
    refresh(&mut store, &mut repo).unwrap();
    assert_eq!(code(refresh_at(&mut store, &mut repo, NOW + 7 * DAY - 1)), "believed");
    assert_eq!(code(refresh_at(&mut store, &mut repo, NOW + 7 * DAY)), "metadata-expired");
}

#[test]
fn a_kept_snapshot_and_kept_targets_end_too() {
    for role in ["snapshot", "targets"] {
        let (mut repo, _) = begin();
        repo.expire(role, NOW + DAY);
        repo.publish_below();
        let mut store = Memory::with_root(repo.first_root());
        refresh(&mut store, &mut repo).unwrap();
        assert_eq!(code(refresh_at(&mut store, &mut repo, NOW + DAY)), "metadata-expired", "{role}");
    }
}

#[test]
fn expired_metadata_in_the_store_is_still_a_floor() {
    let (mut repo, mut store) = begin();
    repo.next();
    refresh(&mut store, &mut repo).unwrap();
    let mut old = Repo::new();
    for role in ["timestamp", "snapshot", "targets"] {
        old.expire(role, NOW + 900 * DAY);
    }
    old.publish_below();
    let later = NOW + 300 * DAY;
    assert_eq!(code(refresh_at(&mut store, &mut old, later)), "metadata-rollback");
    assert_eq!(versions(&store), [1, 2, 2, 2].map(Some));
}

#[test]
fn a_fast_forward_is_recovered_from_by_rotating_the_key_that_did_it() {
    for role in ["timestamp", "snapshot", "targets"] {
        let (mut repo, mut store) = begin();
        repo.set_version(role, 1_000_000);
        repo.bump("timestamp");
        repo.publish_below();
        refresh(&mut store, &mut repo).unwrap();
        assert_eq!(store.version(role), Some(if role == "timestamp" { 1_000_001 } else { 1_000_000 }));

        // Without a rotation the honest versions are refused.
        repo.set_version(role, 3);
        repo.bump("timestamp");
        repo.publish_below();
        assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-rollback", "{role}");

        // TUF 5.3.11: the snapshot's key for targets, both for the snapshot itself.
        let rotated: &[&str] = match role {
            "timestamp" => &["timestamp"],
            "snapshot" => &["snapshot", "timestamp"],
            _ => &["snapshot"],
        };
        for rotated in rotated {
            repo.keys(rotated, 1, &[Pair::named(&format!("new {rotated}"))]);
        }
        repo.next_root();
        if role == "targets" {
            repo.bump("snapshot");
        }
        repo.bump("timestamp");
        repo.publish_below();
        assert_eq!(code(refresh(&mut store, &mut repo)), "believed", "{role}");
        assert_eq!(store.version(role), Some(repo.version(role)), "{role}");
    }
}

#[test]
fn a_new_root_that_keeps_the_keys_keeps_the_floors() {
    for role in ["timestamp", "snapshot", "targets"] {
        let (mut repo, mut store) = begin();
        for _ in 0..5 {
            repo.next();
        }
        refresh(&mut store, &mut repo).unwrap();
        repo.next_root();
        for bumped in ["timestamp", "snapshot", "targets"] {
            repo.bump(bumped);
        }
        repo.set_version(role, 2);
        repo.publish_below();
        assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-rollback", "{role}");
    }
}

#[test]
fn the_power_may_be_cut_at_any_store_and_floors_hold() {
    for saves in 0..3 {
        let (mut repo, mut store) = begin();
        for _ in 0..4 {
            repo.next();
        }
        refresh(&mut store, &mut repo).unwrap();
        repo.next();
        store.saves_left = Some(saves);
        assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-not-stored");
        store.saves_left = None;

        // The attacker holds timestamp's and snapshot's keys and tries to bring old targets back.
        let mut evil = Repo::new();
        evil.set_version("timestamp", 50);
        evil.set_version("snapshot", 50);
        evil.set_version("targets", 2);
        evil.publish_below();
        assert_eq!(code(refresh(&mut store.clone(), &mut evil)), "metadata-rollback", "after {saves} stores");

        // Honest power returns.
        refresh(&mut store, &mut repo).unwrap();
        assert_eq!(versions(&store), [1, 6, 6, 6].map(Some), "after {saves} stores");
    }
}

/// Keys and signers of one root version, by number.
type Version = (&'static [usize], u64, &'static [usize]);
/// Name, versions, whether the last is believed.
type Rotation = (&'static str, &'static [Version], bool);

const ROTATIONS: &[Rotation] = &[
    ("1 of 1", &[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], true),
    ("1 of 1, signatures of strangers", &[(&[1], 1, &[3, 1, 4]), (&[2], 1, &[3, 2, 1, 4])], true),
    ("3 of 5, any three", &[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 2, 3, 4], 3, &[1, 3, 4])], true),
    ("3 of 5, one rotated", &[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 4, 1])], true),
    (
        "3 of 5, all rotated",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
            (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
        ],
        true,
    ),
    ("threshold up", &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])], true),
    ("threshold down", &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1, 2]), (&[1, 2, 3], 1, &[1])], true),
    ("not by the old key", &[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], false),
    ("not by the new key", &[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], false),
    ("not by three new", &[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 2, 4])], false),
    ("not by three old", &[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 4, 5])], false),
    ("new threshold missed", &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])], false),
    ("old threshold missed", &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false),
];

#[test]
fn roots_follow_one_another_only_by_both_thresholds() {
    let all: Vec<Pair> = (0..10).map(|number| Pair::named(&format!("rotation-{number}"))).collect();
    let pick =
        |numbers: &[usize]| -> Vec<Pair> { numbers.iter().map(|number| all[*number].clone()).collect() };
    for (name, roots, is_believed) in ROTATIONS {
        let mut repo = Repo::new();
        for (number, (keys, threshold, signers)) in roots.iter().enumerate() {
            repo.listed_keys("root", *threshold, &pick(keys));
            repo.signers.insert("root".into(), pick(signers));
            repo.set_version("root", number as u64 + 1);
            repo.put("root");
        }
        let mut store = Memory::with_root(repo.first_root());
        let result = refresh(&mut store, &mut repo);
        assert_eq!(result.is_ok(), *is_believed, "{name}: {result:?}");
        let last = if *is_believed { roots.len() } else { roots.len() - 1 };
        assert_eq!(store.version("root"), Some(last as u64), "{name}");
    }
}

#[test]
fn other_roles_need_the_threshold_of_the_newest_root() {
    let cases: [(&[usize], u64, &[usize], &str); 6] = [
        (&[2], 1, &[2], "believed"),
        (&[1], 1, &[3, 1, 4], "believed"),
        (&[2], 1, &[1, 3, 4], "metadata-unsigned"),
        (&[0, 1, 3, 4, 5], 3, &[0, 2, 4], "metadata-unsigned"),
        (&[0, 1, 3, 4, 5], 3, &[0, 4], "metadata-unsigned"),
        (&[0, 1, 2, 3, 4], 3, &[2, 3, 4], "believed"),
    ];
    let all: Vec<Pair> = (0..6).map(|number| Pair::named(&format!("rotation-{number}"))).collect();
    let pick =
        |numbers: &[usize]| -> Vec<Pair> { numbers.iter().map(|number| all[*number].clone()).collect() };
    for role in ["timestamp", "snapshot", "targets"] {
        for (keys, threshold, signers, expected) in cases {
            let (mut repo, mut store) = begin();
            repo.listed_keys(role, threshold, &pick(keys));
            repo.signers.insert(role.to_owned(), pick(signers));
            repo.next_root();
            repo.next();
            assert_eq!(code(refresh(&mut store, &mut repo)), expected, "{role} {keys:?} by {signers:?}");
        }
    }
}

#[test]
fn a_key_may_change_its_id_from_root_to_root_and_counts_once() {
    let (mut repo, mut store) = begin();
    let key = Pair::named("root");
    repo.listed_keys("root", 1, &[key.alias("renamed")]);
    repo.signers.insert("root".into(), vec![key.clone(), key.alias("renamed")]);
    repo.next_root();
    assert_eq!(code(refresh(&mut store, &mut repo)), "believed");

    repo.listed_keys("root", 2, &[key.alias("renamed"), key.clone()]);
    repo.next_root();
    assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-key-twice");
    assert_eq!(store.version("root"), Some(2));
}

#[test]
fn a_first_root_that_lists_a_key_twice_is_no_root() {
    let (mut repo, _) = begin();
    let key = Pair::named("snapshot");
    repo.keys("snapshot", 2, &[key.clone(), key.alias("other")]);
    repo.publish();
    let mut store = Memory::with_root(repo.first_root());
    assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-key-twice");
    assert_eq!(repo.requests, [""; 0]);
}

#[test]
fn a_first_root_that_is_none_is_refused_before_anything_is_asked_for() {
    for root in [&b"{}"[..], b"", br#"{"signed":{},"signatures":[]}"#] {
        let mut repo = Repo::new();
        let mut store = Memory::with_root(root.to_vec());
        assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-malformed");
        assert_eq!(repo.requests, [""; 0]);
    }
    let mut repo = Repo::new();
    assert_eq!(code(refresh(&mut Memory::default(), &mut repo)), "metadata-absent");
}

#[test]
fn a_hundred_roots_are_walked() {
    let (mut repo, mut store) = begin();
    for _ in 0..100 {
        repo.next_root();
    }
    refresh(&mut store, &mut repo).unwrap();
    assert_eq!(store.version("root"), Some(101));
}

#[test]
fn an_expired_root_on_the_way_is_no_fault() {
    let (mut repo, mut store) = begin();
    repo.expire("root", NOW - DAY);
    repo.next_root();
    repo.expire("root", NOW + DAY);
    repo.next_root();
    assert_eq!(code(refresh(&mut store, &mut repo)), "believed");
}

#[test]
fn unknown_fields_are_signed_and_borne() {
    let (mut repo, mut store) = begin();
    repo.signed("root")["x-note"] = json!({"a": [1, null, true]});
    repo.signed("root")["roles"]["root"]["x-owner"] = json!("q\"uote\\");
    repo.next_root();
    assert_eq!(code(refresh(&mut store, &mut repo)), "believed");
}

#[test]
fn key_types_of_the_specification_verify() {
    for pair in [Pair::ecdsa(), Pair::rsa(), Pair::named("ed25519")] {
        let mut repo = Repo::new();
        for role in TOP_LEVEL {
            repo.keys(role, 1, std::slice::from_ref(&pair));
        }
        repo.delegate("targets", "below", &["*"], false, (1, std::slice::from_ref(&pair)));
        repo.list("below", "file", b"text", None);
        repo.publish();
        let mut store = Memory::with_root(repo.first_root());
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        let found = trusted.find("file", &mut store, &mut repo).unwrap();
        assert_eq!(found.map(|(role, _)| role), Some("below".into()), "{}", pair.public);

        // The same key, and a signature that is not its own.
        let mut signed: serde_json::Value = serde_json::from_slice(&repo.served["timestamp.json"]).unwrap();
        signed["signed"]["version"] = json!(2);
        repo.served.insert("timestamp.json".into(), serde_json::to_vec(&signed).unwrap());
        assert_eq!(code(refresh(&mut store, &mut repo)), "metadata-unsigned", "{}", pair.public);
    }
}

/// Delegations (from, to, paths, terminating), the path looked for, roles in the order asked for, who has it.
type Graph = (
    &'static [(&'static str, &'static str, &'static [&'static str], bool)],
    &'static str,
    &'static [&'static str],
);

const ANY: &[&str] = &["*"];
const GRAPHS: &[Graph] = &[
    (&[("targets", "A", ANY, false)], "missing", &["A"]),
    (
        &[("targets", "A", ANY, false), ("targets", "B", ANY, false), ("B", "C", ANY, false)],
        "missing",
        &["A", "B", "C"],
    ),
    (
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("A", "C", ANY, false),
            ("A", "D", ANY, false),
        ],
        "missing",
        &["A", "C", "D", "B"],
    ),
    (
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("A", "C", ANY, true),
            ("A", "D", ANY, false),
        ],
        "missing",
        &["A", "C"],
    ),
    (
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("A", "C", ANY, true),
            ("C", "D", ANY, false),
        ],
        "missing",
        &["A", "C", "D"],
    ),
    (
        &[("targets", "A", &["*.py"], true), ("targets", "B", ANY, false), ("A", "C", ANY, false)],
        "missing",
        &["B"],
    ),
    (
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("B", "C", ANY, false),
            ("C", "D", ANY, false),
            ("D", "B", ANY, false),
        ],
        "missing",
        &["A", "B", "C", "D"],
    ),
    (
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("B", "C", ANY, false),
            ("A", "C", ANY, false),
        ],
        "missing",
        &["A", "C", "B"],
    ),
    // `*` does not cross `/`.
    (&[("targets", "A", ANY, false), ("targets", "B", &["*/*"], false)], "dir/missing", &["B"]),
    // Top-level names are the root's to give.
    (&[("targets", "snapshot", ANY, false), ("targets", "A", ANY, false)], "missing", &["A"]),
];

#[test]
fn delegations_are_searched_in_order_and_depth_first() {
    for (edges, path, visited) in GRAPHS {
        let (mut repo, mut store) = begin();
        for (from, to, paths, terminating) in *edges {
            if *to == "snapshot" {
                let signers = repo.signers["snapshot"].clone();
                repo.delegate(from, to, paths, *terminating, (1, &signers));
            } else {
                repo.delegate(from, to, paths, *terminating, (1, &[Pair::named(to)]));
            }
        }
        repo.bump("timestamp");
        repo.publish_below();
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        repo.requests.clear();
        assert!(trusted.find(path, &mut store, &mut repo).unwrap().is_none());
        let expected: Vec<String> = visited.iter().map(|role| format!("1.{role}.json")).collect();
        assert_eq!(repo.requests, expected, "{edges:?}");
    }
}

#[test]
fn the_first_role_that_names_a_path_answers() {
    let (mut repo, mut store) = begin();
    repo.delegate("targets", "A", ANY, false, (1, &pairs("A", 1)));
    repo.delegate("targets", "B", ANY, false, (1, &pairs("B", 1)));
    repo.list("A", "one", b"by A", None);
    repo.list("B", "one", b"by B", None);
    repo.list("B", "two", b"by B", None);
    repo.bump("timestamp");
    repo.publish_below();
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    for (path, role) in [("one", "A"), ("two", "B")] {
        let (found, target) = trusted.find(path, &mut store, &mut repo).unwrap().unwrap();
        assert_eq!(found, role);
        assert_eq!(target.length, 4);
    }
    // Kept for the next walk.
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    repo.requests.clear();
    trusted.find("two", &mut store, &mut repo).unwrap().unwrap();
    assert_eq!(repo.requests, [""; 0]);
}

#[test]
fn a_role_that_the_snapshot_hides_lets_no_later_one_answer() {
    let (mut repo, mut store) = begin();
    repo.delegate("targets", "A", ANY, false, (1, &pairs("A", 1)));
    repo.delegate("targets", "B", ANY, false, (1, &pairs("B", 1)));
    repo.list("A", "one", b"by A", None);
    repo.list("B", "one", b"by B", None);
    repo.publish_below();
    repo.signed("snapshot")["meta"].as_object_mut().unwrap().remove("A.json");
    repo.publish_snapshot();
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    assert!(trusted.find("one", &mut store, &mut repo).unwrap().is_none());
}

#[test]
fn a_role_is_held_against_each_delegation_that_leads_to_it() {
    let (mut repo, mut store) = begin();
    repo.delegate("targets", "A", &["a/*"], false, (1, &pairs("A", 1)));
    repo.delegate("targets", "B", &["b/*"], false, (1, &pairs("B", 1)));
    repo.delegate("A", "C", &["a/*"], false, (1, &pairs("C", 1)));
    // B trusts another key for C than the one that signs it.
    repo.delegate("B", "C", &["b/*"], false, (1, &pairs("D", 1)));
    repo.signers.insert("C".into(), pairs("C", 1));
    repo.list("C", "a/file", b"a", None);
    repo.list("C", "b/file", b"b", None);
    repo.bump("timestamp");
    repo.publish_below();
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    assert!(trusted.find("a/file", &mut store, &mut repo).unwrap().is_some());
    let refused = trusted.find("b/file", &mut store, &mut repo).unwrap_err();
    assert_eq!(refused.code(), "metadata-unsigned");
}

/// Spoils role A that targets delegates to at threshold 2.
type RoleFault = (&'static str, fn(&mut Repo), &'static str);

const ROLE_FAULTS: &[RoleFault] = &[
    ("no fault", |_| {}, "believed"),
    ("expired", |repo| repo.expire("A", NOW), "metadata-expired"),
    ("signed by one of two", |repo| repo.signers.get_mut("A").unwrap().truncate(1), "metadata-unsigned"),
    (
        "one key under two ids below",
        |repo| {
            let key = Pair::named("below");
            repo.delegate("A", "below", &["other"], false, (2, &[key.clone(), key.alias("other")]));
        },
        "metadata-key-twice",
    ),
    (
        "a pattern that is none",
        |repo| repo.delegate("A", "below", &["[a"], false, (1, &pairs("b", 1))),
        "metadata-malformed",
    ),
];

#[test]
fn a_delegated_role_is_refused_for_its_own_fault_and_again_when_asked_again() {
    for (name, fault, expected) in ROLE_FAULTS {
        let (mut repo, mut store) = begin();
        repo.delegate("targets", "A", ANY, false, (2, &pairs("A", 2)));
        fault(&mut repo);
        repo.bump("timestamp");
        repo.publish_below();
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        for _ in 0..2 {
            let result = trusted.find("file", &mut store, &mut repo);
            assert_eq!(result.map_or_else(|error| error.code(), |_| "believed"), *expected, "{name}");
        }
        let is_kept = store.files.contains_key("A.json");
        assert_eq!(is_kept, matches!(*expected, "believed" | "metadata-malformed"), "{name}");
    }
}

#[test]
fn unusual_role_names_are_escaped_in_requests_and_files() {
    for (role, file) in [("?", "%3F"), ("#", "%23"), ("/x", "%2Fx"), ("../x", "..%2Fx"), ("ä", "%C3%A4")] {
        let (mut repo, mut store) = begin();
        repo.delegate("targets", role, ANY, false, (1, &pairs("x", 1)));
        repo.bump("timestamp");
        repo.publish_below();
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        assert!(trusted.find("missing", &mut store, &mut repo).unwrap().is_none());
        assert_eq!(repo.requests.last(), Some(&format!("1.{file}.json")));
        assert!(store.files.contains_key(&format!("{file}.json")));
    }
}

#[test]
fn a_search_ends_after_so_many_roles() {
    for (roles, is_refused) in [(limits::DELEGATIONS_MAX - 1, false), (limits::DELEGATIONS_MAX, true)] {
        let (mut repo, mut store) = begin();
        for number in 0..roles {
            repo.delegate("targets", &format!("r{number}"), ANY, false, (1, &pairs("r", 1)));
        }
        repo.bump("timestamp");
        repo.publish_below();
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        let result = trusted.find("missing", &mut store, &mut repo);
        assert_eq!(result.is_err(), is_refused, "{roles} roles");
    }
}

#[test]
fn a_target_is_its_length_and_every_hash_that_is_known() {
    use aws_lc_rs::digest::{SHA512, digest};
    let sha512 = hex::encode(digest(&SHA512, b"text"));
    let sha256 = tuf_support::sha256(b"text");
    let cases = [
        (json!({"sha256": sha256, "sha512": sha512}), &b"text"[..], "believed"),
        (json!({"sha512": sha512}), b"text", "believed"),
        (json!({"sha256": sha256.to_uppercase()}), b"text", "believed"),
        (json!({"sha256": sha256, "sha512": "00"}), b"text", "target-mismatch"),
        (json!({"sha256": sha256, "blake3": "00"}), b"text", "believed"),
        (json!({"blake3": "00"}), b"text", "metadata-malformed"),
        (json!({}), b"text", "metadata-malformed"),
        (json!({"sha256": sha256}), b"tex", "target-mismatch"),
        (json!({"sha256": sha256}), b"tex!", "target-mismatch"),
    ];
    for (hashes, bytes, expected) in cases {
        let (mut repo, mut store) = begin();
        repo.signed("root")["consistent_snapshot"] = json!(false);
        repo.next_root();
        repo.signed("targets")["targets"]["file"] = json!({"length": 4, "hashes": hashes});
        repo.bump("timestamp");
        repo.publish_below();
        repo.target_files.insert("file".into(), bytes.to_vec());
        let mut trusted = refresh(&mut store, &mut repo).unwrap();
        let (_, target) = trusted.find("file", &mut store, &mut repo).unwrap().unwrap();
        let result = trusted.fetch("file", &target, &mut repo);
        assert_eq!(result.map_or_else(|error| error.code(), |_| "believed"), expected, "{hashes}");
    }
}

#[test]
fn a_large_or_missing_target_is_refused_before_and_after_it_is_asked_for() {
    let (mut repo, mut store) = begin();
    let limit = limits::SMALL_TARGET_MAX_BYTES as usize;
    repo.list("targets", "full", &vec![7; limit], None);
    repo.list("targets", "over", &vec![7; limit + 1], None);
    repo.list("targets", "gone", b"text", None);
    repo.target_files.retain(|name, _| !name.ends_with("gone"));
    repo.bump("timestamp");
    repo.publish_below();
    let mut trusted = refresh(&mut store, &mut repo).unwrap();
    for (path, expected, asked) in
        [("full", "believed", true), ("over", "metadata-too-long", false), ("gone", "metadata-absent", true)]
    {
        let (_, target) = trusted.find(path, &mut store, &mut repo).unwrap().unwrap();
        repo.requests.clear();
        let result = trusted.fetch(path, &target, &mut repo);
        assert_eq!(result.map_or_else(|error| error.code(), |_| "believed"), expected, "{path}");
        assert_eq!(!repo.requests.is_empty(), asked, "{path}");
    }
}

/// A mirror that counts how much it is asked to give.
struct Counting<'a>(&'a mut Repo, Vec<(String, u64)>);

impl Source for Counting<'_> {
    fn metadata(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.1.push((name.to_owned(), max_bytes));
        self.0.metadata(name, max_bytes)
    }

    fn target(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.0.target(path, max_bytes)
    }
}

#[test]
fn every_request_states_how_much_is_taken() {
    let (mut repo, mut store) = begin();
    let length = |name: &str| repo.served[name].len() as u64;
    let (snapshot, targets) = (length("1.snapshot.json"), length("1.targets.json"));
    let mut source = Counting(&mut repo, Vec::new());
    walk::refresh(&mut store, &mut source, &At(NOW)).unwrap();
    let limits = [limits::ROOT_MAX_BYTES, limits::TIMESTAMP_MAX_BYTES, snapshot, targets];
    assert_eq!(source.1.iter().map(|(_, limit)| *limit).collect::<Vec<_>>(), limits);
}
