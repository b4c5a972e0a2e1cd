//! What a stranger's proof leaves behind. Whole enrolments are played in `tests/tests/enroll_protocol.rs`.

use super::evidence::{Case, Facts, Keep, Peer, Verdict};
use super::ops::{Door, anchors};
use super::session::{Session, TpmSession};
use super::sql;
use crate::both_services;
use crate::db::Error;
use crate::testing::service::{Answer, Service};
use crate::tx;
use axum::body::Body;
use axum::http::Request;
use holdfast_proto::api::device::{Check, CheckResult};
use holdfast_proto::api::enrollment::{EnrollmentPurpose, EnrollmentState};
use holdfast_proto::enroll::{EnrollProof, EnrollStart};
use holdfast_proto::{Bytes, Digest};
use holdfast_trust::attest::{self, Reason};
use serde_json::{Value, json};
use sqlx::Row as _;

const DOOR: Door<'_> = Door { purpose: EnrollmentPurpose::Enroll, device: None, exporter: [7; 32] };
const EK: Digest = Digest([5; 32]);

fn session(tpm: bool) -> Session {
    let tpm = tpm.then(|| TpmSession {
        ek_hash: EK,
        ak_name: Bytes::default(),
        pcr_bank: 11,
        pcr_selection: vec![],
    });
    Session {
        purpose: EnrollmentPurpose::Enroll,
        m1: Digest([0; 32]),
        nonce: Bytes(vec![1; 32]),
        expires_at: i64::MAX,
        secret: Bytes(vec![2; 32]),
        tpm,
        device: None,
    }
}

fn start(tenant: &str, serial: &str, token: &str) -> Value {
    json!({"kind": "join_token", "tenant": tenant, "serial": serial, "model": "m", "join_token": {"token_id": token}})
}

fn message(m1: &[u8]) -> EnrollProof {
    EnrollProof {
        m1: Bytes(m1.to_vec()),
        m2: Bytes(b"m2".to_vec()),
        csr: Bytes::default(),
        tpm: None,
        join_token: None,
    }
}

/// What a stranger says.
struct Said {
    tenant: String,
    start: EnrollStart,
    session: Session,
    message: EnrollProof,
}

impl Said {
    fn to(service: &Service) -> Self {
        let tenant = service.state.tenant().to_owned();
        let start = serde_json::from_value(start(&tenant, "serial-1", "t")).unwrap();
        Self { tenant, start, session: session(true), message: message(b"m1") }
    }

    /// In these M3 bytes; the proof has the same.
    fn in_bytes<'a>(&'a self, body: &'a [u8]) -> Case<'a> {
        let Self { tenant, start, session, message } = self;
        Case {
            tenant,
            door: DOOR,
            session,
            body,
            message,
            start,
            proof: body,
            token: None,
            roots_version: "0",
        }
    }
}

/// Writes a waiting attempt from these M3 bytes, over the one of that id if it is there.
async fn wait(service: &Service, id: &str, body: &[u8]) {
    let said = Said::to(service);
    let case = said.in_bytes(body);
    tx!(service.state.db, "test.wait", |tx| {
        let open = sql::attempt_by_id(tx, case.tenant, id).await?;
        let verdict = Verdict {
            state: EnrollmentState::Pending,
            reason: "unknown",
            device: None,
            checks: &[],
            facts: Facts { ek_hash: Some(EK), ..Facts::default() },
            issued: None,
            keep: Keep::All,
        };
        case.write(tx, (id, open.as_ref()), verdict, 1).await?;
        Ok::<_, Error>(())
    })
    .unwrap();
}

async fn inputs(service: &Service) -> i64 {
    let mut tx = service.state.db.read().await.unwrap();
    let row = sqlx::query("SELECT COUNT(*) FROM evidence_inputs").fetch_one(tx.conn()).await.unwrap();
    row.try_get(0).unwrap()
}

/// Whether the peer of this EK is one of ours.
async fn peer(service: &Service) -> Peer {
    let said = Said::to(service);
    let case = said.in_bytes(b"m3");
    case.peer(&mut service.state.db.read().await.unwrap()).await.unwrap()
}

async fn send(service: &Service, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
    service.ask(request.body(Body::from(body.to_string())).unwrap(), None).await
}

#[test]
fn of_a_refused_stranger_the_checks_are_kept_and_his_bytes_are_not() {
    let rule = Reason::ProofMac.code().to_owned();
    let check = Check { rule, result: CheckResult::Pass, detail: String::new() };
    let refused = attest::Refusal { reason: Reason::CertifyType, checks: vec![check] };
    assert_eq!(Keep::of(&refused, Peer::Stranger), Keep::ChecksAlone);
    assert_eq!(Keep::of(&refused, Peer::Known), Keep::AllButTheSecret);
}

