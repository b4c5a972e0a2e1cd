//! A signing desk for tests: keys in memory, and no check of what is signed, so that wrong metadata can be made too.
//!
//! The real desk is `holdfast tuf`; whole-system tests work with that one.

use super::service::{Answer, Service};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use holdfast_proto::Bytes;
use holdfast_proto::manifest::Manifest;
use serde::Serialize as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(crate) const HARDWARE: &str = "primehub";
pub(crate) const CHANNEL: &str = "stable";
const YEAR_S: i64 = 365 * 86_400;

struct Key {
    id: String,
    public: Value,
    pair: Ed25519KeyPair,
}

pub(crate) struct Desk {
    keys: BTreeMap<&'static str, Key>,
    online: Value,
    /// By role: version and targets as last published.
    lists: BTreeMap<&'static str, (u64, Map<String, Value>)>,
}

/// Who signs what by right.
pub(crate) const ROOT: &[&str] = &["root-1", "root-2"];
pub(crate) const TARGETS: &[&str] = &["targets-1", "targets-2"];
pub(crate) const PRODUCT: &[&str] = &["product-1", "product-3"];
pub(crate) const STABLE: &[&str] = &["channel-1"];

/// One publish: metadata by role, files by path.
#[derive(Default, Clone)]
pub(crate) struct Parcel {
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Parcel {
    pub(crate) async fn publish(&self, service: &Service) -> Answer {
        service.operator("release-manager", "POST", "/tuf/publish", &self.body()).await
    }

    pub(crate) fn body(&self) -> Value {
        let metadata: Vec<Value> = self
            .metadata
            .iter()
            .map(|(role, bytes)| json!({"role": role, "bytes": Bytes(bytes.clone())}))
            .collect();
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|(path, bytes)| json!({"path": path, "bytes": Bytes(bytes.clone())}))
            .collect();
        json!({"metadata": metadata, "files": files})
    }
}

impl Desk {
    pub(crate) async fn open(service: &Service) -> Self {
        let names = [
            "root-1",
            "root-2",
            "root-3",
            "targets-1",
            "targets-2",
            "product-1",
            "product-2",
            "product-3",
            "channel-1",
            "other",
        ];
        let online = service.get("release-manager", "/tuf/keys").await;
        Self {
            keys: names.into_iter().map(|name| (name, Key::make())).collect(),
            online,
            lists: BTreeMap::new(),
        }
    }

    /// As above, with root and targets published.
    pub(crate) async fn ready(service: &Service) -> Self {
        let desk = Self::open(service).await;
        desk.foundation(service.state.now()).publish(service).await.good();
        desk
    }

    /// Root 1 and targets 1 with their files, rightly signed.
    pub(crate) fn foundation(&self, now: i64) -> Parcel {
        let mut parcel = Parcel { files: self.files(), ..Parcel::default() };
        parcel.metadata.insert("root".into(), self.sign(&self.root(1, now), ROOT));
        parcel.metadata.insert("targets".into(), self.sign(&self.targets(1, now), TARGETS));
        parcel
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let key = &self.online["roles"]["assignment"];
        let assignment = json!({
            "epoch": self.online["assignment_epoch"],
            "keys": {key["key_id"].as_str().unwrap(): key["key"]},
            "threshold": 1,
        });
        let bundle = json!({"version": 1, "roots": self.online["ca_roots"]});
        BTreeMap::from([
            ("keys/assignment.json".to_owned(), assignment.to_string().into_bytes()),
            ("trust/ca.json".to_owned(), bundle.to_string().into_bytes()),
        ])
    }

    pub(crate) fn root(&self, version: u64, now: i64) -> Value {
        let (mut keys, mut roles) = (Map::new(), Map::new());
        let offline =
            [("root", &["root-1", "root-2", "root-3"][..]), ("targets", &["targets-1", "targets-2"][..])];
        for (role, names) in offline {
            let ids: Vec<&str> = names.iter().map(|name| self.keys[name].id.as_str()).collect();
            roles.insert(role.into(), json!({"keyids": ids, "threshold": 2}));
            for name in names {
                keys.insert(self.keys[name].id.clone(), self.keys[name].public.clone());
            }
        }
        for role in ["snapshot", "timestamp"] {
            let key = &self.online["roles"][role];
            roles.insert(role.into(), json!({"keyids": [key["key_id"]], "threshold": 1}));
            keys.insert(key["key_id"].as_str().unwrap().into(), key["key"].clone());
        }
        json!({"_type": "root", "spec_version": "1.0.0", "consistent_snapshot": true, "version": version,
            "expires": expires(now + YEAR_S), "keys": keys, "roles": roles})
    }

