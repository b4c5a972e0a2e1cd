//! Faults of the top-level roles, one by one.

use super::*;

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
