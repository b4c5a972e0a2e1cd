//! Every route, asked by everybody: the OpenAPI document against its golden file, and who gets through where.
//!
//! A route that is in the document and not among the needs, or the other way round, fails here; so does one that lets
//! somebody through whom the golden matrix does not name.

use super::router::{self, RouteNeed};
use crate::ca::issuer::{LeafKey, Request as LeafRequest};
use crate::ca::profile::{self, leaf_validity};
use crate::clock::Clock;
use crate::config::Config;
use crate::device::ops as device;
use crate::http::auth::{Need, Role};
use crate::http::listen::Connection;
use crate::keyring::Restored;
use crate::state::AppState;
use crate::tx;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use holdfast_proto::api::device::Tier;
use holdfast_proto::enroll::AttestKind;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tower::ServiceExt as _;

const NOW: i64 = 1_800_000_000;

#[test]
fn the_openapi_document_is_the_golden_one() {
    golden("openapi.json", super::openapi::text());
}

#[test]
fn every_route_of_the_document_states_its_need_once() {
    let document: serde_json::Value = serde_json::from_str(super::openapi::text()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            documented.insert((method.to_ascii_uppercase(), path.clone()));
            assert!(operation["x-holdfast-need"].is_string(), "{method} {path} does not say what it needs");
        }
    }
    let needs = router::needs();
    let stated: BTreeSet<_> = needs.iter().map(|need| (need.method.to_owned(), need.path.clone())).collect();
    assert_eq!(stated.len(), needs.len(), "a route is there twice");
    assert_eq!(documented, stated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_its_own_through_and_nobody_else() {
    let house = House::open().await;
    let mut matrix = String::from("# Which roles each operator route lets through.\n");
    for route in router::needs() {
        let (method, path, need) = (route.method, route.path.as_str(), route.need);
        let nobody = house.ask(&route, None, Vec::new()).await;
        let device = house.ask(&route, None, house.device.clone()).await;
        let controller = house.ask(&route, None, house.controller.clone()).await;
        let mut roles = Vec::new();
        for role in Role::ALL {
            let answer = house.ask(&route, Some(role.as_str()), Vec::new()).await;
            if answer.is_through() {
                roles.push(role.as_str());
            } else if let Need::Operator(..) = need {
                assert_eq!(answer.code, "not-allowed", "{method} {path} as {role}");
            }
        }
        let class = (nobody.is_through(), device.is_through(), controller.is_through());
        match need {
            Need::Public | Need::Limited => {
                assert_eq!((class, roles.len()), ((true, true, true), Role::ALL.len()), "{method} {path}");
            }
            Need::Device | Need::DeviceAcknowledging => {
                assert_eq!((class, roles.len()), ((false, true, false), 0), "{method} {path}: {device:?}");
                assert_eq!(nobody.code, "no-client-certificate", "{method} {path}");
            }
            Need::Controller => {
                assert_eq!(
                    (class, roles.len()),
                    ((false, false, true), 0),
                    "{method} {path}: {controller:?}"
                );
                assert_eq!(nobody.code, "no-client-certificate", "{method} {path}");
            }
            Need::Operator(resource, action) => {
                assert_eq!(
                    (class, nobody.code.as_str()),
                    ((false, false, false), "no-token"),
                    "{method} {path}"
                );
                assert!(!roles.is_empty() && roles.len() < Role::ALL.len(), "{method} {path}: {roles:?}");
                _ = writeln!(matrix, "{resource}.{action}\t{method} {path}\t{}", roles.join(" "));
            }
        }
    }
    golden("access.txt", &matrix);
}

/// Compares with `tests/golden/NAME`; `HOLDFAST_BLESS=1` writes it anew.
#[expect(clippy::disallowed_methods, reason = "a golden file, on demand")]
fn golden(name: &str, text: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = wanted.lines().zip(text.lines()).position(|(wanted, found)| wanted != found);
    let line = differs.unwrap_or_else(|| wanted.lines().count().min(text.lines().count()));
    assert!(
        wanted == text,
        "{} differs from line {}:\n  golden: {}\n  now:    {}\nif that is meant: HOLDFAST_BLESS=1 cargo test -p holdfast-server --lib role::tests",
        path.display(),
        line + 1,
        wanted.lines().nth(line).unwrap_or_default(),
        text.lines().nth(line).unwrap_or_default(),
    );
}

/// A service with one device and one controller, and the first tokens of every role.
struct House {
    router: Router,
    tokens: BTreeMap<String, String>,
    device: Vec<CertificateDer<'static>>,
    controller: Vec<CertificateDer<'static>>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Answered {
    status: StatusCode,
    code: String,
}

impl Answered {
    /// The guard let it through; what the handler made of an empty request is another matter.
    fn is_through(&self) -> bool {
        let by_guard = [
            "no-token",
            "token-unknown",
            "not-allowed",
            "no-client-certificate",
            "certificate-unknown",
            "wrong-certificate-profile",
            "device-pending",
        ];
        assert!(!self.status.is_server_error() || self.code != "internal", "{self:?}");
        !by_guard.contains(&self.code.as_str())
    }
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::for_data_dir(folder.path()).unwrap();
        let state = AppState::open(config, Clock::standing_at(NOW), "https://127.0.0.1:1", Restored::Refuse)
            .await
            .unwrap();
        let device = enrolled_device(&state).await;
        let controller = certificate(&state, "controller", "site-1").await;
        let tokens = std::fs::read(folder.path().join("tokens.json")).unwrap();
        Self {
            router: router::service(state),
            tokens: serde_json::from_slice(&tokens).unwrap(),
            device,
            controller,
            _folder: folder,
        }
    }

    async fn ask(
        &self,
        route: &RouteNeed,
        role: Option<&str>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Answered {
        // Everybody from an address of his own: limits are tested elsewhere.
        static NEXT: AtomicU32 = AtomicU32::new(0x0A00_0001);
        let peer = (std::net::Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)), 4_000).into();
        let connection = Arc::new(Connection { peer, chain, exporter: [0; 32], resumed: false });
        let path = route
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let mut request = Request::builder().method(route.method).uri(path).extension(connection);
        if let Some(role) = role {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.tokens[role]));
        }
        let request =
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from("[]")).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap_or_default();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        Answered { status, code: problem["code"].as_str().unwrap_or_default().to_owned() }
    }
}

