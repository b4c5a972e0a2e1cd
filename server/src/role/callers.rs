//! Every route against callers that mean no good: nobody, the wrong one, foreign ids, bodies of every wrong kind.

use super::router::{self, RouteNeed};
use crate::both_services;
use crate::http::auth::Need;
use crate::testing::desk::{Desk, firmware};
use crate::testing::device::TestDevice;
use crate::testing::service::{Answer, Service};
use crate::tx;
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

/// The path with each `{parameter}` replaced.
fn filled(path: &str, with: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, tail) = after.split_once('}').unwrap();
        out.push_str(before);
        out.push_str(with);
        rest = tail;
    }
    out + rest
}

async fn send(
    service: &Service,
    route: &RouteNeed,
    path: &str,
    bearer: Option<&str>,
    device: Option<&TestDevice>,
    body: Vec<u8>,
) -> Answer {
    let mut request = Request::builder().method(route.method).uri(path);
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    }
    service.ask(request.body(Body::from(body)).unwrap(), device).await
}

/// A role that may use the route.
fn role_for(need: Need) -> Option<&'static str> {
    let Need::Operator(resource, action) = need else { return None };
    let may = |role: &&holdfast_decide::access::Role| role.may(resource, action);
    holdfast_decide::access::Role::ALL.iter().find(may).map(|role| role.as_str())
}

/// Enrolment, sites and controllers have suites of their own.
fn routes() -> Vec<RouteNeed> {
    let ours = |route: &RouteNeed| matches!(route.need, Need::Operator(..) | Need::Device | Need::Public);
    router::needs().into_iter().filter(ours).collect()
}

