//! A server whose every online key is stolen (timestamp, snapshot, deltas, assignment), and every mirror with it,
//! against a device that has seen the newest metadata and one that has seen nothing. Its best moves stand in a table:
//! none makes a device install what the offline keys did not sign, and none lowers the device's floor.

use crate::support::fleet::{BASE, Device, Fleet, HUB, manifest};
use crate::support::{DAY, NOW, Pair, date, pairs, sha256};
use holdfast_proto::Digest;
use holdfast_trust::tuf::TufError;
use holdfast_trust::tuf::release::verify_delta;
use holdfast_trust::tuf::time::WallClock;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EVIL: &[u8] = b"evil";
const R2: &str = "products/hub/r2.json";

/// The genuine repository through two eras; what the server stole is what it may sign with from now on.
struct Hostile {
    fleet: Fleet,
    /// Version that the next snapshot pins, by role.
    pins: BTreeMap<String, u64>,
    /// What it assigns: path, bytes that it claims, and its last edit.
    assigned: (String, Vec<u8>),
    edit: fn(&mut Value),
}

impl Hostile {
    /// Era 1 lists r0 (counter 5) and r1 (counter 7). Era 2 yanks r0 from the channel, lists r2 (8) and r4 (6, a
    /// mistake), r3 in channel beta alone, c1 for other hardware.
    fn new() -> Self {
        let mut fleet = Fleet::new();
        fleet.release("r0", json!({"security_counter": 5}));
        fleet.repo.publish();
        fleet.repo.signed("channel-stable")["targets"]
            .as_object_mut()
            .unwrap()
            .remove("channels/stable/hub/r0.json");
        fleet.release("r2", json!({"security_counter": 8}));
        fleet.release("r4", json!({"security_counter": 6}));
        let beta = manifest("r3", json!({"security_counter": 9}));
        fleet.repo.list("product-hub", "products/hub/r3.json", &beta, None);
        fleet.repo.list("channel-beta", "channels/beta/hub/r3.json", &beta, None);
        let cam = manifest("c1", json!({"hardware": ["cam"]}));
        fleet.repo.list("product-cam", "products/cam/c1.json", &cam, None);
        fleet.repo.list("channel-stable", "channels/stable/cam/c1.json", &cam, None);
        fleet.repo.next();
        let roles: Vec<String> = fleet.repo.roles.keys().cloned().collect();
        let offline = |role: &String| !matches!(role.as_str(), "timestamp" | "snapshot" | "deltas");
        for role in roles.iter().filter(|role| offline(role)) {
            // It has no offline key; where it must sign, it signs with all that it has.
            let stolen = ["timestamp", "snapshot"].map(Pair::named).into_iter().chain(pairs("deltas", 1));
            fleet.repo.signers.insert(role.clone(), stolen.chain(pairs("assignment", 1)).collect());
        }
        let below = |role: &&String| !matches!(role.as_str(), "root" | "timestamp" | "snapshot");
        let pins = roles.iter().filter(below).map(|role| (role.clone(), 2)).collect();
        let genuine = manifest("r2", json!({"security_counter": 8}));
        Self { fleet, pins, assigned: (R2.into(), genuine), edit: |_| {} }
    }

    /// Signs a role of its own making as version 9 and pins it.
    fn forge(&mut self, role: &str) {
        self.fleet.repo.set_version(role, 9);
        self.fleet.repo.put(role);
        self.pins.insert(role.to_owned(), 9);
    }

    fn assign(&mut self, path: &str, bytes: &[u8]) {
        self.assigned = (path.to_owned(), bytes.to_vec());
    }

    /// A new snapshot and timestamp over the pins, and the envelope.
    fn publish(&mut self) -> Vec<u8> {
        let repo = &mut self.fleet.repo;
        let meta: serde_json::Map<String, Value> = self
            .pins
            .iter()
            .map(|(role, version)| {
                let bytes = &repo.served[&format!("{version}.{role}.json")];
                let pin =
                    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(bytes)}});
                (format!("{role}.json"), pin)
            })
            .collect();
        repo.signed("snapshot")["meta"] = Value::Object(meta);
        repo.bump("snapshot");
        repo.bump("timestamp");
        repo.publish_snapshot();
        self.fleet.assign(&self.assigned.0, &self.assigned.1, self.edit)
    }
}

