//! A whole service in one process and in virtual time, asked through its router as its callers would.

use super::device::TestDevice;
use crate::ca::issuer::{LeafKey, Request as LeafRequest};
use crate::ca::profile::{self, Leaf};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::listen::Connection;
use crate::keyring::Restored;
use crate::role::router;
use crate::state::AppState;
use crate::tx;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use holdfast_proto::api::device::Tier;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tower::ServiceExt as _;

/// When every test begins.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) struct Service {
    pub(crate) state: AppState,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
    router: Router,
    tokens: BTreeMap<String, String>,
    database: Option<String>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and problem code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self.json()
    }
}

impl Service {
    pub(crate) async fn sqlite() -> Self {
        Self::open(tempfile::tempdir().unwrap(), None, Clock::standing_at(START)).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = super::postgres::fresh_database().await;
        Self::open(tempfile::tempdir().unwrap(), Some(url), Clock::standing_at(START)).await
    }

    async fn open(folder: tempfile::TempDir, database: Option<String>, clock: Clock) -> Self {
        let mut config = Config::for_data_dir(folder.path()).unwrap();
        config.database.url = database.clone().unwrap_or_default();
        let state =
            AppState::open(config, clock.clone(), "https://127.0.0.1:1", Restored::Refuse).await.unwrap();
        let tokens = std::fs::read(folder.path().join("tokens.json")).unwrap();
        let tokens = serde_json::from_slice(&tokens).unwrap();
        let router = router::service(state.clone());
        Self { state, clock, folder, router, tokens, database }
    }

    /// The same data, a new process: what was only in memory is gone.
    pub(crate) async fn restart(self) -> Self {
        self.state.db.close().await;
        Self::open(self.folder, self.database, self.clock).await
    }

    pub(crate) fn data(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// A connection that showed this chain.
    pub(crate) fn connection(chain: &[rustls::pki_types::CertificateDer<'static>]) -> Arc<Connection> {
        let peer = "127.0.0.1:40000".parse().unwrap();
        Arc::new(Connection { peer, chain: chain.to_vec(), exporter: [0; 32], resumed: false })
    }

    pub(crate) async fn ask(&self, mut request: Request<Body>, device: Option<&TestDevice>) -> Answer {
        let chain = device.map(|device| device.chain.as_slice()).unwrap_or_default();
        request.extensions_mut().insert(Self::connection(chain));
        self.answer(request).await
    }

    /// As whoever the request's connection shows.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) fn token(&self, role: &str) -> &str {
        &self.tokens[role]
    }

    /// As an operator of this role.
    pub(crate) async fn operator(&self, role: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.operator_raw(
            role,
            method,
            path,
            if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        )
        .await
    }

    pub(crate) async fn operator_raw(&self, role: &str, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token(role)))
            .body(Body::from(body))
            .unwrap();
        self.ask(request, None).await
    }

    pub(crate) async fn get(&self, role: &str, path: &str) -> Value {
        self.operator(role, "GET", path, &Value::Null).await.good()
    }

    pub(crate) async fn post(&self, role: &str, path: &str, body: &Value) -> Value {
        self.operator(role, "POST", path, body).await.good()
    }

    /// As a device, or as nobody.
    pub(crate) async fn fetch(
        &self,
        device: Option<&TestDevice>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::empty()).unwrap(), device).await
    }

    /// The planner's job, the deltas that it asked for, and its next run.
    pub(crate) async fn plan(&self) {
        crate::rollout::work::plan(self.state.clone()).await.unwrap();
        crate::release::work::build(self.state.clone()).await.unwrap();
        crate::rollout::work::plan(self.state.clone()).await.unwrap();
    }

    /// Uploads an artefact and gives its description, as a manifest has it.
    pub(crate) async fn upload(&self, name: &str, bytes: &[u8]) -> Value {
        let digest = crate::repo::publish::sha256(bytes);
        let stored = self
            .operator_raw("release-manager", "PUT", &format!("/artifacts/{digest}"), bytes.to_vec())
            .await
            .good();
        json!({"name": name, "length": stored["length"], "sha256": digest, "block_root": stored["block_root"]})
    }

    /// A device that has enrolled: its record ACTIVE, its certificate issued by the service's CA.
    pub(crate) async fn device(&self, serial: &str, labels: &Value) -> TestDevice {
        let claim = json!({"record": {"serial": serial, "model": "primehub"}, "labels": labels});
        let record = self.post("operator", "/devices", &claim).await;
        let id = record["id"].as_str().unwrap().to_owned();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let spki = [&P256_SPKI_HEAD[..], key.public_key().as_ref()].concat();
        let leaf = LeafKey::from_spki(&spki).unwrap();
        let (state, now) = (&self.state, self.state.now());
        let identity = &state.config.identity;
        let request = LeafRequest {
            tenant: state.tenant(),
            profile: "device",
            subject: &id,
            leaf: Leaf::Device {
                trust_domain: &identity.trust_domain,
                id: &id,
                hardware_serial: serial,
                tier: Tier::T4,
                oid_arc: &identity.oid_arc,
            },
            validity: profile::leaf_validity(now, 90),
        };
        let issued = tx!(state.db, "test.enrol", |tx| {
            let issued = state.ca.issue(tx, &state.ca.device, &request, &leaf, now).await?;
            sqlx::query(
                "UPDATE devices SET state = 'ACTIVE', tier = 'T4', kind = 'tpm2', certificate_serial = $3, \
                 certificate_not_after = $4, version = version + 1 WHERE tenant_id = $1 AND id = $2",
            )
            .bind(state.tenant())
            .bind(&id)
            .bind(&issued.serial)
            .bind(issued.not_after)
            .execute(tx.conn())
            .await
            .map_err(crate::db::Error::from)?;
            Ok::<_, crate::ca::Error>(issued)
        })
        .unwrap();
        TestDevice::new(id, key, issued.chain)
    }
}

/// SubjectPublicKeyInfo of a P-256 key up to its uncompressed point (RFC 5480).
const P256_SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Defines each `async fn name(service: Service) {..}` as two tests, one a database.
#[macro_export]
macro_rules! both_services {
    ($(async fn $name:ident($service:ident: Service) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a test need not use everything around it")]
            use super::*;

            #[allow(unused_mut, reason = "as above")]
            async fn run(mut $service: $crate::testing::service::Service) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                run($crate::testing::service::Service::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                run($crate::testing::service::Service::postgres().await).await;
            }
        }
    )+};
}
