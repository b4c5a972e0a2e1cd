//! Holdfast's own roles: which release (assignment), what it contains (product and channel), how it comes (deltas).

mod assignment;
mod delta;

use crate::support::fleet::{BASE, DEVICE, Fleet, HUB, manifest};
use crate::support::{NOW, Pair, date, pairs, sha256};
use holdfast_proto::{DeviceId, Digest};
use holdfast_trust::Verified;
use holdfast_trust::tuf::TufError;
use holdfast_trust::tuf::assignment::{assignment_keys, verify_assignment};
use holdfast_trust::tuf::limits::ASSIGNMENT_MAX_BYTES;
use holdfast_trust::tuf::release::{DeltaPlan, Release, ThisDevice, verify_delta};
use holdfast_trust::tuf::store::SeenAssignment;
use serde_json::{Value, json};

const R1: &str = "products/hub/r1.json";

fn code<T>(result: Result<T, TufError>) -> &'static str {
    match result {
        Ok(_) => "believed",
        Err(error) => error.code(),
    }
}

/// Fault, what is published, for which device, the code. The assignment names r2 as product-hub lists it.
type ReleaseFault = (&'static str, fn(&mut Fleet), ThisDevice<'static>, &'static str);

const RELEASES: &[ReleaseFault] = &[
    ("no fault", |fleet| release(fleet, json!({})), HUB, "believed"),
    (
        "product says yes, channel says nothing",
        |fleet| {
            release(fleet, json!({}));
            unlist(fleet, "channel-stable", "channels/stable/hub/r2.json");
        },
        HUB,
        "not-in-channel",
    ),
    (
        "channel of another device",
        |fleet| release(fleet, json!({})),
        ThisDevice { channel: "beta", ..HUB },
        "not-in-channel",
    ),
    (
        "channel that nobody delegates",
        |fleet| release(fleet, json!({})),
        ThisDevice { channel: "gone", ..HUB },
        "not-in-channel",
    ),
    (
        "channel lists other bytes",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.list(
                "channel-stable",
                "channels/stable/hub/r2.json",
                &manifest("r2", json!({"version": "2.0"})),
                None,
            );
            let bytes = manifest("r2", json!({}));
            fleet.repo.serve_target("products/hub/r2.json", &bytes);
        },
        HUB,
        "not-in-channel",
    ),
    (
        "channel lists another length",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.signed("channel-stable")["targets"]["channels/stable/hub/r2.json"]["length"] =
                json!(1);
        },
        HUB,
        "not-in-channel",
    ),
    (
        "channel lists it without SHA-256",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.signed("channel-stable")["targets"]["channels/stable/hub/r2.json"]["hashes"] =
                json!({"sha512": "00"});
        },
        HUB,
        "not-in-channel",
    ),
    (
        "channel says yes, product says nothing",
        |fleet| {
            release(fleet, json!({}));
            unlist(fleet, "product-hub", "products/hub/r2.json");
        },
        HUB,
        "not-signed",
    ),
    (
        "the top-level role lists it in the product's stead",
        |fleet| {
            release(fleet, json!({}));
            unlist(fleet, "product-hub", "products/hub/r2.json");
            fleet.repo.list("targets", "products/hub/r2.json", &manifest("r2", json!({})), None);
        },
        HUB,
        "not-signed",
    ),
    (
        "a role below the product lists it",
        |fleet| {
            release(fleet, json!({}));
            unlist(fleet, "product-hub", "products/hub/r2.json");
            fleet.repo.delegate(
                "product-hub",
                "night-shift",
                &["products/hub/*"],
                false,
                (1, &pairs("night", 1)),
            );
            fleet.repo.list("night-shift", "products/hub/r2.json", &manifest("r2", json!({})), None);
        },
        HUB,
        "not-signed",
    ),
    (
        "path of other hardware",
        |fleet| release(fleet, json!({})),
        ThisDevice { hardware: "cam", ..HUB },
        "other-hardware",
    ),
    (
        "manifest for other hardware",
        |fleet| release(fleet, json!({"hardware": ["cam"]})),
        HUB,
        "other-hardware",
    ),
    ("manifest for several", |fleet| release(fleet, json!({"hardware": ["cam", "hub"]})), HUB, "believed"),
    ("manifest for none", |fleet| release(fleet, json!({"hardware": []})), HUB, "other-hardware"),
    ("another release's name", |fleet| release(fleet, json!({"release": "r3"})), HUB, "metadata-malformed"),
    ("another schema", |fleet| release(fleet, json!({"schema": 2})), HUB, "metadata-malformed"),
    ("an unknown field", |fleet| release(fleet, json!({"force": true})), HUB, "metadata-malformed"),
    ("no artefact", |fleet| release(fleet, json!({"artefacts": []})), HUB, "metadata-malformed"),
    (
        "two artefacts of one name",
        |fleet| {
            release(fleet, json!({"artefacts": [artefact("rootfs", 1), artefact("rootfs", 2)]}));
        },
        HUB,
        "metadata-malformed",
    ),
    (
        "two artefacts",
        |fleet| release(fleet, json!({"artefacts": [artefact("rootfs", 1), artefact("app", 2)]})),
        HUB,
        "believed",
    ),
    (
        "an artefact that climbs",
        |fleet| release(fleet, json!({"artefacts": [artefact("../etc", 1)]})),
        HUB,
        "metadata-malformed",
    ),
    ("a counter at the floor", |fleet| release(fleet, json!({"security_counter": 7})), HUB, "believed"),
    ("a counter below the floor", |fleet| release(fleet, json!({"security_counter": 6})), HUB, "below-floor"),
    (
        "a downgrade from this floor",
        |fleet| {
            release(fleet, json!({"security_counter": 6, "allow_downgrade_from": 7}));
        },
        HUB,
        "believed",
    ),
    (
        "a downgrade from a lower floor",
        |fleet| {
            release(fleet, json!({"security_counter": 5, "allow_downgrade_from": 6}));
        },
        HUB,
        "below-floor",
    ),
    (
        "a downgrade from a higher floor",
        |fleet| {
            release(fleet, json!({"security_counter": 6, "allow_downgrade_from": 8}));
        },
        HUB,
        "below-floor",
    ),
    ("may come from this floor", |fleet| release(fleet, json!({"min_counter_from": 7})), HUB, "believed"),
    (
        "may not come from so low a floor",
        |fleet| release(fleet, json!({"min_counter_from": 8})),
        HUB,
        "floor-too-low",
    ),
    (
        "product signed by one of two",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.signers.get_mut("product-hub").unwrap().truncate(1);
        },
        HUB,
        "metadata-unsigned",
    ),
    (
        "product signed twice by one",
        |fleet| {
            release(fleet, json!({}));
            let key = pairs("product-hub", 1);
            fleet.repo.signers.insert("product-hub".into(), vec![key[0].clone(), key[0].alias("other")]);
        },
        HUB,
        "metadata-unsigned",
    ),
    (
        "product expired",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.expire("product-hub", NOW);
        },
        HUB,
        "metadata-expired",
    ),
    (
        "channel expired",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.expire("channel-stable", NOW);
        },
        HUB,
        "metadata-expired",
    ),
    (
        "manifest absent",
        |fleet| {
            release(fleet, json!({}));
            fleet.repo.target_files.retain(|name, _| !name.contains("r2"));
        },
        HUB,
        "metadata-absent",
    ),
    (
        "manifest swapped on the mirror",
        |fleet| {
            release(fleet, json!({}));
            for (name, bytes) in &mut fleet.repo.target_files {
                if name.ends_with("r2.json") {
                    bytes[0] ^= 1;
                }
            }
        },
        HUB,
        "target-mismatch",
    ),
];

