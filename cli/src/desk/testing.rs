//! A desk for tests: real keys, made once for all tests of a run, and documents signed with them.

use super::draft::{self, Plan};
use super::envelope::Envelope;
use super::keys::{self, SigningKey};
use super::predecessor::Predecessor;
use super::releases::{self, Published};
use super::{Desk, Privacy, write_file};
use holdfast_proto::Digest;
use holdfast_proto::api::tuf::{OnlineKey, OnlineKeys};
use holdfast_proto::manifest::{Artefact, Manifest, ReleaseKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ROOT: &[&str] = &["root-1"];
pub(crate) const TARGETS: &[&str] = &["targets-1"];
pub(crate) const PRODUCT: &[&str] = &["product-hub-1", "product-hub-2"];
pub(crate) const CHANNEL: &[&str] = &["channel-stable-1"];

const NAMES: [&str; 7] =
    ["root-1", "targets-1", "product-hub-1", "product-hub-2", "channel-stable-1", "online-1", "stranger-1"];

/// Files and opened keys by name. Deriving a key from its passphrase is slow on purpose, so it is done once.
fn material() -> &'static BTreeMap<&'static str, (Vec<u8>, SigningKey)> {
    static MATERIAL: OnceLock<BTreeMap<&'static str, (Vec<u8>, SigningKey)>> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        let make = |name: &'static str| {
            keys::generate(&desk, name, "test").unwrap();
            let file = std::fs::read(desk.keys().join(format!("{name}.json"))).unwrap();
            (name, (file, keys::open(&desk, name, "test").unwrap()))
        };
        NAMES.map(make).into()
    })
}

/// A desk for the hardware `hub` and the channel `stable`.
pub(crate) struct TestDesk {
    _folder: tempfile::TempDir,
    pub(crate) desk: Desk,
}

impl TestDesk {
    /// Keys and a plan; nothing is published.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        for (name, (file, _)) in material() {
            write_file(&desk.keys().join(format!("{name}.json")), file, Privacy::Secret).unwrap();
        }
        let thresholds = [("root", 1), ("targets", 1), ("product-hub", 2), ("channel-stable", 1)];
        let plan = Plan {
            hardware: vec!["hub".into()],
            channels: vec!["stable".into()],
            thresholds: thresholds.map(|(role, threshold)| (role.to_owned(), threshold)).into(),
        };
        write_file(&desk.plan_file(), &serde_json::to_vec(&plan).unwrap(), Privacy::Public).unwrap();
        Self { _folder: folder, desk }
    }

    /// As above, with root 1 and targets 1 published.
    pub(crate) fn founded() -> Self {
        let this = Self::bare();
        draft::root(&this.desk, &this.online(), None, NOW, 365).unwrap();
        draft::targets(&this.desk, &this.online(), None, NOW, 365).unwrap();
        this.publish("root", ROOT);
        this.publish("targets", TARGETS);
        this
    }

    /// As above, with release r1 of this counter published; returns product and channel as published.
    pub(crate) fn released(counter: u64) -> (Self, Vec<u8>, Vec<u8>) {
        let this = Self::founded();
        let (product, channel) = this.release("r1", counter, &Published { product: None, channel: None });
        (this, product, channel)
    }

    /// Drafts, signs and publishes a release.
    pub(crate) fn release(&self, name: &str, counter: u64, before: &Published) -> (Vec<u8>, Vec<u8>) {
        releases::draft(&self.desk, "hub", "stable", &manifest(name, counter), before, NOW).unwrap();
        let path = format!("files/products/hub/{name}.json");
        let file = std::fs::read(self.desk.out().join(&path)).unwrap();
        std::fs::remove_file(self.desk.out().join(&path)).unwrap();
        write_file(&self.desk.published().join(path), &file, Privacy::Public).unwrap();
        (self.publish("product-hub", PRODUCT), self.publish("channel-stable", CHANNEL))
    }

    /// Signs the draft of a role and moves it to what is published.
    pub(crate) fn publish(&self, role: &str, names: &[&str]) -> Vec<u8> {
        let path = self.desk.out().join(format!("{role}.json"));
        let bytes = signed(names, Envelope::read(&std::fs::read(&path).unwrap()).unwrap().signed);
        std::fs::remove_file(&path).unwrap();
        self.keep(role, &bytes);
        bytes
    }

    /// Puts bytes where what is published lies.
    pub(crate) fn keep(&self, role: &str, bytes: &[u8]) {
        write_file(&self.desk.published().join(format!("{role}.json")), bytes, Privacy::Public).unwrap();
    }

    pub(crate) fn drafted(&self, role: &str) -> Option<Value> {
        let bytes = std::fs::read(self.desk.out().join(format!("{role}.json"))).ok()?;
        Some(Envelope::read(&bytes).unwrap().signed)
    }

    /// What the service says that its keys are.
    pub(crate) fn online(&self) -> OnlineKeys {
        let file = keys::public(&self.desk, "online-1").unwrap();
        let key = OnlineKey { key_id: file.key_id, key: serde_json::to_value(&file.key).unwrap() };
        let roles =
            ["snapshot", "timestamp", "deltas", "assignment"].map(|role| (role.to_owned(), key.clone()));
        OnlineKeys { roles: roles.into(), assignment_epoch: 1, ca_roots: vec![b"a CA root".to_vec().into()] }
    }

    pub(crate) fn shown(&self, role: &str, bytes: &[u8]) -> anyhow::Result<Option<Predecessor>> {
        Predecessor::shown(&self.desk, role, Some(bytes))
    }
}

/// A document with the signatures of these keys.
pub(crate) fn signed(names: &[&str], document: Value) -> Vec<u8> {
    let mut envelope = Envelope::draft(document).unwrap();
    for name in names {
        envelope.sign(&material()[name].1).unwrap();
    }
    envelope.to_bytes().unwrap()
}

/// Changes a document's content under the signatures that it has.
pub(crate) fn tampered(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut envelope = Envelope::read(bytes).unwrap();
    change(&mut envelope.signed);
    envelope.to_bytes().unwrap()
}

/// Changes a document's content and signs it anew.
pub(crate) fn resigned(bytes: &[u8], names: &[&str], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = Envelope::read(bytes).unwrap().signed;
    change(&mut document);
    signed(names, document)
}

/// A target that nobody at the desk knows.
pub(crate) fn evil() -> Value {
    json!({"length": 4, "hashes": {"sha256": "66".repeat(32)}})
}

pub(crate) fn manifest(name: &str, security_counter: u64) -> Manifest {
    let digest = Digest([7; 32]);
    Manifest {
        schema: 1,
        release: name.into(),
        version: "1.0.0".into(),
        hardware: vec!["hub".into()],
        kind: ReleaseKind::Firmware,
        security_counter,
        min_counter_from: None,
        health_profile: None,
        artefacts: vec![Artefact { name: "rootfs".into(), length: 3, sha256: digest, block_root: digest }],
        reference_measurements: BTreeMap::new(),
        sbom: None,
        provenance: None,
        allow_downgrade_from: None,
    }
}
