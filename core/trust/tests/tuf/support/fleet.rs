//! Holdfast's roles on top of [`Repo`]: a product, two channels, deltas, assignment keys, and what a device asks.

use super::{DAY, Flash, NOW, Pair, Repo, date, envelope, pairs, sha256};
use holdfast_proto::DeviceId;
use holdfast_trust::Verified;
use holdfast_trust::tuf::assignment::{self, Assignment};
use holdfast_trust::tuf::release::{self, Release, ThisDevice};
use holdfast_trust::tuf::store::DurableTrust;
use holdfast_trust::tuf::time::WallClock;
use holdfast_trust::tuf::{Trusted, TufError};
use serde_json::{Value, json};

pub const DEVICE: &str = "dev-1";
pub const BASE: [u8; 32] = [1; 32];

/// The device: hub hardware, channel stable, floor 7.
pub const HUB: ThisDevice<'static> = ThisDevice { hardware: "hub", channel: "stable", floor: 7 };

/// A fleet's repository with release r1 (counter 7) for hub hardware in channel stable.
pub struct Fleet {
    pub repo: Repo,
    pub assignment_signers: Vec<Pair>,
}

impl Fleet {
    pub fn new() -> Self {
        let mut repo = Repo::new();
        repo.keys("root", 2, &pairs("root", 3));
        repo.keys("targets", 2, &pairs("targets", 2));
        repo.delegate("targets", "product-hub", &["products/hub/*"], true, (2, &pairs("product-hub", 3)));
        repo.delegate("targets", "product-cam", &["products/cam/*"], true, (1, &pairs("product-cam", 1)));
        repo.delegate("targets", "channel-stable", &["channels/stable/*/*"], true, (1, &pairs("channel", 1)));
        repo.delegate("targets", "channel-beta", &["channels/beta/*/*"], true, (1, &pairs("beta", 1)));
        repo.delegate("targets", "deltas", &["delta/*"], true, (1, &pairs("deltas", 1)));
        let mut fleet = Self { repo, assignment_signers: pairs("assignment", 1) };
        fleet.assignment_keys(1, 1);
        let bundle = json!({"version": 1, "roots": ["AAEC"]});
        fleet.repo.list("targets", "trust/ca.json", bundle.to_string().as_bytes(), None);
        fleet.release("r1", json!({}));
        fleet.repo.signed("timestamp")["x-holdfast-issued-at"] = json!(NOW);
        fleet.repo.publish();
        fleet
    }

    pub fn assignment_keys(&mut self, epoch: u64, threshold: u64) {
        let keys: serde_json::Map<String, Value> =
            self.assignment_signers.iter().map(|pair| (pair.id.clone(), pair.public.clone())).collect();
        let document = json!({"epoch": epoch, "keys": keys, "threshold": threshold}).to_string();
        self.repo.list("targets", "keys/assignment.json", document.as_bytes(), None);
    }

    /// Lists a release of hub hardware in product and channel; `change` is laid over its manifest.
    pub fn release(&mut self, name: &str, change: Value) -> Vec<u8> {
        let bytes = manifest(name, change);
        self.repo.list("product-hub", &format!("products/hub/{name}.json"), &bytes, None);
        self.repo.list("channel-stable", &format!("channels/stable/hub/{name}.json"), &bytes, None);
        bytes
    }

    /// An assignment of a manifest, signed by the assignment keys; `change` edits `signed` before.
    pub fn assign(&self, path: &str, manifest: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut signed = json!({
            "_type": "targets", "spec_version": "1.0.0", "version": 5, "expires": date(NOW + DAY),
            "targets": {path: {"length": manifest.len(), "hashes": {"sha256": sha256(manifest)}}},
            "x-holdfast-assignment": {
                "device": DEVICE, "epoch": 1, "sequence": 5, "lease_s": 600, "attempt": 1, "state": "active",
            },
        });
        change(&mut signed);
        envelope(&signed, &self.assignment_signers)
    }

    /// A device that was made with the first root.
    pub fn device(&self) -> Device {
        let flash = Flash::default();
        let trust = DurableTrust::begin(flash.clone(), &self.repo.first_root()).unwrap();
        Device { trust, flash }
    }
}

/// r1's manifest with `change` laid over it.
pub fn manifest(name: &str, change: Value) -> Vec<u8> {
    let mut manifest = json!({
        "schema": 1, "release": name, "version": "1.0", "hardware": ["hub"], "kind": "firmware",
        "security_counter": 7,
        "artefacts": [{
            "name": "rootfs", "length": 4, "sha256": hex::encode([9; 32]), "block_root": hex::encode([8; 32]),
        }],
    });
    manifest.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::to_vec(&manifest).unwrap()
}

pub struct Device {
    pub trust: DurableTrust<Flash>,
    pub flash: Flash,
}

impl Device {
    pub fn refresh(&mut self, repo: &mut Repo) -> Result<Trusted, TufError> {
        self.refresh_at(repo, WallClock::Synchronised(NOW))
    }

    pub fn refresh_at(&mut self, repo: &mut Repo, wall: WallClock) -> Result<Trusted, TufError> {
        self.trust.refresh(repo, NOW - 400 * DAY, wall)
    }

    /// Everything between the state's answer and the installer.
    pub fn install(&mut self, fleet: &mut Fleet, envelope: &[u8]) -> Result<Verified<Release>, TufError> {
        self.install_on(fleet, envelope, HUB)
    }

    pub fn install_on(
        &mut self,
        fleet: &mut Fleet,
        envelope: &[u8],
        this: ThisDevice<'_>,
    ) -> Result<Verified<Release>, TufError> {
        let mut trusted = self.refresh(&mut fleet.repo)?;
        let assignment = self.assigned(fleet, &mut trusted, envelope)?;
        release::verify_release(&mut trusted, &assignment, this, &mut self.trust, &mut fleet.repo)
    }

    pub fn assigned(
        &mut self,
        fleet: &mut Fleet,
        trusted: &mut Trusted,
        envelope: &[u8],
    ) -> Result<Verified<Assignment>, TufError> {
        let keys = assignment::assignment_keys(trusted, &mut self.trust, &mut fleet.repo)?;
        let (device, seen) = (DeviceId::new(DEVICE), self.trust.state().assignment);
        let assignment = assignment::verify_assignment(envelope, &keys, &device, seen, trusted.now())?;
        self.trust.note_assignment(&assignment)?;
        Ok(assignment)
    }
}

/// An assignment of this epoch and sequence, believed.
pub fn believed(epoch: u64, sequence: u64) -> Verified<Assignment> {
    let mut fleet = Fleet::new();
    fleet.assignment_keys(epoch, 1);
    fleet.repo.publish();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    let keys = assignment::assignment_keys(&mut trusted, &mut device.trust, &mut fleet.repo).unwrap();
    let envelope = fleet.assign("products/hub/r1.json", b"", |signed| {
        signed["version"] = json!(sequence);
        signed["x-holdfast-assignment"]["epoch"] = json!(epoch);
        signed["x-holdfast-assignment"]["sequence"] = json!(sequence);
    });
    assignment::verify_assignment(&envelope, &keys, &DeviceId::new(DEVICE), None, NOW).unwrap()
}
