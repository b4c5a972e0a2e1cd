use super::*;
use crate::desk::releases;
use crate::desk::releases::Published;
use crate::desk::testing::{NOW, PRODUCT, TestDesk, evil, manifest, resigned};
use crate::desk::{Privacy, draft, write_file};
use serde_json::json;

fn shown(desk: &Desk, role: &str, signed: Value) -> String {
    lines(desk, role, &Envelope::draft(signed).unwrap()).unwrap().join("\n")
}

#[test]
fn a_release_is_shown_with_what_is_new_and_what_its_manifest_says() {
    let (test, product, channel) = TestDesk::released(4);
    let before = Published {
        product: test.shown("product-hub", &product).unwrap(),
        channel: test.shown("channel-stable", &channel).unwrap(),
    };
    releases::draft(&test.desk, "hub", "stable", &manifest("r2", 5000), &before, NOW).unwrap();
    let text = shown(&test.desk, "product-hub", test.drafted("product-hub").unwrap());
    for expected in [
        "product-hub version 2, expires 2027-07-14T",
        "differs from version 1",
        "+ target products/hub/r2.json: ",
        "release r2 (1.0.0) for hub, security counter 5000",
        "artefact rootfs: 3 bytes, sha256 0707",
        "WARNING, a large jump: security counter 5000 is above 4",
    ] {
        assert!(text.contains(expected), "no `{expected}` in:\n{text}");
    }
    assert!(!text.contains("r1.json"), "what did not change is not shown:\n{text}");
}

#[test]
fn what_a_hostile_draft_adds_changes_and_removes_is_shown_and_cannot_hide() {
    let (test, product, _) = TestDesk::released(4);
    let mut signed = Envelope::read(&product).unwrap().signed;
    signed["targets"] =
        json!({"products/hub/evil.json": evil(), "products/hub/\u{1b}[2K\u{202e}.json": evil()});
    signed["version"] = json!(9);
    signed["secret_field"] = json!("x");
    let text = shown(&test.desk, "product-hub", signed);
    for expected in [
        "WARNING: this does not follow version 1",
        "+ target products/hub/evil.json: 4 bytes, sha256 6666",
        "its file is not at this desk",
        "- target products/hub/r1.json",
        "+ field secret_field: \"x\"",
        "products/hub/\\u{1b}[2K\\u{202e}.json",
    ] {
        assert!(text.contains(expected), "no `{expected}` in:\n{text}");
    }
    assert!(text.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()));
}

#[test]
fn the_list_is_bounded_and_says_so() {
    let test = TestDesk::founded();
    let targets: Map<String, Value> = (0..150).map(|n| (format!("products/hub/{n}.json"), evil())).collect();
    let (_, product, _) = TestDesk::released(4);
    let many = resigned(&product, PRODUCT, |signed| signed["targets"] = json!(targets));
    let text = shown(&test.desk, "product-hub", Envelope::read(&many).unwrap().signed);
    assert!(text.contains("all of it is new") && text.contains("more: read the file"), "{text}");
}

#[test]
fn root_and_targets_are_shown_with_keys_thresholds_and_the_services_word() {
    let test = TestDesk::founded();
    let online = test.online().roles["snapshot"].key_id.clone();
    let root = std::fs::read(test.desk.published().join("root.json")).unwrap();
    std::fs::remove_file(test.desk.published().join("root.json")).unwrap();
    let text = shown(&test.desk, "root", Envelope::read(&root).unwrap().signed);
    assert!(text.contains(&format!("+ role snapshot: threshold 1 of {online}")), "{text}");
    assert!(text.contains(&format!("+ key {online}: ed25519 ")), "{text}");

    draft::targets(&test.desk, &test.online(), None, NOW, 100).unwrap();
    let mut signed = test.drafted("targets").unwrap();
    signed["delegations"]["roles"][0]["threshold"] = json!(1);
    let text = shown(&test.desk, "targets", signed);
    assert!(
        text.contains("~ delegation product-hub: threshold 1 of") && text.contains("(before: threshold 2"),
        "{text}"
    );

    std::fs::remove_file(test.desk.published().join("targets.json")).unwrap();
    let text = shown(&test.desk, "targets", test.drafted("targets").unwrap());
    assert!(text.contains(&format!("epoch 1, threshold 1 of {online} (the service's word)")), "{text}");
    assert!(text.contains("CA root with the SHA-256 fingerprint "), "{text}");
    // A name that leads out of the folder is none.
    let outside = std::fs::read(test.desk.plan_file()).unwrap();
    assert!(counter::kept_file(&test.desk, "../../desk.json", &draft::target(&outside)).is_err());
    // A file that was exchanged after the draft does not speak for it.
    write_file(&test.desk.files().join("trust/ca.json"), b"{}", Privacy::Public).unwrap();
    let text = shown(&test.desk, "targets", test.drafted("targets").unwrap());
    assert!(text.contains("its file is not at this desk"), "{text}");
}