both_services! {
    async fn nobody_and_the_wrong_caller_are_turned_away_at_every_route(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        let wrong_token = format!("hf_{}", "0".repeat(64));
        for route in routes() {
            let path = filled(&route.path, "x");
            let status = async |bearer: Option<&str>, device: Option<&TestDevice>| {
                send(&service, &route, &path, bearer, device, b"{}".to_vec()).await.status
            };
            // Wrong tokens are few: then the address waits.
            let away = |status: u16| matches!(status, 401 | 429);
            match route.need {
                Need::Operator(..) => {
                    assert!(away(status(None, None).await), "{route:?}");
                    assert!(away(status(None, Some(&device)).await), "{route:?}: a certificate is no token");
                    assert!(away(status(Some(&wrong_token), None).await), "{route:?}");
                }
                Need::Device => {
                    assert_eq!(status(None, None).await, 401, "{route:?}");
                    let token = service.token("installation-admin");
                    assert_eq!(status(Some(token), None).await, 401, "{route:?}: a token is no certificate");
                }
                _ => {}
            }
        }
    }

    async fn what_is_malformed_or_too_large_or_foreign_never_is_our_failure(service: Service) {
        let mut desk = Desk::ready(&service).await;
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        let device = service.device("serial-1", &json!({})).await;
        let long = "x".repeat(3000);
        let names = ["x", "..%2f..%2fetc", "a%00b", "%ff%fe", "%27%3b--", long.as_str(), "1", "-1", "99999999999999999999"];
        let bodies: [Vec<u8>; 8] = [
            Vec::new(),
            b"{}".to_vec(),
            b"[]".to_vec(),
            b"{\"a\":".to_vec(),
            vec![b'['; 50_000],
            b"{\"reason\": \"a\\u0000b\", \"labels\": {}}".to_vec(),
            vec![0xff; 100],
            br#"{"hardware": "primehub", "release": "r1", "from": "r1", "to": "r1", "more": 1}"#.to_vec(),
        ];
        for route in routes() {
            let token = role_for(route.need).map(|role| service.token(role));
            for name in names {
                let path = filled(&route.path, name);
                for body in &bodies {
                    let answer = send(&service, &route, &path, token, Some(&device), body.clone()).await;
                    assert!(answer.status < 500, "{route:?} {name}: {}", answer.text());
                }
            }
            for query in ["?limit=0", "?limit=x", "?cursor=%00", "?cursor=%27", "?limit=1000&cursor=zzzz/zz/zz", "?version=-1", "?selector=a%20in"] {
                let path = filled(&route.path, "x") + query;
                let answer = send(&service, &route, &path, token, Some(&device), b"{}".to_vec()).await;
                assert!(answer.status < 500, "{route:?} {query}: {}", answer.text());
            }
            if matches!(route.method, "POST" | "PUT") {
                let answer = send(&service, &route, &filled(&route.path, "x"), token, Some(&device), vec![b' '; 17 << 20]).await;
                assert!((400..500).contains(&answer.status), "{route:?}: {}", answer.status);
            }
        }
    }

    // Any issuer that TLS trusts may use any number: the row must hold the very certificate.
    async fn a_certificate_of_another_issuer_with_the_number_of_ours_is_unknown(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        assert_eq!(service.fetch(Some(&device), "/v1/state", &[]).await.status, 200);
        let (_, ours) = x509_parser::parse_x509_certificate(&device.chain[0]).unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(ours.raw_serial()));
        let key = rcgen::KeyPair::generate().unwrap();
        let twin = params.self_signed(&key).unwrap().der().clone();
        let (_, parsed) = x509_parser::parse_x509_certificate(&twin).unwrap();
        assert_eq!(parsed.raw_serial(), ours.raw_serial());
        for route in routes().iter().filter(|route| matches!(route.need, Need::Device)) {
            let mut request = Request::builder().method(route.method).uri(filled(&route.path, "x"));
            request.extensions_mut().unwrap().insert(Service::connection(std::slice::from_ref(&twin)));
            let answer = service.answer(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.refusal(), (401, "certificate-unknown".into()), "{route:?}");
        }
    }

    async fn what_belongs_to_another_tenant_is_not_there(service: Service) {
        let mut desk = Desk::ready(&service).await;
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        let device = service.device("serial-1", &json!({})).await;
        let rollout = service.post("release-manager", "/rollouts", &json!({"hardware": "primehub", "release": "r1"})).await;
        let id = rollout["id"].as_str().unwrap().to_owned();
        let put = json!({"value": "AA=="});
        service.operator("secret-writer", "PUT", "/secrets/a/b", &put).await.good();
        let body = json!({"effect": "allow", "subject": {"kind": "device", "selector": ""}, "resource": "a/*", "verbs": ["read"]});
        let grant = service.post("grant-admin", "/grants", &body).await["id"].as_str().unwrap().to_owned();
        service.post("grant-approver", &format!("/grants/{grant}/approve"), &Value::Null).await;
        let artefact = service.get("viewer", "/releases/primehub/r1").await["artefacts"][0]["sha256"].as_str().unwrap().to_owned();
        let device_path = format!("/devices/{}", device.id);
        let there = [format!("/rollouts/{id}"), "/releases/primehub/r1".to_owned(), device_path.clone()];
        for path in &there {
            service.get("viewer", path).await;
        }
        // All of it is another tenant's now; the caller's own tenant comes from his token and certificate alone.
        for table in ["rollout", "release", "secret", "access_grant", "blob"] {
            let text = format!("UPDATE {table} SET tenant_id = 'other'");
            tx!(service.state.db, "test.foreign", |tx| {
                sqlx::query(sqlx::AssertSqlSafe(text.clone())).execute(tx.conn()).await.map_err(crate::db::Error::from)
            })
            .unwrap();
        }
        for path in &there[..2] {
            assert_eq!(service.operator("viewer", "GET", path, &Value::Null).await.refusal(), (404, "not-found".into()), "{path}");
        }
        for (role, method, path) in [
            ("operator", "POST", format!("/rollouts/{id}/start")),
            ("operator", "POST", format!("/rollouts/{id}/rollback")),
            ("grant-approver", "POST", format!("/grants/{grant}/approve")),
            ("grant-approver", "DELETE", format!("/grants/{grant}")),
        ] {
            let answer = service.operator(role, method, &path, &json!({})).await;
            assert_eq!(answer.refusal(), (404, "not-found".into()), "{path}");
        }
        assert_eq!(service.fetch(Some(&device), &format!("/v1/blob/sha256/{artefact}"), &[]).await.status, 404);
        assert_eq!(service.fetch(Some(&device), "/v1/secret/a/b", &[]).await.refusal(), (403, "not-granted".into()));
        for list in ["/rollouts", "/releases", "/secrets", "/grants"] {
            assert_eq!(service.get("viewer", list).await["items"], json!([]), "{list}");
        }
    }
}