/// An ACTIVE device's chain.
async fn enrolled_device(state: &AppState) -> Vec<CertificateDer<'static>> {
    let tenant = state.tenant();
    let id = tx!(state.db, "test.device", |tx| {
        device::create_approved(tx, tenant, ("S-1", "m"), &BTreeMap::new(), None, ("test", NOW)).await
    })
    .unwrap();
    let chain = certificate(state, "device", &id).await;
    let serial = x509_parser::parse_x509_certificate(&chain[0])
        .map(|(_, parsed)| hex::encode(parsed.raw_serial()))
        .unwrap();
    let facts = device::Proven {
        kind: AttestKind::JoinToken,
        tier: Tier::T0,
        root_class: None,
        ek_hash: None,
        ak_name: None,
        ak_public: None,
        device_key: vec![1],
        tpm_clock: None,
        certificate_serial: serial.clone(),
        certificate_not_after: NOW + 86_400,
    };
    let done = tx!(state.db, "test.device", |tx| {
        let proven = device::set_proven(tx, tenant, &id, 1, &facts, NOW).await?;
        Ok::<_, crate::db::Error>(proven && device::activate(tx, tenant, &id, &serial, NOW).await?)
    });
    assert!(done.unwrap(), "the device is not ACTIVE");
    chain
}

pub(super) async fn certificate(
    state: &AppState,
    profile: &'static str,
    subject: &str,
) -> Vec<CertificateDer<'static>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let leaf = profile::Leaf::Controller { trust_domain: "t", site: subject };
    let request =
        LeafRequest { tenant: state.tenant(), profile, subject, leaf, validity: leaf_validity(NOW, 30) };
    let key = LeafKey::from_spki(&spki).unwrap();
    let issued = tx!(state.db, "test.certificate", |tx| state
        .ca
        .issue(tx, &state.ca.device, &request, &key, NOW)
        .await);
    issued.unwrap().chain
}