fn release(fleet: &mut Fleet, change: Value) {
    fleet.release("r2", change);
}

fn unlist(fleet: &mut Fleet, role: &str, path: &str) {
    fleet.repo.signed(role)["targets"].as_object_mut().unwrap().remove(path);
}

fn artefact(name: &str, byte: u8) -> Value {
    json!({"name": name, "length": 4, "sha256": hex::encode([byte; 32]), "block_root": hex::encode([byte; 32])})
}

#[test]
fn a_release_is_refused_for_its_own_fault() {
    for (name, fault, this, expected) in RELEASES {
        let mut fleet = Fleet::new();
        fault(&mut fleet);
        fleet.repo.next();
        // The assignment names the manifest as the product lists it, or would have.
        let listed = &fleet.repo.roles["product-hub"]["targets"]["products/hub/r2.json"];
        let named = if listed.is_null() { manifest("r2", json!({})) } else { Vec::new() };
        let listed = listed.clone();
        let envelope = fleet.assign("products/hub/r2.json", &named, |signed| {
            if !listed.is_null() {
                signed["targets"]["products/hub/r2.json"] = listed;
            }
        });
        let mut device = fleet.device();
        assert_eq!(code(device.install_on(&mut fleet, &envelope, *this)), *expected, "{name}");
    }
}

#[test]
fn an_assignment_of_other_bytes_than_the_product_signed_is_refused() {
    let mut fleet = Fleet::new();
    let good = manifest("r1", json!({}));
    let evil = manifest("r1", json!({"version": "evil"}));
    fleet.repo.serve_target(R1, &evil);
    for (named, expected) in [(&good, "believed"), (&evil, "target-mismatch")] {
        let mut device = fleet.device();
        let envelope = fleet.assign(R1, named, |_| {});
        assert_eq!(code(device.install(&mut fleet, &envelope)), expected);
    }
    let mut device = fleet.device();
    let envelope = fleet.assign(R1, &good, |signed| signed["targets"][R1]["length"] = json!(1));
    assert_eq!(code(device.install(&mut fleet, &envelope)), "target-mismatch");
}

#[test]
fn a_channel_is_what_its_own_role_says_and_no_other_may_say_it() {
    // Listed by the product's role and, in the channel's name, by the top-level targets alone.
    let mut fleet = Fleet::new();
    let bytes = manifest("r2", json!({}));
    fleet.repo.list("product-hub", "products/hub/r2.json", &bytes, None);
    fleet.repo.list("targets", "channels/stable/hub/r2.json", &bytes, None);
    fleet.repo.publish();
    let envelope = fleet.assign("products/hub/r2.json", &bytes, |_| {});
    assert_eq!(code(fleet.device().install(&mut fleet, &envelope)), "not-in-channel");
    fleet.repo.list("channel-stable", "channels/stable/hub/r2.json", &bytes, None);
    fleet.repo.signed("targets")["targets"].as_object_mut().unwrap().remove("channels/stable/hub/r2.json");
    fleet.repo.next();
    assert_eq!(code(fleet.device().install(&mut fleet, &envelope)), "believed");
}