    pub(crate) fn targets(&self, version: u64, now: i64) -> Value {
        let (mut keys, mut roles) = (Map::new(), Vec::new());
        let delegated: [(&str, &[&str], u64, String); 2] = [
            (
                "product-primehub",
                &["product-1", "product-2", "product-3"],
                2,
                format!("products/{HARDWARE}/*"),
            ),
            ("channel-stable", STABLE, 1, format!("channels/{CHANNEL}/*/*")),
        ];
        for (role, names, threshold, path) in delegated {
            let ids: Vec<&str> = names.iter().map(|name| self.keys[name].id.as_str()).collect();
            roles.push(json!({"name": role, "keyids": ids, "threshold": threshold, "terminating": true, "paths": [path]}));
            for name in names {
                keys.insert(self.keys[name].id.clone(), self.keys[name].public.clone());
            }
        }
        let deltas = &self.online["roles"]["deltas"];
        roles.push(
            json!({"name": "deltas", "keyids": [deltas["key_id"]], "threshold": 1, "terminating": true,
            "paths": ["delta/*"]}),
        );
        keys.insert(deltas["key_id"].as_str().unwrap().into(), deltas["key"].clone());
        let listed: Map<String, Value> =
            self.files().iter().map(|(path, bytes)| (path.clone(), target(bytes))).collect();
        json!({"_type": "targets", "spec_version": "1.0.0", "version": version, "expires": expires(now + YEAR_S),
            "targets": listed, "delegations": {"keys": keys, "roles": roles}})
    }

    /// The next product and channel metadata with one release more, rightly signed; kept only once [`Desk::keep`] is
    /// called.
    pub(crate) fn release(&self, manifest: &Value, now: i64) -> Parcel {
        let bytes = manifest.to_string().into_bytes();
        let file = format!("{HARDWARE}/{}.json", manifest["release"].as_str().unwrap());
        let mut parcel = Parcel::default();
        parcel.files.insert(format!("products/{file}"), bytes.clone());
        for (role, prefix, names) in [
            ("product-primehub", "products/".to_owned(), PRODUCT),
            ("channel-stable", format!("channels/{CHANNEL}/"), STABLE),
        ] {
            let (version, mut listed) = self.lists.get(role).cloned().unwrap_or_default();
            listed.insert(format!("{prefix}{file}"), target(&bytes));
            parcel.metadata.insert(role.into(), self.sign(&list(version + 1, &listed, now), names));
        }
        parcel
    }

    /// Notes what was published, so that the next draft follows it.
    pub(crate) fn keep(&mut self, parcel: &Parcel) {
        for role in ["product-primehub", "channel-stable"] {
            if let Some(bytes) = parcel.metadata.get(role) {
                let document: Value = serde_json::from_slice(bytes).unwrap();
                let listed = document["signed"]["targets"].as_object().unwrap().clone();
                self.lists.insert(role, (document["signed"]["version"].as_u64().unwrap(), listed));
            }
        }
    }

    /// Uploads, drafts, signs, publishes.
    pub(crate) async fn publish(&mut self, service: &Service, name: &str, counter: u64, image: &[u8]) {
        let artefact = service.upload("firmware", image).await;
        let parcel = self.release(&manifest(name, counter, &[artefact]), service.state.now());
        let status = parcel.publish(service).await.good();
        assert_eq!(status["new_releases"], json!([format!("{HARDWARE}/{name}")]));
        self.keep(&parcel);
    }

    /// An envelope with these keys' signatures.
    pub(crate) fn sign(&self, signed: &Value, names: &[&str]) -> Vec<u8> {
        let message = canonical(signed);
        let signatures: Vec<Value> = names
            .iter()
            .map(|name| json!({"keyid": self.keys[name].id, "sig": hex::encode(self.keys[name].pair.sign(&message))}))
            .collect();
        json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
    }
}

impl Key {
    fn make() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&crate::chance::bytes::<32>()).unwrap();
        let public = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(pair.public_key())}});
        Self { id: crate::repo::publish::sha256(&canonical(&public)).to_hex(), public, pair }
    }
}

/// A manifest of one release.
pub(crate) fn manifest(name: &str, counter: u64, artefacts: &[Value]) -> Value {
    let manifest = json!({"schema": 1, "release": name, "version": name, "hardware": [HARDWARE], "kind": "firmware",
        "security_counter": counter, "artefacts": artefacts});
    let _: Manifest = serde_json::from_value(manifest.clone()).unwrap();
    manifest
}

/// A targets document without delegations.
pub(crate) fn list(version: u64, listed: &Map<String, Value>, now: i64) -> Value {
    json!({"_type": "targets", "spec_version": "1.0.0", "version": version, "expires": expires(now + 30 * 86_400),
        "targets": listed})
}

pub(crate) fn target(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": crate::repo::publish::sha256(bytes)}})
}

pub(crate) fn expires(at: i64) -> String {
    let form = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time::OffsetDateTime::from_unix_timestamp(at).unwrap().format(form).unwrap()
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, olpc_cjson::CanonicalFormatter::new());
    value.serialize(&mut serializer).unwrap();
    bytes
}

/// A real firmware image of the cache.
pub(crate) fn firmware(version: &str, hub: &str) -> Vec<u8> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let root = std::env::var("HOLDFAST_CACHE").unwrap_or_else(|_| format!("{home}/.cache/holdfast"));
    let path = format!("{root}/firmware/pybricks-{version}-{hub}.bin");
    std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{path} is missing: run tests/setup/firmware.sh (`make test` does)"))
}
