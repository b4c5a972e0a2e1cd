//! A repository whose metadata is plain JSON that a test may spoil before it is signed, and the places that a walk
//! needs: a store in memory and a medium that tears.
#![allow(dead_code, unreachable_pub, reason = "each test program takes its part of this module")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use holdfast_trust::tuf::store::{CopyName, Medium};
use holdfast_trust::tuf::walk::{Source, SourceError, Store, escaped};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub mod fleet;

/// When the tests take place.
pub const NOW: i64 = 1_780_000_000;
pub const DAY: i64 = 86_400;

pub fn install_provider() {
    holdfast_trust::tuf::install_provider(webpki::ALL_VERIFICATION_ALGS);
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

pub fn date(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).unwrap().to_string()
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
    RsaPss(RsaKeyPair),
}

/// A key pair and the id under which metadata lists it.
#[derive(Clone)]
pub struct Pair {
    pub id: String,
    pub public: Value,
    secret: Rc<Secret>,
}

impl Pair {
    /// The same name gives the same key.
    pub fn named(name: &str) -> Self {
        let seed = digest(&SHA256, name.as_bytes());
        let secret = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).unwrap();
        let value = json!({"public": hex::encode(secret.public_key())});
        let public = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": value});
        Self { id: sha256(canonical(&public).as_bytes()), public, secret: Rc::new(Secret::Ed25519(secret)) }
    }

    pub fn ecdsa() -> Self {
        let secret = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki: PublicKeyX509Der<'_> = secret.public_key().as_der().unwrap();
        let public = pem_key("ecdsa", "ecdsa-sha2-nistp256", spki.as_ref());
        Self { id: sha256(canonical(&public).as_bytes()), public, secret: Rc::new(Secret::EcdsaP256(secret)) }
    }

    pub fn rsa() -> Self {
        let secret = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let spki: PublicKeyX509Der<'_> = secret.public_key().as_der().unwrap();
        let public = pem_key("rsa", "rsassa-pss-sha256", spki.as_ref());
        Self { id: sha256(canonical(&public).as_bytes()), public, secret: Rc::new(Secret::RsaPss(secret)) }
    }

    /// The same key under another id.
    pub fn alias(&self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self.clone() }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let chance = SystemRandom::new();
        match &*self.secret {
            Secret::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Secret::EcdsaP256(key) => key.sign(&chance, message).unwrap().as_ref().to_vec(),
            Secret::RsaPss(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA256, &chance, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn pem_key(keytype: &str, scheme: &str, spki: &[u8]) -> Value {
    let base64 = base64::engine::general_purpose::STANDARD.encode(spki);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": pem}})
}

pub fn pairs(prefix: &str, count: usize) -> Vec<Pair> {
    (1..=count).map(|number| Pair::named(&format!("{prefix}-{number}"))).collect()
}

/// OLPC canonical JSON, which is what signatures cover.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let members: Vec<String> =
                sorted.iter().map(|(name, value)| format!("{}:{}", quoted(name), canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An envelope signed by `signers`.
pub fn envelope(signed: &Value, signers: &[Pair]) -> Vec<u8> {
    let message = canonical(signed);
    let signatures: Vec<Value> = signers
        .iter()
        .map(|pair| json!({"keyid": pair.id, "sig": hex::encode(pair.sign(message.as_bytes()))}))
        .collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
}

/// A repository: what is to be signed, who signs it, and what is served.
pub struct Repo {
    /// `signed` of each role.
    pub roles: BTreeMap<String, Value>,
    pub signers: BTreeMap<String, Vec<Pair>>,
    /// Metadata as served, by file name.
    pub served: BTreeMap<String, Vec<u8>>,
    pub target_files: BTreeMap<String, Vec<u8>>,
    /// Names of what was asked for, metadata and targets.
    pub requests: Vec<String>,
    /// Names that answer with an error instead.
    pub broken: Vec<String>,
}

impl Repo {
    /// Four top-level roles with one key each, published.
    pub fn new() -> Self {
        install_provider();
        let mut repo = Self {
            roles: BTreeMap::new(),
            signers: BTreeMap::new(),
            served: BTreeMap::new(),
            target_files: BTreeMap::new(),
            requests: Vec::new(),
            broken: Vec::new(),
        };
        repo.role("root", "root", 365, json!({"consistent_snapshot": true, "keys": {}, "roles": {}}));
        repo.role("timestamp", "timestamp", 7, json!({"meta": {}}));
        repo.role("snapshot", "snapshot", 30, json!({"meta": {}}));
        repo.role("targets", "targets", 180, json!({"targets": {}}));
        for role in ["root", "timestamp", "snapshot", "targets"] {
            repo.keys(role, 1, &[Pair::named(role)]);
        }
        repo.publish();
        repo
    }

    fn role(&mut self, name: &str, kind: &str, days: i64, fields: Value) {
        let mut signed = json!({
            "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": date(NOW + days * DAY),
        });
        signed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.roles.insert(name.to_owned(), signed);
    }

    pub fn signed(&mut self, role: &str) -> &mut Value {
        self.roles.get_mut(role).unwrap()
    }

    pub fn version(&self, role: &str) -> u64 {
        self.roles[role]["version"].as_u64().unwrap()
    }

    pub fn set_version(&mut self, role: &str, version: u64) {
        self.signed(role)["version"] = json!(version);
    }

    pub fn bump(&mut self, role: &str) {
        self.set_version(role, self.version(role) + 1);
    }

    pub fn expire(&mut self, role: &str, unix_s: i64) {
        self.signed(role)["expires"] = json!(date(unix_s));
    }

    /// Gives a top-level role its keys; the same sign from now on.
    pub fn keys(&mut self, role: &str, threshold: u64, pairs: &[Pair]) {
        self.listed_keys(role, threshold, pairs);
        self.signers.insert(role.to_owned(), pairs.to_vec());
    }

    /// Lists keys in root without letting them sign.
    pub fn listed_keys(&mut self, role: &str, threshold: u64, pairs: &[Pair]) {
        let root = self.signed("root");
        for pair in pairs {
            root["keys"][&pair.id] = pair.public.clone();
        }
        let ids: Vec<&String> = pairs.iter().map(|pair| &pair.id).collect();
        root["roles"][role] = json!({"keyids": ids, "threshold": threshold});
    }

    /// Delegates `paths` to a new role, or to an old one once more.
    pub fn delegate(
        &mut self,
        from: &str,
        name: &str,
        paths: &[&str],
        terminating: bool,
        keys: (u64, &[Pair]),
    ) {
        let (threshold, pairs) = keys;
        if !self.roles.contains_key(name) {
            self.role(name, "targets", 180, json!({"targets": {}}));
        }
        self.signers.insert(name.to_owned(), pairs.to_vec());
        let from = self.signed(from);
        if from.get("delegations").is_none() {
            from["delegations"] = json!({"keys": {}, "roles": []});
        }
        for pair in pairs {
            from["delegations"]["keys"][&pair.id] = pair.public.clone();
        }
        let ids: Vec<&String> = pairs.iter().map(|pair| &pair.id).collect();
        from["delegations"]["roles"].as_array_mut().unwrap().push(json!({
            "name": name, "keyids": ids, "threshold": threshold, "terminating": terminating, "paths": paths,
        }));
    }

    /// Lists a target and serves its bytes under either name.
    pub fn list(&mut self, role: &str, path: &str, bytes: &[u8], custom: Option<Value>) {
        let mut target = json!({"length": bytes.len(), "hashes": {"sha256": sha256(bytes)}});
        if let Some(custom) = custom {
            target["custom"] = custom;
        }
        self.signed(role)["targets"][path] = target;
        self.serve_target(path, bytes);
    }

    pub fn serve_target(&mut self, path: &str, bytes: &[u8]) {
        let hash = sha256(bytes);
        let hashed = match path.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{hash}.{file}"),
            None => format!("{hash}.{path}"),
        };
        self.target_files.insert(hashed, bytes.to_vec());
        self.target_files.insert(path.to_owned(), bytes.to_vec());
    }

    /// Signs one role and serves it.
    pub fn put(&mut self, role: &str) -> Vec<u8> {
        let bytes = envelope(&self.roles[role], &self.signers[role]);
        self.serve(role, bytes.clone());
        bytes
    }

    /// Serves these bytes as the role's newest.
    pub fn serve(&mut self, role: &str, bytes: Vec<u8>) {
        let (version, file) = (self.version(role), escaped(role));
        self.served.insert(format!("{version}.{file}.json"), bytes.clone());
        self.served.insert(format!("{file}.json"), bytes);
    }

    /// Signs everything, snapshot and timestamp naming what lies below them.
    pub fn publish(&mut self) {
        self.put("root");
        self.publish_below();
    }

    /// As [`Repo::publish`], root as it was.
    pub fn publish_below(&mut self) {
        let targets: Vec<String> = self.roles.keys().filter(|role| !is_online(role)).cloned().collect();
        for role in targets {
            let bytes = self.put(&role);
            let meta = self.meta(&role, &bytes);
            self.signed("snapshot")["meta"][format!("{role}.json")] = meta;
        }
        self.publish_snapshot();
    }

    /// Snapshot as it stands, and a timestamp that names it.
    pub fn publish_snapshot(&mut self) {
        let bytes = self.put("snapshot");
        let meta = self.meta("snapshot", &bytes);
        self.signed("timestamp")["meta"]["snapshot.json"] = meta;
        self.put("timestamp");
    }

    fn meta(&self, role: &str, bytes: &[u8]) -> Value {
        json!({"version": self.version(role), "length": bytes.len(), "hashes": {"sha256": sha256(bytes)}})
    }

    /// A next version of everything but root.
    pub fn next(&mut self) {
        let roles: Vec<String> = self.roles.keys().filter(|role| *role != "root").cloned().collect();
        for role in &roles {
            self.bump(role);
        }
        self.publish_below();
    }

    /// A next root, by the signers that stand for `root`.
    pub fn next_root(&mut self) {
        self.bump("root");
        self.put("root");
    }

    pub fn first_root(&self) -> Vec<u8> {
        self.served["1.root.json"].clone()
    }
}

fn is_online(role: &str) -> bool {
    matches!(role, "root" | "timestamp" | "snapshot")
}

impl Source for Repo {
    fn metadata(&mut self, name: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.requests.push(name.to_owned());
        if self.broken.iter().any(|broken| broken == name) {
            return Err("the connection ended".into());
        }
        Ok(self.served.get(name).cloned())
    }

    fn target(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.requests.push(path.to_owned());
        Ok(self.target_files.get(path).cloned())
    }
}

/// A store in memory.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Memory {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The save with this index and all after it fail.
    pub saves_left: Option<usize>,
}

impl Memory {
    pub fn with_root(root: Vec<u8>) -> Self {
        Self { files: BTreeMap::from([("root.json".to_owned(), root)]), saves_left: None }
    }

    pub fn version(&self, role: &str) -> Option<u64> {
        let bytes = self.files.get(&format!("{role}.json"))?;
        serde_json::from_slice::<Value>(bytes).unwrap()["signed"]["version"].as_u64()
    }
}

impl Store for Memory {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.files.get(name).cloned()
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SourceError> {
        match &mut self.saves_left {
            Some(0) => return Err("the power was cut".into()),
            Some(left) => *left -= 1,
            None => {}
        }
        self.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// A medium for two copies that can tear: `budget` bytes are written, then the power is cut.
#[derive(Clone, Default, Debug)]
pub struct Flash(pub Rc<RefCell<FlashState>>);

#[derive(Clone, Default, Debug)]
pub struct FlashState {
    pub copies: [Option<Vec<u8>>; 2],
    pub budget: Option<usize>,
    pub writes: usize,
}

impl Flash {
    pub fn copies(&self) -> [Option<Vec<u8>>; 2] {
        self.0.borrow().copies.clone()
    }

    pub fn holding(copies: [Option<Vec<u8>>; 2]) -> Self {
        Self(Rc::new(RefCell::new(FlashState { copies, ..FlashState::default() })))
    }
}

impl Medium for Flash {
    fn read(&self, copy: CopyName) -> Option<Vec<u8>> {
        self.0.borrow().copies[index(copy)].clone()
    }

    fn write(&mut self, copy: CopyName, bytes: &[u8]) -> Result<(), SourceError> {
        let mut flash = self.0.borrow_mut();
        flash.writes += 1;
        let written = flash.budget.map_or(bytes.len(), |budget| budget.min(bytes.len()));
        if let Some(budget) = &mut flash.budget {
            *budget -= written;
        }
        // What lay there is torn too: the new bytes overwrite the old ones in place.
        let mut torn = bytes[..written].to_vec();
        if written < bytes.len()
            && let Some(old) = &flash.copies[index(copy)]
        {
            torn.extend(old.get(written..).unwrap_or_default());
        }
        flash.copies[index(copy)] = Some(torn);
        if written < bytes.len() { Err("the power was cut".into()) } else { Ok(()) }
    }
}

fn index(copy: CopyName) -> usize {
    match copy {
        CopyName::A => 0,
        CopyName::B => 1,
    }
}
