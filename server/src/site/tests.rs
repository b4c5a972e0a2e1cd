//! Sites, controllers and workloads through the routes, on both databases.

use crate::both_services;
use crate::testing::service::{Answer, Service};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const ISSUER: &str = "https://kubernetes.default.svc";
const WORKLOAD: &str = "line-1/sensor";

/// A cluster's token keys.
struct Cluster(EcdsaKeyPair);

impl Cluster {
    fn make() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwks(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256", "use": "sig",
            "x": text(&point[1..33]), "y": text(&point[33..])}]})
    }

    /// As TokenRequest makes them: `account` is `namespace/name`.
    fn token(&self, account: &str, audience: &str, now: i64) -> String {
        let (namespace, name) = account.split_once('/').unwrap();
        let claims = json!({
            "iss": ISSUER, "aud": [audience], "iat": now, "nbf": now, "exp": now + 600,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u"}},
        });
        let header = json!({"alg": "ES256", "kid": "one"});
        let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(header), text(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    STANDARD.encode(request.der())
}

type Chain = Vec<CertificateDer<'static>>;

impl Service {
    async fn as_controller(&self, method: &str, path: &str, body: &Value, chain: &Chain) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Self::connection(chain));
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn register(&self, site: &str, cluster: &Cluster) {
        let body = json!({"site": site, "cluster": "default", "issuer": ISSUER, "jwks": cluster.jwks()});
        self.post("tenant-admin", "/sites", &body).await;
    }

    async fn bootstrap(&self, site: &str) -> String {
        let made = self.post("tenant-admin", &format!("/sites/{site}/controller-token"), &json!({})).await;
        made["token"].as_str().unwrap().to_owned()
    }

    async fn enrol(&self, site: &str, token: &str) -> Answer {
        let body = json!({"site": site, "token": token, "csr": csr()});
        self.as_controller("POST", "/v1/site/enroll", &body, &Chain::new()).await
    }

    async fn controller(&self, site: &str) -> Chain {
        let token = self.bootstrap(site).await;
        chain(&self.enrol(site, &token).await.good())
    }

    async fn read_for(&self, chain: &Chain, path: &str, token: &str) -> Answer {
        self.as_controller("POST", "/v1/site/secret", &json!({"path": path, "token": token}), chain).await
    }

    /// Writes a secret and grants it to a workload of a site; the grant's id.
    async fn granted(&self, path: &str, site: &str, account: &str) -> String {
        let value = json!({"value": STANDARD.encode("value")});
        self.operator("secret-writer", "PUT", &format!("/secrets/{path}"), &value).await.good();
        let (namespace, name) = account.split_once('/').unwrap();
        let proposal = json!({
            "effect": "allow", "resource": path, "verbs": ["read"],
            "subject": {"kind": "workload", "site": site, "cluster": "default", "namespace": namespace, "service_account": name},
        });
        let grant = self.post("grant-admin", "/grants", &proposal).await;
        let id = grant["id"].as_str().unwrap().to_owned();
        self.post("grant-approver", &format!("/grants/{id}/approve"), &json!({})).await;
        id
    }
}

fn chain(issued: &Value) -> Chain {
    let der = |text: &Value| CertificateDer::from(STANDARD.decode(text.as_str().unwrap()).unwrap());
    issued["certificate_chain"].as_array().unwrap().iter().map(der).collect()
}

fn audience(site: &str) -> String {
    format!("holdfast://default/{site}")
}

