//! Polls and reports, as devices make them.

use crate::both_services;
use crate::db::Dialect;
use crate::testing::desk::{Desk, firmware};
use crate::testing::device::TestDevice;
use crate::testing::service::Service;
use holdfast_proto::report::Progress;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

/// A device on `r1` that has been offered `release`.
async fn offered(service: &Service, release: &str) -> (Desk, TestDevice, String) {
    let mut desk = Desk::ready(service).await;
    desk.publish(service, "r1", 1, &firmware("7.22.0", "movehub")).await;
    desk.publish(service, release, 1, &firmware("7.27.0", "movehub")).await;
    let mut device = service.device("serial-1", &json!({})).await;
    device.running = Some("r1".into());
    device.say(service, Progress::Idle).await;
    let rollout = service
        .post("release-manager", "/rollouts", &json!({"hardware": "primehub", "release": release}))
        .await;
    let id = rollout["id"].as_str().unwrap().to_owned();
    service.post("operator", &format!("/rollouts/{id}/start"), &json!({})).await;
    crate::release::work::build(service.state.clone()).await.unwrap();
    service.plan().await;
    (desk, device, id)
}

async fn assignment(service: &Service) -> Value {
    service.get("viewer", "/assignments").await["items"][0].clone()
}

/// Bytes of an answer as HTTP/1.1 puts them on the wire.
async fn on_the_wire(service: &Service, device: &TestDevice, request: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let (router, connection) = (service.router(), Service::connection(&device.chain));
    let serving = tokio::spawn(async move {
        let asked = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(std::sync::Arc::clone(&connection));
            tower::Service::call(&mut router.clone(), request)
        });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(server), asked)
            .await
    });
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    serving.await.unwrap().unwrap();
    answer
}

/// From now on a write to the database fails: a sentinel that no poll may wake.
async fn forbid_writes(service: &Service) -> Option<(sqlx::AnyConnection, i64)> {
    let url = service.state.config.database_url();
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    if service.state.db.dialect() == Dialect::Sqlite {
        // Changes with every commit of another connection that wrote.
        let version = data_version(&mut connection).await;
        return Some((connection, version));
    }
    let name = url.rsplit('/').next().unwrap();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sqlx::query(sqlx::AssertSqlSafe(alter)).execute(&mut connection).await.unwrap();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(others).fetch_all(&mut connection).await.unwrap();
    None
}

async fn data_version(connection: &mut sqlx::AnyConnection) -> i64 {
    sqlx::query("PRAGMA data_version").fetch_one(connection).await.unwrap().try_get(0).unwrap()
}

