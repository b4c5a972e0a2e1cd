use super::*;
use crate::desk::draft;
use crate::desk::releases::{self, Published};
use crate::desk::testing::{
    CHANNEL, NOW, PRODUCT, ROOT, TARGETS, TestDesk, evil, manifest, resigned, signed, tampered,
};
use serde_json::json;

fn refusal(result: anyhow::Result<Option<Predecessor>>) -> String {
    format!("{:#}", result.map(drop).unwrap_err())
}

#[test]
fn what_was_published_can_be_built_upon() {
    let (test, product, channel) = TestDesk::released(4);
    assert_eq!(test.shown("product-hub", &product).unwrap().unwrap().next_version().unwrap(), 2);
    assert_eq!(test.shown("channel-stable", &channel).unwrap().unwrap().targets().len(), 1);
    // Another desk may have published since.
    let newer = resigned(&product, PRODUCT, |signed| signed["version"] = json!(5));
    assert_eq!(test.shown("product-hub", &newer).unwrap().unwrap().next_version().unwrap(), 6);
}

#[test]
fn a_target_that_the_service_added_is_not_built_upon() {
    let (test, product, channel) = TestDesk::released(4);
    for (role, document, path) in [
        ("product-hub", &product, "products/hub/evil.json"),
        ("channel-stable", &channel, "channels/stable/hub/evil.json"),
    ] {
        let shown = tampered(document, |signed| {
            signed["version"] = json!(2);
            signed["targets"][path] = evil();
        });
        assert!(refusal(test.shown(role, &shown)).contains("0 valid signatures"), "{role}");
    }
}

#[test]
fn too_few_signatures_or_those_of_other_roles_do_not_count() {
    let (test, product, _) = TestDesk::released(4);
    let newer = |names: &[&str]| resigned(&product, names, |signed| signed["version"] = json!(2));
    let one = refusal(test.shown("product-hub", &newer(&["product-hub-1"])));
    assert!(one.contains("1 valid signatures, 2 of the keys"), "{one}");
    for names in [CHANNEL, ROOT, TARGETS, &["online-1", "stranger-1"]] {
        assert!(
            refusal(test.shown("product-hub", &newer(names))).contains("0 valid signatures"),
            "{names:?}"
        );
    }
    // One signature given twice is one.
    let mut twice = Envelope::read(&newer(&["product-hub-1"])).unwrap();
    twice.signatures.push(twice.signatures[0].clone());
    assert!(refusal(test.shown("product-hub", &twice.to_bytes().unwrap())).contains("1 valid signatures"));
}

#[test]
fn a_document_of_another_role_or_type_is_refused() {
    let (test, _, channel) = TestDesk::released(4);
    assert!(refusal(test.shown("product-hub", &channel)).contains("0 valid signatures"));
    let root = std::fs::read(test.desk.published().join("root.json")).unwrap();
    assert!(refusal(test.shown("product-hub", &root)).contains("of type root for product-hub"));
    assert!(refusal(test.shown("product-hub", b"{}")).contains("shows no metadata"));
}

#[test]
fn an_older_or_another_or_no_document_than_was_published_here_is_refused() {
    let (test, first, _) = TestDesk::released(4);
    let before = Published { product: test.shown("product-hub", &first).unwrap(), channel: None };
    let (second, _) = test.release("r2", 4, &before);
    assert!(test.shown("product-hub", &second).is_ok());
    assert!(refusal(test.shown("product-hub", &first)).contains("this desk published version 2"));
    let other = resigned(&second, PRODUCT, |signed| signed["targets"] = json!({}));
    assert!(refusal(test.shown("product-hub", &other)).contains("another version 2"));
    assert!(
        refusal(Predecessor::shown(&test.desk, "product-hub", None))
            .contains("this desk published version 2")
    );
    assert!(Predecessor::shown(&test.desk, "channel-beta", None).unwrap().is_none());
}