both_services! {

async fn a_site_is_registered_once_and_its_keys_are_taken_whole(service: Service) {
    let cluster = Cluster::make();
    service.register("plant-a", &cluster).await;
    let again = json!({"site": "plant-a", "cluster": "x", "issuer": "x", "jwks": Cluster::make().jwks()});
    let refused = service.operator("tenant-admin", "POST", "/sites", &again).await.refusal();
    assert_eq!(refused, (409, "site-known".into()));
    let listed = service.get("viewer", "/sites").await;
    assert_eq!(listed["items"][0]["key_ids"], json!(["one"]));
    assert_eq!(listed["items"][0]["issuer"], ISSUER);
    assert!(listed["items"][0]["controller_certificate"].is_null());

    let good = json!({"site": "plant-b", "cluster": "default", "issuer": ISSUER, "jwks": cluster.jwks()});
    for (field, value, code) in [
        ("site", json!("a/b"), "malformed-site"),
        ("cluster", json!(""), "malformed-site"),
        ("issuer", json!(""), "malformed-issuer"),
        ("issuer", json!("a b"), "malformed-issuer"),
        ("jwks", json!({"keys": []}), "malformed-jwks"),
        ("jwks", json!("x"), "malformed-jwks"),
        ("more", json!(1), "malformed-body"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let refused = service.operator("tenant-admin", "POST", "/sites", &body).await.refusal();
        assert_eq!(refused, (400, code.into()), "{body}");
    }
    for role in ["viewer", "operator", "secret-writer", "grant-admin"] {
        assert_eq!(service.operator(role, "POST", "/sites", &good).await.status, 403, "{role}");
    }
}

async fn a_bootstrap_token_is_good_once_for_its_site_and_in_its_time(service: Service) {
    let cluster = Cluster::make();
    service.register("plant-a", &cluster).await;
    service.register("plant-b", &cluster).await;
    let token = service.bootstrap("plant-a").await;
    let refused = (401, "bootstrap-token".to_owned());
    assert_eq!(service.enrol("plant-b", &token).await.refusal(), refused);
    assert_eq!(service.enrol("plant-a", &token.replace("hfc_", "hfc_0")).await.refusal(), refused);
    assert_eq!(service.enrol("plant-a", "").await.refusal(), refused);
    let malformed = json!({"site": "plant-a", "token": token, "csr": STANDARD.encode("x")});
    let answer = service.as_controller("POST", "/v1/site/enroll", &malformed, &Chain::new()).await;
    assert_eq!(answer.refusal(), (400, "csr-malformed".into()));

    let issued = service.enrol("plant-a", &token).await.good();
    assert_eq!(service.enrol("plant-a", &token).await.refusal(), refused);
    let first = chain(&issued);
    let (_, leaf) = x509_parser::parse_x509_certificate(&first[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let wanted = x509_parser::extensions::GeneralName::URI("spiffe://default.holdfast.internal/controller/plant-a");
    assert_eq!(names, [wanted]);
    let hello = service.as_controller("GET", "/v1/site", &Value::Null, &first).await.good();
    assert_eq!(hello, json!({"tenant": "default", "site": "plant-a", "cluster": "default"}));

    // Another controller ends the first; a renewal does not.
    let renewed = service.as_controller("POST", "/v1/site/renew", &json!({"csr": csr()}), &first).await.good();
    service.as_controller("GET", "/v1/site", &Value::Null, &first).await.good();
    let second = service.controller("plant-a").await;
    for ended in [&first, &chain(&renewed)] {
        let refused = service.as_controller("GET", "/v1/site", &Value::Null, ended).await.refusal();
        assert_eq!(refused, (401, "certificate-revoked".into()));
    }
    service.as_controller("GET", "/v1/site", &Value::Null, &second).await.good();

    let late = service.bootstrap("plant-a").await;
    service.clock.advance(3_600);
    assert_eq!(service.enrol("plant-a", &late).await.refusal(), refused);
    let missing = service.operator("tenant-admin", "POST", "/sites/nowhere/controller-token", &json!({})).await;
    assert_eq!(missing.status, 404);
}

async fn a_workload_reads_what_it_was_granted_through_its_own_sites_controller(service: Service) {
    let (a, b) = (Cluster::make(), Cluster::make());
    service.register("plant-a", &a).await;
    service.register("plant-b", &b).await;
    let (through_a, through_b) = (service.controller("plant-a").await, service.controller("plant-b").await);
    let grant = service.granted("line/key", "plant-a", WORKLOAD).await;
    let now = service.clock.now();
    let token = a.token(WORKLOAD, &audience("plant-a"), now);

    let answer = service.read_for(&through_a, "line/key", &token).await.good();
    assert_eq!((&answer["value"], &answer["version"]), (&json!(STANDARD.encode("value")), &json!(1)));
    let rows = service.get("auditor", "/audit?resource=secret/line/key").await;
    let actors: Vec<_> = rows["items"].as_array().unwrap().iter().map(|row| row["actor"].clone()).collect();
    assert!(actors.contains(&json!("workload/plant-a/default/line-1/sensor")), "{actors:?}");

    let code = |code: &str| (403, code.to_owned());
    let table = [
        // The same token through another site's controller: that site's keys do not verify it.
        (&through_b, token.clone(), code("token-signature")),
        // Verified, and for another site.
        (&through_b, b.token(WORKLOAD, &audience("plant-a"), now), code("token-audience")),
        // A token of plant-a's cluster for plant-b: plant-b's keys do not verify it.
        (&through_b, a.token(WORKLOAD, &audience("plant-b"), now), code("token-signature")),
        // plant-b's own workload of the same names: the grant is for plant-a.
        (&through_b, b.token(WORKLOAD, &audience("plant-b"), now), code("not-granted")),
        (&through_a, b.token(WORKLOAD, &audience("plant-a"), now), code("token-signature")),
        (&through_a, a.token("line-2/sensor", &audience("plant-a"), now), code("not-granted")),
        (&through_a, a.token("line-1/other", &audience("plant-a"), now), code("not-granted")),
        (&through_a, a.token(WORKLOAD, ISSUER, now), code("token-audience")),
        (&through_a, a.token(WORKLOAD, &audience("plant-a"), now - 600), code("token-expired")),
        (&through_a, a.token(WORKLOAD, &audience("plant-a"), now + 61), code("token-not-yet-valid")),
    ];
    for (chain, token, refused) in table {
        assert_eq!(service.read_for(chain, "line/key", &token).await.refusal(), refused);
    }
    // Without a grant it is not told whether there is such a secret; with one it is.
    assert_eq!(service.read_for(&through_a, "line/none", &token).await.refusal(), code("not-granted"));
    let refused = service.read_for(&Chain::new(), "line/key", &token).await.refusal();
    assert_eq!(refused, (401, "no-client-certificate".into()));

    service.operator("grant-admin", "DELETE", &format!("/grants/{grant}"), &Value::Null).await.good();
    assert_eq!(service.read_for(&through_a, "line/key", &token).await.refusal(), code("not-granted"));
}

async fn a_writer_of_the_database_cannot_pin_his_own_keys(service: Service) {
    let (ours, his) = (Cluster::make(), Cluster::make());
    service.register("plant-a", &ours).await;
    let through = service.controller("plant-a").await;
    service.granted("line/key", "plant-a", WORKLOAD).await;
    let mut tx = service.state.db.read().await.unwrap();
    let swapped = sqlx::query("UPDATE site SET jwks = $1").bind(his.jwks().to_string()).execute(tx.conn()).await.unwrap();
    assert_eq!(swapped.rows_affected(), 1);
    drop(tx);
    let token = his.token(WORKLOAD, &audience("plant-a"), service.clock.now());
    assert_eq!(service.read_for(&through, "line/key", &token).await.refusal(), (500, "secret-tampered".into()));
}

}
