//! Delegated roles: who is asked, in which order, and what is refused of them.

use super::*;

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
