//! Holdfast's own roles: which release (assignment), what it contains (product and channel), how it comes (deltas).

mod tuf_support;

use holdfast_proto::{DeviceId, Digest};
use holdfast_trust::Verified;
use holdfast_trust::tuf::TufError;
use holdfast_trust::tuf::assignment::{assignment_keys, verify_assignment};
use holdfast_trust::tuf::limits::ASSIGNMENT_MAX_BYTES;
use holdfast_trust::tuf::release::{DeltaPlan, Release, ThisDevice, verify_delta};
use holdfast_trust::tuf::store::SeenAssignment;
use serde_json::{Value, json};
use tuf_support::fleet::{BASE, DEVICE, Fleet, HUB, manifest};
use tuf_support::{NOW, Pair, date, pairs, sha256};

const R1: &str = "products/hub/r1.json";

fn code<T>(result: Result<T, TufError>) -> &'static str {
    match result {
        Ok(_) => "believed",
        Err(error) => error.code(),
    }
}

/// Fault, what it does to `signed` before it is signed, the code.
type Fault = (&'static str, fn(&mut Value), &'static str);

const ASSIGNMENTS: &[Fault] = &[
    ("no fault", |_| {}, "believed"),
    ("expired", |signed| signed["expires"] = json!(date(NOW)), "metadata-expired"),
    ("expires in a second", |signed| signed["expires"] = json!(date(NOW + 1)), "believed"),
    ("for another device", |signed| body(signed)["device"] = json!("dev-2"), "assignment-other-device"),
    ("of an older epoch", |signed| body(signed)["epoch"] = json!(0), "assignment-other-epoch"),
    ("of a newer epoch", |signed| body(signed)["epoch"] = json!(2), "assignment-other-epoch"),
    ("sequence seen before", |signed| at_sequence(signed, 3), "assignment-old"),
    ("sequence confirmed again", |signed| at_sequence(signed, 4), "believed"),
    ("sequence other than version", |signed| body(signed)["sequence"] = json!(6), "metadata-malformed"),
    ("version other than sequence", |signed| signed["version"] = json!(6), "metadata-malformed"),
    (
        "names no device",
        |signed| {
            signed.as_object_mut().unwrap().remove("x-holdfast-assignment");
        },
        "metadata-malformed",
    ),
    ("an unknown word in its body", |signed| body(signed)["floor"] = json!(0), "metadata-malformed"),
    ("an unknown state", |signed| body(signed)["state"] = json!("forced"), "metadata-malformed"),
    ("no manifest", |signed| signed["targets"] = json!({}), "metadata-malformed"),
    (
        "two manifests",
        |signed| {
            signed["targets"]["products/hub/r2.json"] = signed["targets"][R1].clone();
        },
        "metadata-malformed",
    ),
    ("an artefact", |signed| rename(signed, "products/hub/rootfs.img"), "metadata-malformed"),
    (
        "an artefact below the release",
        |signed| rename(signed, "products/hub/r1/rootfs.json"),
        "metadata-malformed",
    ),
    ("another folder", |signed| rename(signed, "channels/hub/r1.json"), "metadata-malformed"),
    ("a way up", |signed| rename(signed, "products/../r1.json"), "metadata-malformed"),
    ("no name", |signed| rename(signed, "products/hub/.json"), "metadata-malformed"),
    (
        "delegations of its own",
        |signed| {
            signed["delegations"] = json!({"keys": {}, "roles": []});
        },
        "metadata-malformed",
    ),
    (
        "no SHA-256",
        |signed| {
            signed["targets"][R1]["hashes"] = json!({"sha512": "00"});
        },
        "metadata-malformed",
    ),
    ("another type", |signed| signed["_type"] = json!("snapshot"), "metadata-malformed"),
];

fn body(signed: &mut Value) -> &mut Value {
    &mut signed["x-holdfast-assignment"]
}

fn at_sequence(signed: &mut Value, sequence: u64) {
    signed["version"] = json!(sequence);
    body(signed)["sequence"] = json!(sequence);
}

fn rename(signed: &mut Value, path: &str) {
    let target = signed["targets"][R1].take();
    signed["targets"] = json!({path: target});
}

#[test]
fn an_assignment_is_refused_for_its_own_fault() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    let keys = assignment_keys(&mut trusted, &mut device.trust, &mut fleet.repo).unwrap();
    let seen = Some(SeenAssignment { epoch: 1, sequence: 4 });
    for (name, fault, expected) in ASSIGNMENTS {
        let envelope = fleet.assign(R1, b"manifest", fault);
        let result = verify_assignment(&envelope, &keys, &DeviceId::new(DEVICE), seen, NOW);
        assert_eq!(code(result), *expected, "{name}");
    }
}