/// The move, what the server does, what the device that has seen era 2 says, what one that has seen nothing says.
type Move = (&'static str, fn(&mut Hostile), &'static str, &'static str);

const BELIEVED: &str = "believed";

const MOVES: &[Move] = &[
    // The most it can do: choose among what the offline keys signed for this device.
    ("assign a signed release", |_| {}, BELIEVED, BELIEVED),
    (
        "assign the release that runs",
        |s| s.assign("products/hub/r1.json", &manifest("r1", json!({}))),
        BELIEVED,
        BELIEVED,
    ),
    // Content of its own.
    (
        "assign a manifest that nobody signed",
        |s| {
            let evil = manifest("r9", json!({"security_counter": 99}));
            s.fleet.repo.serve_target("products/hub/r9.json", &evil);
            s.assign("products/hub/r9.json", &evil);
        },
        "not-signed",
        "not-signed",
    ),
    (
        "assign other bytes under a signed name",
        |s| {
            let evil = manifest("r2", json!({"version": "evil"}));
            s.fleet.repo.serve_target(R2, &evil);
            s.assign(R2, &evil);
        },
        "target-mismatch",
        "target-mismatch",
    ),
    (
        "serve other bytes under a signed digest",
        |s| {
            for (name, bytes) in &mut s.fleet.repo.target_files {
                if name.ends_with("r2.json") {
                    *bytes = manifest("r2", json!({"security_counter": 8, "version": "9.9"}));
                }
            }
        },
        "target-mismatch",
        "target-mismatch",
    ),
    (
        "list it in a product role that it signs",
        |s| {
            let evil = s.fleet.release("r9", json!({}));
            s.forge("product-hub");
            s.assign("products/hub/r9.json", &evil);
        },
        "metadata-unsigned",
        "metadata-unsigned",
    ),
    (
        "list it in a channel that it signs",
        |s| {
            let beta = manifest("r3", json!({"security_counter": 9}));
            s.fleet.repo.list("channel-stable", "channels/stable/hub/r3.json", &beta, None);
            s.forge("channel-stable");
            s.assign("products/hub/r3.json", &beta);
        },
        "metadata-unsigned",
        "metadata-unsigned",
    ),
    (
        "delegate the product to itself",
        |s| {
            s.fleet.repo.delegate(
                "targets",
                "product-hub",
                &["products/hub/*"],
                true,
                (1, &pairs("deltas", 1)),
            );
            s.forge("targets");
        },
        "metadata-unsigned",
        "metadata-unsigned",
    ),
    (
        "make itself the root",
        |s| {
            s.fleet.repo.keys("targets", 1, &pairs("deltas", 1));
            s.fleet.repo.set_version("root", 2);
            s.fleet.repo.put("root");
        },
        "metadata-unsigned",
        "metadata-unsigned",
    ),
    (
        "name a manifest in deltas",
        |s| {
            let evil = manifest("r9", json!({}));
            s.fleet.repo.list("deltas", "products/hub/r9.json", &evil, None);
            s.fleet.repo.list("deltas", "channels/stable/hub/r9.json", &evil, None);
            s.forge("deltas");
            s.assign("products/hub/r9.json", &evil);
        },
        "not-signed",
        "not-signed",
    ),
    (
        "let deltas delegate to a product role of its own",
        |s| {
            let evil = manifest("r9", json!({}));
            s.fleet.repo.list("product-hub", "products/hub/r9.json", &evil, None);
            let mine = pairs("deltas", 1);
            s.fleet.repo.delegate("deltas", "product-hub", &["*", "*/*", "*/*/*"], false, (1, &mine));
            s.forge("product-hub");
            s.forge("deltas");
            s.assign("products/hub/r9.json", &evil);
        },
        "metadata-unsigned",
        "metadata-unsigned",
    ),
    (
        "replace the assignment keys' bytes",
        |s| {
            for (name, bytes) in &mut s.fleet.repo.target_files {
                if name.ends_with("assignment.json") {
                    bytes[0] ^= 1;
                }
            }
        },
        "target-mismatch",
        "target-mismatch",
    ),
    (
        "name assignment keys in deltas",
        |s| {
            s.fleet.repo.list(
                "deltas",
                "keys/assignment.json",
                br#"{"epoch":9,"keys":{},"threshold":1}"#,
                None,
            );
            s.forge("deltas");
            s.edit = |signed| signed["x-holdfast-assignment"]["epoch"] = json!(9);
        },
        "assignment-other-epoch",
        "assignment-other-epoch",
    ),
    // Old content that offline keys once signed.
    (
        "assign a signed release below the floor",
        |s| {
            s.assign("products/hub/r4.json", &manifest("r4", json!({"security_counter": 6})));
        },
        "below-floor",
        "below-floor",
    ),
    (
        "assign a release that the channel yanked",
        |s| {
            s.assign("products/hub/r0.json", &manifest("r0", json!({"security_counter": 5})));
        },
        "not-in-channel",
        "not-in-channel",
    ),
    (
        "roll product and channel back to before the yank",
        |s| {
            s.pins.insert("product-hub".into(), 1);
            s.pins.insert("channel-stable".into(), 1);
            s.assign("products/hub/r0.json", &manifest("r0", json!({"security_counter": 5})));
        },
        "metadata-rollback",
        "below-floor",
    ),
    (
        "mix an old channel with the new product",
        |s| {
            s.pins.insert("channel-stable".into(), 1);
            s.assign("products/hub/r0.json", &manifest("r0", json!({"security_counter": 5})));
        },
        "metadata-rollback",
        "below-floor",
    ),
    (
        "roll targets back",
        |s| {
            s.pins.insert("targets".into(), 1);
        },
        "metadata-rollback",
        BELIEVED,
    ),
    (
        "roll snapshot and timestamp back",
        |s| {
            for role in ["snapshot", "timestamp"] {
                s.fleet.repo.set_version(role, 0);
            }
        },
        "metadata-rollback",
        BELIEVED,
    ),
    (
        "hide the product",
        |s| {
            s.pins.remove("product-hub");
        },
        "metadata-mismatch",
        "not-signed",
    ),
    (
        "hide the channel",
        |s| {
            s.pins.remove("channel-stable");
        },
        "metadata-mismatch",
        "not-in-channel",
    ),
    // Content for somebody else.
    (
        "assign a release of another channel",
        |s| {
            s.assign("products/hub/r3.json", &manifest("r3", json!({"security_counter": 9})));
        },
        "not-in-channel",
        "not-in-channel",
    ),
    (
        "assign a release of other hardware",
        |s| {
            s.assign("products/cam/c1.json", &manifest("c1", json!({"hardware": ["cam"]})));
        },
        "other-hardware",
        "other-hardware",
    ),
    (
        "send another device's assignment",
        |s| {
            s.edit = |signed| signed["x-holdfast-assignment"]["device"] = json!("dev-2");
        },
        "assignment-other-device",
        "assignment-other-device",
    ),
    // The envelope itself.
    (
        "send an assignment again that was superseded",
        |s| {
            s.edit = |signed| {
                signed["version"] = json!(3);
                signed["x-holdfast-assignment"]["sequence"] = json!(3);
            };
        },
        "assignment-old",
        BELIEVED,
    ),
    (
        "assign an image in place of a manifest",
        |s| s.assign("products/hub/r2/rootfs.img", EVIL),
        "metadata-malformed",
        "metadata-malformed",
    ),
    (
        "assign a second target beside the manifest",
        |s| {
            s.edit = |signed| {
                signed["targets"]["products/hub/rootfs.json"] =
                    json!({"length": 4, "hashes": {"sha256": sha256(EVIL)}});
            };
        },
        "metadata-malformed",
        "metadata-malformed",
    ),
    (
        "smuggle a floor into the assignment",
        |s| {
            s.edit = |signed| signed["x-holdfast-assignment"]["allow_downgrade_from"] = json!(7);
        },
        "metadata-malformed",
        "metadata-malformed",
    ),
    (
        "smuggle a manifest into the target's custom",
        |s| {
            s.assign("products/hub/r4.json", &manifest("r4", json!({"security_counter": 6})));
            s.edit = |signed| {
                signed["targets"]["products/hub/r4.json"]["custom"] = json!({"security_counter": 99});
            };
        },
        "below-floor",
        "below-floor",
    ),
    // Time.
    (
        "claim the end of the root's time",
        |s| {
            for role in ["timestamp", "snapshot"] {
                s.fleet.repo.expire(role, NOW + 9000 * DAY);
            }
            s.fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(NOW + 9000 * DAY);
        },
        "metadata-expired",
        "metadata-expired",
    ),
    // Against a device that has seen nothing it can make a good clock look wrong: a refusal, and no more.
    (
        "claim 1970",
        |s| s.fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(0),
        BELIEVED,
        "clock-ahead",
    ),
    (
        "an assignment for ever",
        |s| s.edit = |signed| signed["expires"] = json!(date(NOW + 90_000 * DAY)),
        BELIEVED,
        BELIEVED,
    ),
    // Bulk.
    (
        "delegate deltas without end",
        |s| {
            for number in 0..200 {
                s.fleet.repo.delegate(
                    "deltas",
                    &format!("bin-{number}"),
                    &["delta/*"],
                    false,
                    (1, &pairs("deltas", 1)),
                );
            }
            s.forge("deltas");
        },
        BELIEVED,
        BELIEVED,
    ),
];

/// Manifests that offline keys signed for hub hardware in channel stable, now or ever, at or above the floor.
fn signed_by_offline_keys() -> Vec<Vec<u8>> {
    vec![manifest("r1", json!({})), manifest("r2", json!({"security_counter": 8}))]
}

/// A device that saw era 2 and confirmed sequence 4.
fn experienced() -> Device {
    let mut genuine = Hostile::new();
    let mut device = genuine.fleet.device();
    device.refresh(&mut genuine.fleet.repo).unwrap();
    device.trust.note_assignment(&crate::support::fleet::believed(1, 4)).unwrap();
    device
}

#[test]
fn every_online_key_together_installs_only_what_offline_keys_signed() {
    let signed: Vec<String> = signed_by_offline_keys().iter().map(|bytes| sha256(bytes)).collect();
    for (name, act, expected, expected_of_fresh) in MOVES {
        for (is_fresh, expected) in [(false, expected), (true, expected_of_fresh)] {
            let mut server = Hostile::new();
            act(&mut server);
            let envelope = server.publish();
            let mut device = if is_fresh { server.fleet.device() } else { experienced() };
            let before = device.trust.state().clone();
            let code = match device.install(&mut server.fleet, &envelope) {
                Ok(release) => {
                    assert!(
                        signed.contains(&release.manifest_sha256.to_hex()),
                        "{name} installs {release:?}"
                    );
                    assert!(release.manifest.security_counter >= HUB.floor, "{name}");
                    BELIEVED
                }
                Err(error) => error.code(),
            };
            assert_eq!(code, *expected, "{name}, fresh: {is_fresh}");
            // Nothing that was trusted went back.
            let after = device.trust.state();
            for (role, version) in &before.versions {
                assert!(after.versions[role] >= *version, "{name}: {role} went back");
            }
            assert!(after.assignment >= before.assignment, "{name}: the sequence went back");
            assert_eq!(after.files["root.json"], before.files["root.json"], "{name}");
        }
    }
}

#[test]
fn a_hostile_delta_leads_to_the_signed_artefact_or_nowhere() {
    let genuine = hex::encode([9; 32]);
    let evil = sha256(EVIL);
    let base = hex::encode(BASE);
    // Name's output, stated output, what comes of it.
    for (named, stated, expected) in [
        (&genuine, &genuine, BELIEVED),
        (&genuine, &evil, "target-mismatch"),
        (&evil, &evil, "none"),
        (&evil, &genuine, "none"),
    ] {
        let mut server = Hostile::new();
        let custom = json!({
            "base": base, "output": stated, "codec": "bsdiff", "ram_bytes": 1, "block_root": hex::encode([3; 32]),
        });
        server.fleet.repo.list("deltas", &format!("delta/{base}-{named}"), b"p", Some(custom));
        server.forge("deltas");
        let envelope = server.publish();
        let mut device = experienced();
        let release = device.install(&mut server.fleet, &envelope).unwrap();
        let mut trusted = device.refresh(&mut server.fleet.repo).unwrap();
        let repo = &mut server.fleet.repo;
        let plan = verify_delta(&mut trusted, &release, "rootfs", Digest(BASE), &mut device.trust, repo);
        let code = match &plan {
            Ok(Some(plan)) => {
                assert_eq!(plan.custom.output.to_hex(), genuine, "what it leads to is what was signed");
                BELIEVED
            }
            Ok(None) => "none",
            Err(error) => error.code(),
        };
        assert_eq!(code, expected, "delta/{named} to {stated}");
    }
}

/// After every move the owner rotates the stolen keys by a root: the device installs genuine releases again.
#[test]
fn a_root_that_retires_the_stolen_keys_ends_every_move() {
    for (name, act, ..) in MOVES {
        let mut server = Hostile::new();
        act(&mut server);
        let envelope = server.publish();
        let mut device = experienced();
        let _: Result<_, TufError> = device.install(&mut server.fleet, &envelope);

        let mut owner = Hostile::new().fleet;
        owner.repo.keys("root", 2, &pairs("root", 3));
        owner.repo.keys("timestamp", 1, &[Pair::named("new timestamp")]);
        owner.repo.keys("snapshot", 1, &[Pair::named("new snapshot")]);
        owner.repo.next_root();
        owner.assignment_signers = vec![Pair::named("new assignment")];
        owner.assignment_keys(2, 1);
        let deltas = pairs("new deltas", 1);
        owner.repo.signed("targets")["delegations"]["roles"]
            .as_array_mut()
            .unwrap()
            .retain(|role| role["name"] != "deltas");
        owner.repo.delegate("targets", "deltas", &["delta/*"], true, (1, &deltas));
        owner.repo.keys("targets", 2, &pairs("targets", 2));
        owner.repo.signers.insert("product-hub".into(), pairs("product-hub", 3));
        owner.repo.signers.insert("product-cam".into(), pairs("product-cam", 1));
        owner.repo.signers.insert("channel-stable".into(), pairs("channel", 1));
        owner.repo.signers.insert("channel-beta".into(), pairs("beta", 1));
        owner.repo.next();
        let genuine = manifest("r2", json!({"security_counter": 8}));
        let envelope = owner.assign(R2, &genuine, |signed| {
            signed["version"] = json!(1);
            signed["x-holdfast-assignment"]["sequence"] = json!(1);
            signed["x-holdfast-assignment"]["epoch"] = json!(2);
        });
        let release =
            device.install(&mut owner, &envelope).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(release.manifest_sha256.to_hex(), sha256(&genuine), "{name}");
    }
}

#[test]
fn a_device_without_a_clock_is_not_frozen_before_what_it_has_seen() {
    let mut device = experienced();
    // The stolen keys sign old products anew, with a time at which these had not expired.
    let mut server = Hostile::new();
    server.fleet.repo.expire("timestamp", NOW - DAY);
    server.fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(NOW - 2 * DAY);
    server.publish();
    let refused = device.refresh_at(&mut server.fleet.repo, WallClock::Unset).unwrap_err();
    assert_eq!(refused.code(), "metadata-expired");
}