#[test]
fn a_version_that_has_no_successor_is_refused_even_if_it_is_signed() {
    let (test, product, _) = TestDesk::released(4);
    let last = |names: &[&str]| resigned(&product, names, |signed| signed["version"] = json!(u64::MAX));
    assert!(refusal(test.shown("product-hub", &last(&["online-1"]))).contains("0 valid signatures"));
    let product = test.shown("product-hub", &last(PRODUCT)).unwrap();
    let before = Published { product, channel: None };
    let refused = releases::draft(&test.desk, "hub", "stable", &manifest("r2", 4), &before, NOW).unwrap_err();
    assert!(refused.to_string().contains("the last that there can be"), "{refused}");
}

#[test]
fn a_desk_that_has_published_nothing_goes_by_its_own_keys() {
    let (_, product, _) = TestDesk::released(4);
    let second = TestDesk::bare();
    assert!(second.shown("product-hub", &product).is_ok());
    let shown = tampered(&product, |signed| signed["targets"]["products/hub/evil.json"] = evil());
    assert!(refusal(second.shown("product-hub", &shown)).contains("0 valid signatures, 2"));
    // A threshold of none is met by nobody.
    let mut plan = Plan::read(&second.desk).unwrap();
    plan.thresholds.insert("product-hub".into(), 0);
    let path = second.desk.plan_file();
    crate::desk::write_file(&path, &serde_json::to_vec(&plan).unwrap(), crate::desk::Privacy::Public)
        .unwrap();
    assert!(refusal(second.shown("product-hub", &shown)).contains("0 valid signatures, 0"));
}

#[test]
fn the_published_targets_decide_and_must_themselves_be_signed() {
    let (test, product, _) = TestDesk::released(4);
    let path = test.desk.published().join("targets.json");
    let targets = std::fs::read(&path).unwrap();
    let weaken = |signed: &mut Value| signed["delegations"]["roles"][0]["threshold"] = json!(1);
    test.keep("targets", &tampered(&targets, weaken));
    assert!(refusal(test.shown("product-hub", &product)).contains("shows a targets with 0 valid signatures"));
    test.keep("targets", &resigned(&targets, TARGETS, |signed| signed["delegations"]["roles"] = json!([])));
    assert!(refusal(test.shown("product-hub", &product)).contains("names no keys for product-hub"));
}

#[test]
fn a_root_or_targets_given_as_the_one_before_is_checked_too() {
    let test = TestDesk::founded();
    let file = Path::new("given.json");
    for (role, names) in [("root", ROOT), ("targets", TARGETS)] {
        let published = std::fs::read(test.desk.published().join(format!("{role}.json"))).unwrap();
        let check = |bytes: &[u8]| Predecessor::file(&test.desk, role, bytes, file);
        assert_eq!(check(&published).unwrap().next_version().unwrap(), 2);
        let changed = tampered(&published, |signed| signed["version"] = json!(u64::MAX - 1));
        assert!(format!("{:#}", check(&changed).unwrap_err()).contains("0 valid signatures"));
        let stranger = signed(&["stranger-1"], Envelope::read(&published).unwrap().signed);
        assert!(check(&stranger).is_err());
        let last = resigned(&published, names, |signed| signed["version"] = json!(u64::MAX));
        let last = check(&last).unwrap();
        let make = if role == "root" { draft::root } else { draft::targets };
        let refused = make(&test.desk, &test.online(), Some(&last), NOW, 365).unwrap_err();
        assert!(refused.to_string().contains("the last that there can be"), "{refused}");
    }
    // A root that the keys before signed, and its own did not.
    let stranger = keys::public(&test.desk, "stranger-1").unwrap();
    let root = std::fs::read(test.desk.published().join("root.json")).unwrap();
    let next = |names: &[&str]| {
        resigned(&root, names, |signed| {
            signed["version"] = json!(2);
            signed["keys"][&stranger.key_id] = json!(stranger.key);
            signed["roles"]["root"]["keyids"] = json!([stranger.key_id]);
        })
    };
    let refused = Predecessor::file(&test.desk, "root", &next(ROOT), file).unwrap_err();
    assert!(refused.to_string().contains("0 valid signatures"), "{refused}");
    Predecessor::file(&test.desk, "root", &next(&["root-1", "stranger-1"]), file).unwrap();
    let targets = std::fs::read(test.desk.published().join("targets.json")).unwrap();
    let refused = Predecessor::file(&test.desk, "root", &targets, file).unwrap_err();
    assert!(refused.to_string().contains("of type targets for root"), "{refused}");
}