#[tokio::test]
async fn what_an_attempt_is_judged_under_is_found_without_reading_the_fleet() {
    let (db, _folder) = crate::testing::sqlite().await;
    crate::testing::assert_reads_few_rows(&db, super::sql::UNDER).await;
}

both_services! {
    async fn an_ek_is_known_once_a_claim_names_it(service: Service) {
        assert_eq!(peer(&service).await, Peer::Stranger);
        let claim = json!({"record": {"serial": "serial-1", "model": "m", "ek_hash": EK}, "labels": {}});
        service.post("operator", "/devices", &claim).await;
        assert_eq!(peer(&service).await, Peer::Known);
    }

    async fn what_is_denied_and_allowed_again_counts_at_once(service: Service) {
        let denied = async || {
            let tx = &mut service.state.db.read().await.unwrap();
            let believed = anchors(&service.state, tx, service.state.tenant()).await.unwrap();
            believed.ek.deny.ek_hashes.contains(&EK)
        };
        assert!(!denied().await);
        // All in one second.
        for _ in 0..3 {
            service.post("installation-admin", "/authorities/ek-denials", &json!({"kind": "ek", "value": EK, "reason": "stolen"})).await;
            assert!(denied().await);
            assert!(denied().await, "and as it was kept");
            let path = format!("/authorities/ek-denials/ek/{}", EK.to_hex());
            assert_eq!(service.operator("installation-admin", "DELETE", &path, &Value::Null).await.status, 204);
            assert!(!denied().await);
        }
    }

    async fn an_anchor_that_is_added_counts_at_once(service: Service) {
        let anchors = async || {
            let tx = &mut service.state.db.read().await.unwrap();
            anchors(&service.state, tx, service.state.tenant()).await.unwrap().ek.anchors.anchors.len()
        };
        assert_eq!(anchors().await, 0);
        let root = json!({
            "certificate": Bytes(service.state.ca.root.certificate.to_vec()), "class": "software",
            "certifies": [{"san_id": "id:00001014", "tpm_id": "IBM"}],
        });
        service.post("installation-admin", "/authorities/ek-roots", &root).await;
        assert_eq!(anchors().await, 1);
    }

    async fn an_attempt_that_comes_again_replaces_its_inputs_and_no_other_attempts(service: Service) {
        wait(&service, "enr_1", b"first").await;
        // m1, m2, m3 (the proof has the same bytes here), secret.
        assert_eq!(inputs(&service).await, 4);
        for body in [&b"second"[..], b"third"] {
            wait(&service, "enr_1", body).await;
            assert_eq!(inputs(&service).await, 4);
        }
        // Another attempt of the serial has the same bytes: they stay as long as one names them.
        wait(&service, "enr_2", b"third").await;
        wait(&service, "enr_1", b"fourth").await;
        assert_eq!(inputs(&service).await, 5);
        service.get("viewer", "/enrollments/enr_2").await;
        wait(&service, "enr_2", b"fourth").await;
        assert_eq!(inputs(&service).await, 4);
    }

    async fn labels_given_with_a_claim_or_an_approval_stand_in_the_audit(service: Service) {
        let claim = json!({"record": {"serial": "serial-2", "model": "m"}, "labels": {"ring": "claimed"}});
        service.post("operator", "/devices", &claim).await;
        wait(&service, "enr_1", b"body").await;
        service.post("operator", "/enrollments/enr_1/approve", &json!({"labels": {"ring": "approved"}})).await;
        for (action, words) in [("device.register", "labels ring=claimed"), ("enrollment.approve", "labels ring=approved")] {
            let rows = service.get("auditor", "/audit?limit=1000").await;
            let row = rows["items"].as_array().unwrap().iter().find(|row| row["action"] == action).unwrap();
            assert!(row["reason"].as_str().unwrap().contains(words), "{row}");
        }
    }

    async fn a_control_character_in_what_a_peer_says_is_refused_and_no_fault(service: Service) {
        let tenant = service.state.tenant().to_owned();
        for (serial, token) in [("a\0b", "t"), ("serial-1", "t\0"), ("a\0b", "t\0")] {
            let m1 = start(&tenant, serial, token);
            let answer = send(&service, "/v1/enroll/start", &m1).await;
            assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.text());
            let sealed = Bytes(service.state.sessions.seal(&session(false)).unwrap());
            let m2 = json!({"session": sealed, "nonce": Bytes(vec![1; 32]), "expires_at": i64::MAX});
            let mut m3 = serde_json::to_value(message(m1.to_string().as_bytes())).unwrap();
            m3["m2"] = json!(Bytes(m2.to_string().into_bytes()));
            let answer = send(&service, "/v1/enroll/proof", &m3).await;
            assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.text());
        }
    }
}
