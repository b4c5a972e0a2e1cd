//! Roots after roots: thresholds, keys and their ids.

use super::*;

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
