//! Bodies that come late: who is revoked meanwhile is refused, and strangers hold no more than their share.

use super::tests::certificate;
use crate::both_services;
use crate::ca::revoke;
use crate::testing::service::{Answer, Service};
use crate::tx;
use axum::body::{Body, Bytes};
use axum::http::{Request, header, request::Builder};
use hyper::body::Frame;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// A body that tells when it is wanted first, and then waits until it is given.
struct Late {
    wanted: Option<oneshot::Sender<()>>,
    given: Option<oneshot::Receiver<Bytes>>,
}

impl hyper::body::Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wanted) = self.wanted.take() {
            wanted.send(()).unwrap();
        }
        let Some(given) = &mut self.given else { return Poll::Ready(None) };
        Pin::new(given).poll(context).map(|bytes| {
            self.given = None;
            bytes.ok().map(|bytes| Ok(Frame::data(bytes)))
        })
    }
}

/// A request whose head was let in and whose body is still wanted.
struct Open {
    give: oneshot::Sender<Bytes>,
    answer: tokio::task::JoinHandle<Answer>,
}

impl Open {
    /// With the head as it is, from whoever its connection shows.
    async fn with_head(service: &Arc<Service>, head: Builder) -> Self {
        let (wanted, is_wanted) = oneshot::channel();
        let (give, given) = oneshot::channel();
        let body = Body::new(Late { wanted: Some(wanted), given: Some(given) });
        let (service, request) = (Arc::clone(service), head.body(body).unwrap());
        let answer = tokio::spawn(async move { service.answer(request).await });
        is_wanted.await.expect("the head was let in");
        Self { give, answer }
    }

    async fn send(self, body: &Value) -> Answer {
        self.give.send(body.to_string().into()).unwrap();
        self.answer.await.unwrap()
    }
}

fn post(path: &str, chain: &[CertificateDer<'static>]) -> Builder {
    Request::builder().method("POST").uri(path).extension(Service::connection(chain))
}

fn as_operator(path: &str, token: &str) -> Builder {
    post(path, &[]).header(header::AUTHORIZATION, format!("Bearer {token}"))
}

fn enrolment_from(address: [u8; 4]) -> Builder {
    let peer = (address, 4000).into();
    let connection =
        crate::http::listen::Connection { peer, chain: Vec::new(), exporter: [0; 32], resumed: false };
    Request::builder().method("POST").uri("/v1/enroll/start").extension(Arc::new(connection))
}

both_services! {
    async fn a_token_that_is_revoked_while_its_request_comes_makes_no_child(service: Service) {
        let service = Arc::new(service);
        let wanted = |name: &str| json!({"name": name, "roles": ["viewer"], "ttl_s": 600});
        let parent = json!({"name": "parent", "roles": ["tenant-admin"], "ttl_s": 600});
        let parent = service.post("tenant-admin", "/tokens", &parent).await;
        let token = parent["token"].as_str().unwrap();
        let open = Open::with_head(&service, as_operator("/api/v1/tokens", token)).await;
        assert_eq!(open.send(&wanted("before")).await.status, 201);
        let open = Open::with_head(&service, as_operator("/api/v1/tokens", token)).await;
        let path = format!("/tokens/{}", parent["id"].as_str().unwrap());
        assert_eq!(service.operator("tenant-admin", "DELETE", &path, &Value::Null).await.status, 204);
        assert_eq!(open.send(&wanted("after")).await.status, 401);
        let tokens = service.get("tenant-admin", "/tokens").await.to_string();
        assert!(tokens.contains("\"before\"") && !tokens.contains("\"after\""), "{tokens}");
    }

    async fn a_controller_that_is_revoked_while_its_request_comes_is_issued_nothing(service: Service) {
        let service = Arc::new(service);
        let state = &service.state;
        let chain = certificate(state, "controller", "site-1").await;
        let open = Open::with_head(&service, post("/v1/site/renew", &chain)).await;
        let now = state.now();
        let revoked = tx!(state.db, "test.revoke", |tx| {
            revoke::all_of(tx, state.tenant(), "controller", "site-1", "stolen", now).await
        });
        assert_eq!(revoked.unwrap(), 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let csr = holdfast_proto::Bytes::from(csr.der().to_vec());
        assert_eq!(open.send(&json!({"csr": csr})).await.refusal(), (401, "certificate-revoked".into()));
        let newest = revoke::newest_of(&mut state.db.read().await.unwrap(), state.tenant(), "controller", "site-1").await;
        assert_eq!(newest.unwrap().unwrap().der, chain[0].to_vec());
    }

    async fn a_device_that_is_quarantined_while_its_report_comes_is_not_heard(service: Service) {
        let service = Arc::new(service);
        let device = service.device("serial-1", &json!({})).await;
        let open = Open::with_head(&service, post("/v1/report", &device.chain).method("PUT")).await;
        let path = format!("/devices/{}/quarantine", device.id);
        service.post("operator", &path, &json!({"reason": "stolen"})).await;
        assert_eq!(open.send(&json!({})).await.refusal(), (403, "device-suspended".into()));
    }

    async fn strangers_who_withhold_their_bodies_hold_their_share_and_nobody_else_waits(service: Service) {
        let service = Arc::new(service);
        let share = service.state.config.limits.concurrent_requests / 8 / 4;
        let mut held = Vec::new();
        for _ in 0..share {
            held.push(Open::with_head(&service, enrolment_from([192, 0, 2, 1])).await);
        }
        let one_more = enrolment_from([192, 0, 2, 1]).body(Body::from("{}")).unwrap();
        let answer = service.answer(one_more).await;
        assert_eq!(answer.refusal(), (429, "too-many-requests".into()));
        assert_eq!(answer.header("retry-after"), "1");
        let other = enrolment_from([192, 0, 2, 2]).body(Body::from("{}")).unwrap();
        assert_eq!(service.answer(other).await.status, 400);
        service.get("viewer", "/devices").await;
        let given_back = held.pop().unwrap().send(&json!({})).await;
        assert_eq!(given_back.status, 400);
        let again = enrolment_from([192, 0, 2, 1]).body(Body::from("{}")).unwrap();
        assert_eq!(service.answer(again).await.status, 400);
    }
}