#[test]
fn an_assignment_says_what_it_names() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    let envelope = fleet.assign(R1, b"manifest", |_| {});
    let keys = assignment_keys(&mut trusted, &mut device.trust, &mut fleet.repo).unwrap();
    let assignment = verify_assignment(&envelope, &keys, &DeviceId::new(DEVICE), None, NOW).unwrap();
    assert_eq!((assignment.manifest_path.as_str(), assignment.manifest_len), (R1, 8));
    assert_eq!(assignment.manifest_sha256.to_hex(), sha256(b"manifest"));
    assert_eq!((assignment.body.lease_s, assignment.body.attempt), (600, 1));
}

#[test]
fn an_assignment_needs_the_threshold_of_its_keys() {
    let mut fleet = Fleet::new();
    fleet.assignment_signers = pairs("assignment", 3);
    fleet.assignment_keys(1, 2);
    fleet.repo.publish();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    let keys = assignment_keys(&mut trusted, &mut device.trust, &mut fleet.repo).unwrap();
    let all = pairs("assignment", 3);
    let thief = Pair::named("thief");
    let online = Pair::named("timestamp");
    for (signers, expected) in [
        (vec![all[0].clone(), all[2].clone()], "believed"),
        (all.clone(), "believed"),
        (vec![all[0].clone()], "metadata-unsigned"),
        (vec![], "metadata-unsigned"),
        (vec![all[0].clone(), all[0].clone()], "metadata-unsigned"),
        (vec![all[0].clone(), all[0].alias("other")], "metadata-unsigned"),
        (vec![all[0].clone(), thief.alias(&all[1].id)], "metadata-unsigned"),
        (vec![thief.clone(), online.clone()], "metadata-unsigned"),
    ] {
        fleet.assignment_signers = signers;
        let envelope = fleet.assign(R1, b"manifest", |_| {});
        let result = verify_assignment(&envelope, &keys, &DeviceId::new(DEVICE), None, NOW);
        assert_eq!(code(result), expected, "{} signatures", fleet.assignment_signers.len());
    }
}

#[test]
fn nobody_signs_for_a_threshold_of_none() {
    let mut fleet = Fleet::new();
    fleet.assignment_keys(1, 0);
    fleet.repo.publish();
    let mut device = fleet.device();
    let envelope = fleet.assign(R1, b"manifest", |_| {});
    assert_ne!(code(device.install(&mut fleet, &envelope)), "believed");
}

#[test]
fn a_changed_envelope_is_unsigned_and_a_long_one_is_not_read() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    let keys = assignment_keys(&mut trusted, &mut device.trust, &mut fleet.repo).unwrap();
    let verify =
        |envelope: &[u8]| code(verify_assignment(envelope, &keys, &DeviceId::new(DEVICE), None, NOW));
    let envelope = fleet.assign(R1, b"manifest", |_| {});
    let text = String::from_utf8(envelope.clone()).unwrap();
    assert_eq!(verify(text.replace("\"attempt\":1", "\"attempt\":2").as_bytes()), "metadata-unsigned");
    assert_eq!(verify(b""), "metadata-malformed");
    let mut padded = envelope.clone();
    padded.resize(ASSIGNMENT_MAX_BYTES, b' ');
    assert_eq!(verify(&padded), "believed");
    padded.push(b' ');
    assert_eq!(verify(&padded), "metadata-too-long");
}

#[test]
fn a_new_epoch_restarts_the_sequence_and_ends_the_old_keys() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let release = manifest("r1", json!({}));
    let old = fleet.assign(R1, &release, |_| {});
    device.install(&mut fleet, &old).unwrap();

    fleet.assignment_signers = vec![Pair::named("assignment of epoch 2")];
    fleet.assignment_keys(2, 1);
    fleet.repo.next();
    assert_eq!(code(device.install(&mut fleet, &old)), "metadata-unsigned");
    let new = fleet.assign(R1, &release, |signed| {
        at_sequence(signed, 1);
        body(signed)["epoch"] = json!(2);
    });
    device.install(&mut fleet, &new).unwrap();
    assert_eq!(device.trust.state().assignment, Some(SeenAssignment { epoch: 2, sequence: 1 }));
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

/// Fault, the delta's target before it is signed, the code or `none`.
type DeltaFault = (&'static str, fn(&mut Fleet), &'static str);

const OUTPUT: [u8; 32] = [9; 32];

