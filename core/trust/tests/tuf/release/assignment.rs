//! The assignment: which release, for which device, and who may say so.

use super::*;

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