both_services! {
    async fn a_poll_that_brings_nothing_is_a_small_304_and_writes_nothing(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        assert_eq!(device.poll(&service).await.status, 200);
        let before = forbid_writes(&service).await;
        for _ in 0..3 {
            assert_eq!(device.poll(&service).await.status, 304);
        }
        let request = format!(
            "GET /v1/state HTTP/1.1\r\nhost: holdfast\r\nif-none-match: {}\r\nconnection: close\r\n\r\n", device.etag
        );
        let answer = on_the_wire(&service, &device, &request).await;
        assert!(answer.starts_with(b"HTTP/1.1 304"), "{}", String::from_utf8_lossy(&answer));
        assert!(answer.len() <= 300, "{} bytes: {}", answer.len(), String::from_utf8_lossy(&answer));
        // A whole answer writes nothing either: the assignment is signed and stored nowhere.
        device.etag.clear();
        assert_eq!(device.poll(&service).await.status, 200);
        if let Some((mut connection, version)) = before {
            assert_eq!(data_version(&mut connection).await, version, "a poll wrote to the database");
            // The sentinel sees writes: the batch of last-seen times is one.
            service.clock.advance(1);
            device.poll(&service).await;
            crate::checkin::work::flush(service.state.clone()).await.unwrap();
            assert_ne!(data_version(&mut connection).await, version);
        } else {
            assert!(crate::checkin::work::flush(service.state.clone()).await.is_err());
        }
    }

    async fn last_seen_is_written_once_for_many_polls(service: Service) {
        let mut device = service.device("serial-1", &json!({})).await;
        let seen = async || service.get("viewer", &format!("/devices/{}", device_id(&service).await)).await["last_seen"].clone();
        device.poll(&service).await;
        service.clock.advance(30);
        device.poll(&service).await;
        assert_eq!(seen().await, Value::Null);
        crate::checkin::work::flush(service.state.clone()).await.unwrap();
        assert_eq!(seen().await, service.state.now());
    }

    async fn the_answer_stays_below_its_cap_and_its_etag_covers_what_counts(service: Service) {
        let name = format!("r{}", "2".repeat(100));
        let (desk, mut device, rollout) = offered(&service, &name).await;
        let first = device.poll(&service).await;
        assert!(first.body.len() <= 4096, "{}", first.body.len());
        let etag = device.etag.clone();
        // The same but for the signature's time: the same ETag.
        service.clock.advance(5);
        assert_eq!(device.poll(&service).await.status, 304);
        // A new timestamp is news; so is a pause.
        crate::release::renew(&service.state.repo, crate::release::Renew::Timestamp, service.state.now()).await.unwrap();
        assert_eq!(device.poll(&service).await.status, 200);
        assert_ne!(device.etag, etag);
        let etag = device.etag.clone();
        service.post("operator", &format!("/rollouts/{rollout}/pause"), &json!({})).await;
        assert_eq!(device.poll(&service).await.status, 200);
        assert_ne!(device.etag, etag);
        drop(desk);
        // What it was given is what its own client believes.
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        let (assignment, release) = device.verify(&service, &root).await.unwrap();
        assert_eq!(assignment.body.state, holdfast_proto::assignment::AssignmentWord::Paused);
        assert_eq!(release.manifest.release.as_str(), name);
    }

    async fn a_report_counts_only_with_its_signature_and_once(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        let other = service.device("serial-2", &json!({})).await;
        device.poll(&service).await;
        let report = device.report(Progress::Accepted);
        let body = serde_json::to_vec(&report).unwrap();
        let signature = device.sign(&body);
        let refused = async |body: Vec<u8>, signature: &str| device.send_raw(&service, body, signature).await.refusal();
        assert_eq!(refused(body.clone(), "").await, (400, "report-signature".into()));
        assert_eq!(refused(body.clone(), "%%%").await, (400, "report-signature".into()));
        assert_eq!(refused(body.clone(), &other.sign(&body)).await, (400, "report-signature".into()));
        assert_eq!(refused([&body[..], b" "].concat(), &signature).await, (400, "report-signature".into()));
        // Another device may not send it as its own.
        assert_eq!(other.send_raw(&service, body.clone(), &signature).await.refusal(), (400, "report-signature".into()));
        assert_eq!(assignment(&service).await["state"], "Offered");

        assert_eq!(device.send_raw(&service, body.clone(), &signature).await.good(), json!({"sequence": report.sequence}));
        assert_eq!(assignment(&service).await["state"], "Accepted");
        device.say(&service, Progress::Fetching).await;
        // Sent again after a lost answer: taken, and it changes nothing.
        assert_eq!(device.send_raw(&service, body, &signature).await.good(), json!({"sequence": report.sequence + 1}));
        assert_eq!(assignment(&service).await["state"], "Fetching");
    }

    async fn a_malformed_report_is_refused_with_its_reason(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        let good = serde_json::to_value(device.report(Progress::Accepted)).unwrap();
        let with = |pointer: &str, value: Value| {
            let mut report = good.clone();
            *report.pointer_mut(pointer).unwrap() = value;
            report.to_string().into_bytes()
        };
        let mut unknown = good.clone();
        unknown["more"] = json!(1);
        for (body, status, code) in [
            (b"{".to_vec(), 400, "malformed-body"),
            (Vec::new(), 400, "malformed-body"),
            (unknown.to_string().into_bytes(), 400, "malformed-body"),
            (with("/sequence", json!(-1)), 400, "malformed-body"),
            (with("/progress", json!({"word": "flying"})), 400, "malformed-body"),
            (with("/boot_id", json!("")), 400, "malformed-report"),
            (with("/boot_id", json!("a\u{0}b")), 400, "malformed-report"),
            (with("/boot_id", json!("b".repeat(129))), 400, "malformed-report"),
            (with("/running/slot", json!("a b")), 400, "malformed-report"),
            (with("/running/release", json!("../r1")), 400, "malformed-report"),
            (with("/boot_id", json!("b".repeat(1 << 20))), 413, "report-too-large"),
            (vec![b' '; 5 << 20], 413, "body-too-large"),
        ] {
            let signature = device.sign(&body);
            assert_eq!(device.send_raw(&service, body, &signature).await.refusal(), (status, code.to_owned()));
        }
        // Numbers beyond what a row holds and words with control characters are taken for what they are.
        let mut report = device.report(Progress::Failed { code: "no space\u{0}\n".into() });
        report.detail = Some("line\u{0}\nnext".into());
        report.versions.assignment = u64::MAX;
        report.running.floor = u64::MAX;
        device.send(&service, &report).await.good();
        let row = assignment(&service).await;
        assert_eq!((row["state"].as_str(), row["code"].as_str()), (Some("Failed"), Some("no_space__")));
        assert_eq!(row["detail"], "line\u{fffd}\nnext");
    }

    async fn confirmed_needs_a_nonce_given_after_arming_and_a_new_boot(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        let before_arming = device.nonce.clone();
        for word in [Progress::Accepted, Progress::Staged, Progress::Arming] {
            device.say(&service, word).await;
        }
        let state = async || assignment(&service).await["state"].as_str().unwrap().to_owned();
        // The old nonce, though it is fresh enough.
        device.boot += 1;
        device.running = Some("r2".into());
        device.nonce = before_arming;
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Arming");
        // A new nonce, and the boot of Arming: no reboot, no evidence.
        device.poll(&service).await;
        device.boot -= 1;
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Arming");
        // None at all; another device's.
        device.boot += 1;
        device.nonce = vec![0; 32];
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Arming");
        let mut other = service.device("serial-2", &json!({})).await;
        other.poll(&service).await;
        device.nonce = other.nonce.clone();
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Arming");
        // A nonce that was given long ago.
        device.poll(&service).await;
        service.clock.advance(1500);
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Arming");
        device.poll(&service).await;
        device.say(&service, Progress::Confirmed).await;
        assert_eq!(state().await, "Confirmed");
        assert_eq!(assignment(&service).await["evidence"], "claimed");
    }

    async fn a_report_of_arming_that_comes_late_still_comes_before_its_confirmation(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        device.say(&service, Progress::Staged).await;
        device.poll(&service).await;
        // It loses the network, arms, reboots, and sends what it queued.
        let mut armed = device.report(Progress::Arming);
        armed.evidence = Some(device.evidence());
        service.clock.advance(600);
        device.boot += 1;
        device.running = Some("r2".into());
        device.send(&service, &armed).await.good();
        assert_eq!(assignment(&service).await["state"], "Arming");
        device.poll(&service).await;
        device.say(&service, Progress::Confirmed).await;
        let row = assignment(&service).await;
        assert_eq!((row["state"].as_str(), row["evidence"].as_str()), (Some("Confirmed"), Some("claimed")));
    }

    async fn a_report_about_another_attempt_or_assignment_changes_nothing(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        let right = device.assignment.unwrap();
        for wrong in [(1, right.sequence + 1, 1), (2, right.sequence, 1), (1, right.sequence, right.attempt + 1)] {
            let (epoch, sequence, attempt) = wrong;
            device.assignment = Some(holdfast_proto::report::AssignmentRef { epoch, sequence, attempt });
            device.say(&service, Progress::Accepted).await;
            assert_eq!(assignment(&service).await["state"], "Offered", "{wrong:?}");
        }
    }

    async fn a_device_that_is_quarantined_is_refused_at_its_next_request(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        let path = format!("/devices/{}/quarantine", device.id);
        service.post("operator", &path, &json!({"reason": "lost"})).await;
        for path in ["/v1/state", "/v1/secret/a/b", "/v1/blob/sha256/00"] {
            assert_eq!(service.fetch(Some(&device), path, &[]).await.refusal(), (403, "device-suspended".into()), "{path}");
        }
        let report = device.report(Progress::Accepted);
        assert_eq!(device.send(&service, &report).await.refusal(), (403, "device-suspended".into()));
        service.plan().await;
        assert_eq!(assignment(&service).await["state"], "Withdrawn");
    }

    async fn versions_jump_above_what_devices_trust(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        device.walk(&service, &root).unwrap();
        // The service was restored: the device trusts what was signed after the backup.
        let ahead = service.state.now() as u64 + 5000;
        (device.versions.timestamp, device.versions.snapshot) = (ahead, ahead);
        device.say(&service, Progress::Idle).await;
        crate::release::work::renew_metadata(service.state.clone()).await.unwrap();
        let trusted = device.walk(&service, &root).unwrap();
        assert_eq!(trusted.timestamp().unwrap().version, ahead + 1);
        assert_eq!(trusted.snapshot_version(), ahead + 1);
        // A device that claims ever more does not have everything signed each time.
        device.versions.timestamp = u64::MAX;
        device.say(&service, Progress::Idle).await;
        for _ in 0..2 {
            service.clock.advance(299);
            crate::release::work::renew_metadata(service.state.clone()).await.unwrap();
            assert_eq!(device.walk(&service, &root).unwrap().timestamp().unwrap().version, ahead + 1);
        }
        // No device can push them beyond a year.
        let reported_at = service.state.now() as u64 - 598;
        service.clock.advance(2);
        crate::release::work::renew_metadata(service.state.clone()).await.unwrap();
        let version = device.walk(&service, &root).unwrap().timestamp().unwrap().version;
        assert_eq!(version, reported_at + 365 * 86_400 + 1);
    }

    async fn a_codec_with_control_characters_is_kept_without_them(service: Service) {
        let (_desk, mut device, _) = offered(&service, "r2").await;
        device.poll(&service).await;
        let mut report = device.report(Progress::Accepted);
        report.transfer = Some(holdfast_proto::report::Transfer { codec: "full\0".into(), bytes: 1, full_bytes: 2 });
        device.send(&service, &report).await.good();
        let mut tx = service.state.db.read().await.unwrap();
        let row = sqlx::query("SELECT codec FROM assignment WHERE codec <> ''").fetch_one(tx.conn()).await.unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "full\u{fffd}");
    }
}

