//! Targets: their lengths and hashes.

use super::*;

#[test]
fn a_target_is_its_length_and_every_hash_that_is_known() {
    use aws_lc_rs::digest::{SHA512, digest};
    let sha512 = hex::encode(digest(&SHA512, b"text"));
    let sha256 = crate::support::sha256(b"text");
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
