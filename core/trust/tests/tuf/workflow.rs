//! The walk against a repository that lies: every fixture is named after its fault and refused for it alone, and what
//! was trusted before stays trusted.

mod delegations;
mod faults;
mod roots;
mod targets;

use crate::support::{DAY, Memory, NOW, Pair, Repo, pairs};
use holdfast_trust::tuf::walk::{self, At, Source, SourceError};
use holdfast_trust::tuf::{Trusted, TufError, limits};
use serde_json::json;

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