async fn device_id(service: &Service) -> String {
    service.get("viewer", "/devices").await["items"][0]["id"].as_str().unwrap().to_owned()
}

both_services! {
    async fn booted_needs_a_quote_of_this_tpm_after_a_reset_with_the_slot_measured(service: Service) {
        use crate::testing::tpm::SoftTpm;
        let (_desk, mut device, _) = offered(&service, "r2").await;
        let mut tpm = SoftTpm::new(7);
        let other = SoftTpm::new(8);
        let (ak, id) = (tpm.public(), device.id.clone());
        crate::tx!(service.state.db, "test.ak", |tx| {
            let query = sqlx::query("UPDATE devices SET ak_public = $2 WHERE id = $1").bind(&id).bind(ak.clone());
            query.execute(tx.conn()).await.map_err(crate::db::Error::from)
        })
        .unwrap();
        let digest = |image: &[u8]| crate::repo::publish::sha256(image).0;
        let (old, new) = (digest(&firmware("7.22.0", "movehub")), digest(&firmware("7.27.0", "movehub")));
        device.poll(&service).await;
        device.say(&service, Progress::Staged).await;
        let mut armed = device.report(Progress::Arming);
        armed.evidence = Some(tpm.evidence(&device.nonce, &old));
        device.send(&service, &armed).await.good();
        device.boot += 1;
        device.running = Some("r2".into());
        device.poll(&service).await;
        let level = async |device: &mut TestDevice, evidence| {
            let mut report = device.report(Progress::Confirmed);
            report.evidence = Some(evidence);
            device.send(&service, &report).await.good();
            assignment(&service).await["evidence"].as_str().unwrap_or_default().to_owned()
        };
        let nonce = device.nonce.clone();
        let no_reset = tpm.evidence(&nonce, &new);
        tpm.reset_count = 8;
        // Each lacks one thing, and is worth a claim.
        for (evidence, what) in [
            (no_reset, "no reset"),
            (tpm.evidence(&nonce, &old), "another image measured"),
            (other.evidence(&nonce, &new), "another TPM"),
            (tampered(tpm.evidence(&nonce, &new)), "a log that was not quoted"),
        ] {
            assert_eq!(level(&mut device, evidence).await, "claimed", "{what}");
            reopen(&service).await;
        }
        assert_eq!(level(&mut device, tpm.evidence(&nonce, &new)).await, "booted");
        assert_eq!(assignment(&service).await["state"], "Confirmed");
    }
}

/// As if it had not confirmed yet.
async fn reopen(service: &Service) {
    crate::tx!(service.state.db, "test.reopen", |tx| {
        let query = sqlx::query("UPDATE assignment SET state = 'Trial', evidence = ''");
        query.execute(tx.conn()).await.map_err(crate::db::Error::from)
    })
    .unwrap();
}

fn tampered(mut evidence: holdfast_proto::report::Evidence) -> holdfast_proto::report::Evidence {
    if let Some(log) = &mut evidence.event_log {
        let last = log.0.len() - 1;
        log.0[last] ^= 1;
    }
    evidence
}
