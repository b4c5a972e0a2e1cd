//! A service in this process, on a clock of its own and a database of its own, that trusts the test's TPM maker.

use super::wire::{Reply, Wire, client};
use holdfast_proto::Bytes;
use holdfast_server::clock::Clock;
use holdfast_server::config::Config;
use holdfast_server::keyring::Restored;
use holdfast_server::role::all;
use holdfast_tests::scratch::Scratch;
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Noon of a day on which nothing is special.
pub(crate) const NOON: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 86_400;

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) root: Vec<u8>,
    pub(crate) anonymous: Arc<ClientConfig>,
    address: String,
    tokens: Value,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Scratch,
}

/// Which database a world stands on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl World {
    /// `flags`: configuration keys beyond the defaults.
    pub(crate) fn start(database: Database, flags: &[(&str, &str)]) -> Self {
        let folder = Scratch::new("ep");
        let mut all_flags = vec![
            ("data_dir", folder.path().display().to_string()),
            ("listen.address", "127.0.0.1:0".to_owned()),
            ("limits.enroll_per_second", "1000".to_owned()),
            ("limits.enroll_burst", "1000".to_owned()),
        ];
        if let Database::Postgres = database {
            all_flags.push(("database.url", holdfast_tests::postgres::fresh_database()));
        }
        all_flags.extend(flags.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let config = Config::load(None, std::iter::empty(), &all_flags).unwrap();
        let clock = Clock::standing_at(NOON);
        let (ready, is_ready) = channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let of_the_service = clock.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let running = all::start(config, of_the_service, Restored::Refuse).await.unwrap();
                ready.send((running.url.clone(), running.state.ca.root.certificate.to_vec())).unwrap();
                let stopped = async move {
                    let _ = stopped.await;
                };
                running.serve(stopped).await.unwrap();
            });
        });
        let (url, root) = is_ready.recv().expect("the service starts");
        let tokens = std::fs::read(folder.join("tokens.json")).unwrap();
        let world = Self {
            anonymous: client(&root, None),
            address: url.trim_start_matches("https://").to_owned(),
            tokens: serde_json::from_slice(&tokens).unwrap(),
            clock,
            root,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        };
        world.trust_the_maker();
        world
    }

    fn trust_the_maker(&self) {
        let maker = super::chip::maker();
        let body = json!({
            "certificate": der(&maker.root_pem().unwrap()), "class": "software",
            "intermediates": [der(&maker.issuer_pem().unwrap())],
            "certifies": [{"san_id": "id:00001014", "tpm_id": "IBM"}],
        });
        self.operator("installation-admin", "POST", "/authorities/ek-roots", &body).ok();
    }

    pub(crate) fn open(&self, config: &Arc<ClientConfig>) -> Wire {
        Wire::open(&self.address, config).unwrap()
    }

    pub(crate) fn try_open(&self, config: &Arc<ClientConfig>) -> std::io::Result<Wire> {
        Wire::open(&self.address, config)
    }

    /// One request on a connection of its own, without a certificate.
    pub(crate) fn anyone(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.open(&self.anonymous).call("POST", path, headers, body).unwrap()
    }

    /// One request with the token of a role.
    pub(crate) fn operator(&self, role: &str, method: &str, path: &str, body: &Value) -> Reply {
        let token = format!("Bearer {}", self.tokens[role].as_str().unwrap());
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        self.open(&self.anonymous)
            .call(method, &format!("/api/v1{path}"), &[("authorization", &token)], &body)
            .unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.operator("tenant-admin", "GET", path, &Value::Null).ok().json()
    }

    pub(crate) fn device(&self, id: &str) -> Value {
        self.get(&format!("/devices/{id}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Base64 of the DER in the first block of a PEM text.
fn der(pem: &str) -> String {
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    Bytes::from_base64(&body).expect("PEM").to_base64()
}
