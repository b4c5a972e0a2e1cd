//! What was observed, and what should be, in tables.

use super::*;
use crate::k8s::crd::{Refresh, Target};

fn value(path: &str, version: i64, bytes: &str) -> Value {
    Value {
        path: path.to_owned(),
        version,
        bytes: Zeroizing::new(bytes.as_bytes().to_vec()),
        max_ttl_s: None,
        max_offline_s: None,
    }
}

fn item(path: &str, key: Option<&str>, property: Option<&str>) -> Item {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Item { path: path.to_owned(), key: owned(key), property: owned(property), version: None }
}

fn shown(desired: &Desired) -> Vec<(String, String)> {
    let text = |bytes: &Zeroizing<Vec<u8>>| String::from_utf8(bytes.to_vec()).unwrap();
    desired.data.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn items_become_keys() {
    let object = r#"{"user":"mqtt","password":"p w","port":8883}"#;
    let items = [item("a/raw", Some("raw"), None), item("a/json", Some("who"), Some("user"))];
    let made = desired(&items, &[value("a/raw", 3, "\u{1}raw"), value("a/json", 2, object)]).unwrap();
    assert_eq!(shown(&made), pairs(&[("raw", "\u{1}raw"), ("who", "mqtt")]));
    let version = |path: &str, version| SourceVersion { path: path.to_owned(), version };
    assert_eq!(made.source.versions, [version("a/json", 2), version("a/raw", 3)]);

    let made = desired(&[item("a/json", None, None)], &[value("a/json", 2, object)]).unwrap();
    assert_eq!(shown(&made), pairs(&[("password", "p w"), ("port", "8883"), ("user", "mqtt")]));
}

#[test]
fn what_does_not_fit_is_said_without_the_value() {
    let all = item("a", None, None);
    let cases: Vec<(Vec<Item>, Vec<Value>, Fault)> = vec![
        (
            vec![item("a", Some("k"), None), item("b", Some("k"), None)],
            vec![value("a", 1, "canary"), value("b", 1, "canary")],
            Fault::KeyTwice("k".into()),
        ),
        (vec![all.clone()], vec![value("a", 1, "canary")], Fault::NotAnObject("a".into())),
        (vec![all.clone()], vec![value("a", 1, "[\"canary\"]")], Fault::NotAnObject("a".into())),
        (vec![all.clone()], vec![value("a", 1, r#"{"../up":"canary"}"#)], Fault::KeyMalformed("a".into())),
        (vec![all], vec![value("a", 1, r#"{"..":"canary"}"#)], Fault::KeyMalformed("a".into())),
        (
            vec![item("a", Some("k"), Some("p"))],
            vec![value("a", 1, r#"{"q":"canary"}"#)],
            Fault::NoProperty { path: "a".into(), property: "p".into() },
        ),
        (vec![item("a", None, Some("p"))], vec![value("a", 1, "{}")], Fault::PropertyWithoutKey),
        (
            vec![item("a", Some("k"), None), item("a", Some("l"), None)],
            vec![value("a", 1, &"x".repeat(DATA_MAX_BYTES)), value("a", 1, "x")],
            Fault::TooLarge(DATA_MAX_BYTES + 1),
        ),
    ];
    for (items, values, fault) in cases {
        let found = desired(&items, &values).err().unwrap();
        assert!(!found.to_string().contains("canary"), "{found}");
        assert_eq!(found, fault);
    }
}

#[test]
fn the_least_of_the_obligations_counts() {
    let with = |max_ttl_s, max_offline_s| Value { max_ttl_s, max_offline_s, ..value("a", 1, "x") };
    let items = [item("a", Some("k"), None), item("a", Some("l"), None), item("a", Some("m"), None)];
    let made =
        desired(&items, &[with(Some(30), None), with(None, Some(600)), with(Some(20), Some(900))]).unwrap();
    assert_eq!((made.max_ttl_s, made.source.max_offline_seconds), (Some(20), Some(600)));

    let spec = |interval_seconds: Option<i64>| EdgeSecretSpec {
        service_account_name: "s".into(),
        items: items.to_vec(),
        refresh: interval_seconds.map(|interval_seconds| Refresh { interval_seconds }),
        target: Target {
            name: "t".into(),
            kind: "Opaque".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        adopt: false,
    };
    assert_eq!(interval_s(&spec(None), None), 60);
    assert_eq!(interval_s(&spec(None), Some(20)), 20);
    assert_eq!(interval_s(&spec(Some(5)), Some(20)), 5);
    assert_eq!(interval_s(&spec(Some(5)), Some(0)), 1);
}

#[test]
fn emptied_values_are_those_that_the_type_takes() {
    let keys = ["a".to_owned(), "b".to_owned()];
    let text = |kind| String::from_utf8(emptied(kind, &keys)["a"].to_vec()).unwrap();
    assert_eq!(emptied("Opaque", &keys).len(), 2);
    assert_eq!(text("Opaque"), "");
    assert_eq!(text("kubernetes.io/tls"), "");
    assert_eq!(text("kubernetes.io/dockerconfigjson"), "{}");
    assert_eq!(text("kubernetes.io/ssh-auth"), "\n");
}

fn three(status: &EdgeSecretStatus) -> Vec<String> {
    let row = |c: &condition::Condition| format!("{}={} {}", c.kind, c.status, c.reason);
    status.conditions.iter().map(row).collect()
}

fn synced(max_offline_seconds: Option<i64>) -> Outcome {
    let source = SourceStatus {
        versions: vec![SourceVersion { path: "a".into(), version: 1 }],
        max_offline_seconds,
        kept_until: None,
    };
    let target = TargetStatus {
        name: "t".into(),
        uid: "u".into(),
        resource_version: "1".into(),
        keys: vec!["k".into()],
    };
    Outcome::Synced { source, target }
}

fn away(kept_until: Option<i64>) -> Outcome {
    Outcome::Away { reason: "ServiceAway", message: "m".into(), kept_until }
}

#[test]
fn a_status_says_of_each_outcome_what_it_means() {
    let message = || "m".to_owned();
    let good = status(None, Some(1), &synced(None), 100);
    assert_eq!(three(&good), ["Authorized=True Granted", "Synced=True Synced", "Ready=True Synced"]);
    assert_eq!(status(Some(&good), Some(1), &synced(None), 200), good, "nothing changed, nothing is written");

    let denied =
        status(Some(&good), Some(1), &Outcome::Denied { reason: "NotGranted", message: message() }, 200);
    assert_eq!(
        three(&denied),
        ["Authorized=False NotGranted", "Synced=False NotGranted", "Ready=False NotGranted"]
    );
    assert!(denied.source.is_none() && denied.target.is_some());

    let faulty =
        status(Some(&good), Some(1), &Outcome::Faulty { reason: "TargetExists", message: message() }, 200);
    assert_eq!(
        three(&faulty),
        ["Authorized=True Granted", "Synced=False TargetExists", "Ready=False TargetExists"]
    );

    // What was good stays ready while nobody can be asked, or nobody can tell who reads.
    let gone = status(Some(&good), Some(1), &away(Some(900)), 200);
    assert_eq!(three(&gone), ["Authorized=True Granted", "Synced=False ServiceAway", "Ready=True Synced"]);
    assert_eq!(gone.source.unwrap().kept_until, Some(900));
    let unproven =
        status(Some(&good), Some(1), &Outcome::Unproven { reason: "TokenRefused", message: message() }, 200);
    assert_eq!(
        three(&unproven),
        ["Authorized=False TokenRefused", "Synced=False TokenRefused", "Ready=True Synced"]
    );

    let never = status(None, Some(1), &away(None), 200);
    assert_eq!(
        three(&never),
        ["Authorized=Unknown NotAskedYet", "Synced=False ServiceAway", "Ready=Unknown NotAskedYet"]
    );
    let expired = status(Some(&good), Some(1), &Outcome::Expired { message: message() }, 200);
    assert_eq!(
        three(&expired),
        ["Authorized=True Granted", "Synced=False KeptTooLong", "Ready=False KeptTooLong"]
    );
}

#[test]
fn a_restart_does_not_begin_the_time_that_values_are_kept_anew() {
    let good = status(None, Some(1), &synced(Some(600)), 100);
    assert_eq!(kept_until(None, None, 500), None);
    assert_eq!(kept_until(Some(&status(None, Some(1), &synced(None), 100)), Some(400), 500), None);
    assert_eq!(kept_until(Some(&good), Some(400), 500), Some(1_000));
    assert_eq!(kept_until(Some(&good), None, 500), Some(1_100), "a restart that has seen nothing yet");
    let gone = status(Some(&good), Some(1), &away(Some(1_000)), 500);
    assert_eq!(kept_until(Some(&gone), None, 950), Some(1_000));
    let back = status(Some(&gone), Some(1), &synced(Some(600)), 990);
    assert_eq!(kept_until(Some(&back), Some(990), 1_000), Some(1_590));
}
