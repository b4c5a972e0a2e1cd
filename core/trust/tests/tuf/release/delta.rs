//! Deltas: what they may lead to.

use super::*;

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