const DELTAS: &[DeltaFault] = &[
    ("no fault", |fleet| delta(fleet, |_| {}), "believed"),
    ("nothing offered", |_| {}, "none"),
    (
        "output is not in the manifest",
        |fleet| {
            delta(fleet, |target| target["custom"]["output"] = json!(hex::encode([7; 32])));
        },
        "target-mismatch",
    ),
    (
        "base is not ours",
        |fleet| {
            delta(fleet, |target| target["custom"]["base"] = json!(hex::encode([7; 32])));
        },
        "target-mismatch",
    ),
    (
        "says nothing of itself",
        |fleet| {
            delta(fleet, |target| {
                target.as_object_mut().unwrap().remove("custom");
            });
        },
        "metadata-malformed",
    ),
    (
        "says something unknown",
        |fleet| delta(fleet, |target| target["custom"]["run"] = json!("sh")),
        "metadata-malformed",
    ),
    (
        "has no SHA-256",
        |fleet| delta(fleet, |target| target["hashes"] = json!({"sha512": "00"})),
        "metadata-malformed",
    ),
    ("as long as the whole", |fleet| delta(fleet, |target| target["length"] = json!(4)), "believed"),
    (
        "longer than the whole",
        |fleet| delta(fleet, |target| target["length"] = json!(5)),
        "metadata-too-long",
    ),
    (
        "named by the top-level role",
        |fleet| {
            delta(fleet, |_| {});
            let target = fleet.repo.roles["deltas"]["targets"][path()].clone();
            fleet.repo.signed("targets")["targets"][path()] = target;
        },
        "none",
    ),
    (
        "named by another role before deltas",
        |fleet| {
            delta(fleet, |_| {});
            let keys = pairs("eager", 1);
            fleet.repo.delegate("targets", "eager", &["delta/*"], false, (1, &keys));
            let target = fleet.repo.roles["deltas"]["targets"][path()].clone();
            fleet.repo.signed("eager")["targets"][path()] = target;
            fleet.repo.signed("targets")["delegations"]["roles"].as_array_mut().unwrap().reverse();
        },
        "none",
    ),
    (
        "unsigned",
        |fleet| {
            delta(fleet, |_| {});
            fleet.repo.signers.insert("deltas".into(), vec![Pair::named("thief")]);
        },
        "metadata-unsigned",
    ),
    (
        "expired",
        |fleet| {
            delta(fleet, |_| {});
            fleet.repo.expire("deltas", NOW);
        },
        "metadata-expired",
    ),
];

fn path() -> String {
    format!("delta/{}-{}", hex::encode(BASE), hex::encode(OUTPUT))
}

fn delta(fleet: &mut Fleet, change: impl FnOnce(&mut Value)) {
    let custom = json!({
        "base": hex::encode(BASE), "output": hex::encode(OUTPUT), "codec": "bsdiff", "ram_bytes": 1,
        "block_root": hex::encode([3; 32]),
    });
    fleet.repo.list("deltas", &path(), b"fix", Some(custom));
    change(&mut fleet.repo.signed("deltas")["targets"][path()]);
}

fn planned(fleet: &mut Fleet, artefact: &str) -> Result<Option<Verified<DeltaPlan>>, TufError> {
    let release: Vec<u8> = manifest("r1", json!({}));
    let envelope = fleet.assign(R1, &release, |_| {});
    let mut device = fleet.device();
    let release: Verified<Release> = device.install(fleet, &envelope).unwrap();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    verify_delta(&mut trusted, &release, artefact, Digest(BASE), &mut device.trust, &mut fleet.repo)
}

#[test]
fn a_delta_is_refused_for_its_own_fault() {
    for (name, fault, expected) in DELTAS {
        let mut fleet = Fleet::new();
        fault(&mut fleet);
        fleet.repo.next();
        let result = match planned(&mut fleet, "rootfs") {
            Ok(None) => "none",
            other => code(other),
        };
        assert_eq!(result, *expected, "{name}");
    }
}

#[test]
fn a_delta_says_what_to_fetch() {
    let mut fleet = Fleet::new();
    delta(&mut fleet, |_| {});
    fleet.repo.next();
    let plan = planned(&mut fleet, "rootfs").unwrap().unwrap();
    assert_eq!((plan.length, plan.patch_sha256.to_hex()), (3, sha256(b"fix")));
    assert_eq!((plan.custom.base, plan.custom.output), (Digest(BASE), Digest(OUTPUT)));
    assert_eq!(code(planned(&mut fleet, "other")), "no-artefact");
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
