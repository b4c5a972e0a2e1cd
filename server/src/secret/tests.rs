//! Secrets: who gets one, how one rests, and what a writer of the database can do about it.

use crate::both_services;
use crate::db::Dialect;
use crate::testing::desk::Desk;
use crate::testing::device::TestDevice;
use crate::testing::service::{Answer, Service};
use crate::tx;
use holdfast_proto::Bytes;
use serde_json::{Value, json};
use sqlx::Row as _;

async fn put(service: &Service, path: &str, value: &[u8]) -> Answer {
    let body = json!({"value": Bytes(value.to_vec()), "content_type": "text/plain"});
    service.operator("secret-writer", "PUT", &format!("/secrets/{path}"), &body).await
}

async fn read(service: &Service, device: &TestDevice, path: &str) -> Answer {
    service.fetch(Some(device), &format!("/v1/secret/{path}"), &[]).await
}

fn value(answer: Answer) -> Vec<u8> {
    Bytes::from_base64(answer.good()["value"].as_str().unwrap()).unwrap().0
}

fn grant(resource: &str, selector: &str) -> Value {
    json!({"effect": "allow", "subject": {"kind": "device", "selector": selector}, "resource": resource, "verbs": ["read"]})
}

async fn propose(service: &Service, body: &Value) -> String {
    service.post("grant-admin", "/grants", body).await["id"].as_str().unwrap().to_owned()
}

async fn granted(service: &Service, body: &Value) -> String {
    let id = propose(service, body).await;
    let approved = service.post("grant-approver", &format!("/grants/{id}/approve"), &Value::Null).await;
    assert_eq!(approved["state"], "active");
    id
}

/// Writes as somebody who has the database and not the service.
async fn forge(service: &Service, statement: &str) {
    let done = tx!(service.state.db, "test.forge", |tx| {
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(tx.conn()).await;
        done.map(|done| done.rows_affected()).map_err(crate::db::Error::from)
    });
    assert!(done.unwrap() > 0, "{statement}");
}

/// Gives each of two secrets the sealed bytes of the other.
async fn swap(service: &Service) {
    tx!(service.state.db, "test.swap", |tx| {
        let rows = sqlx::query("SELECT secret_id, sealed FROM secret_version").fetch_all(tx.conn()).await?;
        assert_eq!(rows.len(), 2);
        for (to, from) in [(0, 1), (1, 0)] {
            let (id, sealed): (String, Vec<u8>) = (rows[to].try_get(0)?, rows[from].try_get(1)?);
            let query = sqlx::query("UPDATE secret_version SET sealed = $2 WHERE secret_id = $1")
                .bind(id)
                .bind(sealed);
            query.execute(tx.conn()).await?;
        }
        Ok::<_, crate::db::Error>(())
    })
    .unwrap();
}

both_services! {
    async fn a_device_reads_what_an_approved_grant_opens_and_nothing_else(service: Service) {
        let (may, may_not) = (
            service.device("serial-1", &json!({"ring": "north"})).await,
            service.device("serial-2", &json!({"ring": "south"})).await,
        );
        assert_eq!(put(&service, "site/north/wifi", b"one").await.good()["current_version"], 1);
        let path = "site/north/wifi";
        assert_eq!(read(&service, &may, path).await.refusal(), (403, "not-granted".into()));
        let id = propose(&service, &grant("site/north/*", "ring=north")).await;
        // Proposed is not granted; its author cannot approve it.
        assert_eq!(read(&service, &may, path).await.refusal(), (403, "not-granted".into()));
        let own = service.operator("grant-admin", "POST", &format!("/grants/{id}/approve"), &Value::Null).await;
        assert_eq!(own.refusal(), (403, "not-allowed".into()));
        service.post("grant-approver", &format!("/grants/{id}/approve"), &Value::Null).await;
        assert_eq!(value(read(&service, &may, path).await), b"one");
        assert_eq!(read(&service, &may_not, path).await.refusal(), (403, "not-granted".into()));
        assert_eq!(read(&service, &may, "site/south/wifi").await.refusal(), (403, "not-granted".into()));
        assert_eq!(read(&service, &may, "site/north/other").await.refusal(), (404, "not-found".into()));

        // Versions: the pointer moves, the old one stays readable by its number.
        assert_eq!(put(&service, path, b"two").await.good()["current_version"], 2);
        assert_eq!(value(read(&service, &may, path).await), b"two");
        assert_eq!(value(read(&service, &may, &format!("{path}?version=1")).await), b"one");
        assert_eq!(read(&service, &may, &format!("{path}?version=3")).await.refusal(), (404, "not-found".into()));

        // A deny overrides; withdrawing the allow holds at once.
        let mut deny = grant("site/**", "ring=north");
        deny["effect"] = json!("deny");
        let deny = granted(&service, &deny).await;
        assert_eq!(read(&service, &may, path).await.refusal(), (403, "not-granted".into()));
        let withdraw = async |role: &str| {
            service.operator(role, "DELETE", &format!("/grants/{deny}"), &Value::Null).await
        };
        assert_eq!(withdraw("grant-admin").await.good()["state"], "withdrawing");
        assert_eq!(withdraw("grant-approver").await.good()["state"], "withdrawn");
        assert_eq!(value(read(&service, &may, path).await), b"two");
        service.operator("grant-admin", "DELETE", &format!("/grants/{id}"), &Value::Null).await.good();
        assert_eq!(read(&service, &may, path).await.refusal(), (403, "not-granted".into()));
        // Reads and denials are in the audit trail, values are not.
        let trail = service.get("auditor", "/audit?limit=1000").await.to_string();
        assert!(trail.contains("secret.read") && trail.contains("denied") && trail.contains("grant.approve"), "{trail}");
    }

    async fn lifting_a_deny_takes_two_persons_and_it_denies_until_the_second(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        put(&service, "a/b", b"value").await.good();
        granted(&service, &grant("a/*", "")).await;
        let mut deny = grant("a/*", "");
        deny["effect"] = json!("deny");
        let id = granted(&service, &deny).await;
        let withdraw = async |role: &str, id: &str| {
            service.operator(role, "DELETE", &format!("/grants/{id}"), &Value::Null).await
        };
        let denied = async || assert_eq!(read(&service, &device, "a/b").await.refusal(), (403, "not-granted".into()));
        // Who approves grants is not the first to speak, whoever laid the deny.
        assert_eq!(withdraw("grant-approver", &id).await.refusal(), (403, "not-allowed".into()));
        denied().await;
        assert_eq!(withdraw("grant-admin", &id).await.good()["state"], "withdrawing");
        denied().await;
        // Who spoke first is not the second, and nothing else ends the wish.
        assert_eq!(withdraw("grant-admin", &id).await.refusal(), (403, "not-allowed".into()));
        let again = service.operator("grant-approver", "POST", &format!("/grants/{id}/approve"), &Value::Null).await;
        assert_eq!(again.refusal(), (409, "grant-not-proposed".into()));
        denied().await;
        // The wish is under the row's MAC: a writer of the database cannot make himself its author.
        forge(&service, "UPDATE access_grant SET withdraw_proposed_by = 'x' WHERE state = 'withdrawing'").await;
        assert_eq!(withdraw("grant-approver", &id).await.refusal(), (500, "secret-tampered".into()));
        let first = service.get("viewer", "/grants").await;
        let author = first["items"].as_array().unwrap().iter().find(|one| one["id"] == json!(id)).unwrap()["proposed_by"].clone();
        forge(&service, &format!("UPDATE access_grant SET withdraw_proposed_by = '{}' WHERE state = 'withdrawing'", author.as_str().unwrap())).await;
        assert_eq!(withdraw("grant-approver", &id).await.good()["state"], "withdrawn");
        assert_eq!(value(read(&service, &device, "a/b").await), b"value");
        assert_eq!(withdraw("grant-admin", &id).await.refusal(), (409, "grant-withdrawn".into()));
        // A deny that was only proposed is taken back by one.
        let proposed = propose(&service, &deny).await;
        assert_eq!(withdraw("grant-admin", &proposed).await.good()["state"], "withdrawn");
        let trail = service.get("auditor", "/audit?limit=1000").await.to_string();
        assert!(trail.contains("grant.propose-withdrawal") && trail.contains("grant.withdraw"), "{trail}");
    }

    async fn a_tier_is_a_demand_and_explain_shows_the_walk(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        put(&service, "a/b", b"value").await.good();
        let mut body = grant("a/*", "");
        body["constraints"] = json!({"min_tier": "T4", "max_ttl_s": 60, "max_offline_s": 30});
        granted(&service, &body).await;
        let answer = read(&service, &device, "a/b").await.good();
        assert_eq!((&answer["max_ttl_s"], &answer["max_offline_s"]), (&json!(60), &json!(30)));
        let ask = json!({"subject": {"kind": "device", "id": device.id}, "path": "a/b", "verb": "read"});
        assert_eq!(service.post("viewer", "/access/explain", &ask).await["allow"], true);
        forge(&service, "UPDATE devices SET tier = 'T0'").await;
        assert_eq!(read(&service, &device, "a/b").await.refusal(), (403, "not-granted".into()));
        let told = service.post("viewer", "/access/explain", &ask).await;
        assert_eq!(told["allow"], false);
        assert!(told["reason"].as_str().unwrap().contains("T4"), "{told}");
        assert!(told["walk"].as_array().unwrap().len() > 2, "{told}");
        let workload = json!({"kind": "workload", "site": "s", "cluster": "c", "namespace": "n", "service_account": "sa"});
        let told = service.post("viewer", "/access/explain", &json!({"subject": workload, "path": "a/b", "verb": "read"})).await;
        assert_eq!(told["allow"], false);
        for (subject, path, verb, refusal) in [
            (json!({"kind": "device", "id": "dev_none"}), "a/b", "read", (404, "not-found")),
            (ask["subject"].clone(), "a/../b", "read", (400, "malformed-path")),
            (ask["subject"].clone(), "a/b", "own", (400, "unknown-verb")),
        ] {
            let body = json!({"subject": subject, "path": path, "verb": verb});
            let (status, code) = service.operator("viewer", "POST", "/access/explain", &body).await.refusal();
            assert_eq!((status, code.as_str()), refusal);
        }
    }

    async fn what_is_malformed_is_refused_before_anything_is_written(service: Service) {
        for (path, code) in [("A/b", "malformed-path"), ("a//b", "malformed-path"), ("a/%2e%2e/b", "malformed-path"), ("a/*", "malformed-path")] {
            assert_eq!(put(&service, path, b"x").await.refusal(), (400, code.to_owned()), "{path}");
        }
        assert_eq!(put(&service, "a/b", &vec![0; (1 << 20) + 1]).await.refusal(), (413, "value-too-large".into()));
        put(&service, "a/b", &vec![0; 1 << 20]).await.good();
        let body = json!({"value": "AA==", "content_type": "text\u{7f}"});
        let answer = service.operator("secret-writer", "PUT", "/secrets/a/b", &body).await;
        assert_eq!(answer.refusal(), (400, "malformed-content-type".into()));
        let mut deny = grant("a/**", "");
        deny["effect"] = json!("deny");
        deny["constraints"] = json!({"min_tier": "T1"});
        for body in [grant("*/**", ""), grant("a/**/b", ""), grant("a/b", "ring in"), deny] {
            let answer = service.operator("grant-admin", "POST", "/grants", &body).await;
            assert_eq!(answer.refusal(), (400, "malformed-grant".into()), "{body}");
        }
        assert_eq!(service.get("viewer", "/grants").await["items"], json!([]));
        // Who writes cannot read back, and who reads lists cannot see values.
        let device = service.device("serial-1", &json!({})).await;
        assert_eq!(read(&service, &device, "a%2Fb").await.refusal().0, 403);
        let list = service.get("secret-writer", "/secrets").await;
        assert_eq!(list["items"][0]["length"], 1 << 20);
        assert!(list["items"][0].get("value").is_none());
        assert_eq!(service.operator("viewer", "PUT", "/secrets/a/b", &json!({"value": "AA=="})).await.refusal(), (403, "not-allowed".into()));
    }

    async fn two_rows_that_were_swapped_do_not_open(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        granted(&service, &grant("a/*", "")).await;
        put(&service, "a/one", b"one").await.good();
        put(&service, "a/two", b"two").await.good();
        assert_eq!(value(read(&service, &device, "a/one").await), b"one");
        swap(&service).await;
        for path in ["a/one", "a/two"] {
            assert_eq!(read(&service, &device, path).await.refusal(), (500, "secret-tampered".into()), "{path}");
        }
        // A new version heals it.
        put(&service, "a/one", b"three").await.good();
        assert_eq!(value(read(&service, &device, "a/one").await), b"three");
    }

    async fn a_pointer_that_somebody_else_moved_is_refused(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        granted(&service, &grant("a/*", "")).await;
        put(&service, "a/b", b"old and leaked").await.good();
        put(&service, "a/b", b"new").await.good();
        forge(&service, "UPDATE secret SET current_version = 1").await;
        assert_eq!(read(&service, &device, "a/b").await.refusal(), (500, "secret-tampered".into()));
        assert_eq!(put(&service, "a/b", b"x").await.refusal(), (500, "secret-tampered".into()));
        forge(&service, "UPDATE secret SET current_version = 2").await;
        assert_eq!(value(read(&service, &device, "a/b").await), b"new");
    }

    async fn a_grant_that_somebody_else_wrote_opens_nothing(service: Service) {
        let device = service.device("serial-1", &json!({})).await;
        put(&service, "a/b", b"value").await.good();
        let id = propose(&service, &grant("a/*", "")).await;
        // Approved past the approver; widened; copied under another name.
        for statement in [
            "UPDATE access_grant SET state = 'active'".to_owned(),
            "UPDATE access_grant SET state = 'active', proposal = replace(proposal, 'a/*', 'a/**')".to_owned(),
            format!(
                "INSERT INTO access_grant SELECT tenant_id, 'grant_copy', proposal, state, proposed_by, approved_by, created_at, \
                 version, mac, withdraw_proposed_by FROM access_grant WHERE id = '{id}'"
            ),
        ] {
            forge(&service, &statement).await;
            assert_eq!(read(&service, &device, "a/b").await.refusal(), (500, "secret-tampered".into()), "{statement}");
        }
    }

    async fn a_sealed_service_refuses_secrets_alone(service: Service) {
        let desk = Desk::ready(&service).await;
        let mut device = service.device("serial-1", &json!({})).await;
        granted(&service, &grant("a/*", "")).await;
        put(&service, "a/b", b"value").await.good();
        // The key-encryption key went away: every row of the keyring is under another one.
        forge(&service, "UPDATE keyring SET kek_id = 'file:gone'").await;
        assert_eq!(put(&service, "a/b", b"x").await.refusal(), (503, "sealed".into()));
        assert_eq!(read(&service, &device, "a/b").await.refusal(), (503, "sealed".into()));
        let answer = service.operator("grant-admin", "POST", "/grants", &grant("a/b", "")).await;
        assert_eq!(answer.refusal(), (503, "sealed".into()));
        let ask = json!({"subject": {"kind": "device", "id": device.id}, "path": "a/b", "verb": "read"});
        assert_eq!(service.operator("viewer", "POST", "/access/explain", &ask).await.refusal(), (503, "sealed".into()));
        // Polls, reports, metadata and quarantine go on.
        device.poll(&service).await;
        device.say(&service, holdfast_proto::report::Progress::Idle).await;
        crate::release::renew(&service.state.repo, crate::release::Renew::Everything, service.state.now()).await.unwrap();
        let root = &desk.foundation(service.state.now()).metadata["root"];
        device.walk(&service, &service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body).unwrap();
        assert!(!root.is_empty());
        assert_eq!(service.fetch(None, "/readyz", &[]).await.good()["sealed"], true);
        assert_eq!(service.fetch(None, "/readyz?require=unsealed", &[]).await.refusal(), (503, "sealed".into()));
        service.post("operator", &format!("/devices/{}/quarantine", device.id), &json!({"reason": "x"})).await;
    }

    async fn a_value_is_in_no_log_no_answer_but_its_own_and_no_file(service: Service) {
        let canary = format!("canary-{}", hex::encode(crate::chance::bytes::<16>()));
        let logged = crate::testing::log::everything();
        let device = service.device("serial-1", &json!({})).await;
        granted(&service, &grant("a/*", "")).await;
        put(&service, "a/b", canary.as_bytes()).await.good();
        assert_eq!(value(read(&service, &device, "a/b").await), canary.as_bytes());
        // Also where things go wrong with it in hand.
        let body = json!({"value": Bytes(canary.as_bytes().to_vec()), "content_type": "a b"});
        service.operator("secret-writer", "PUT", "/secrets/a/b", &body).await;
        let answer = service.operator_raw("secret-writer", "PUT", "/secrets/a/b", format!("{{\"value\": \"{canary}\"").into_bytes()).await;
        let mut haystacks = vec![("an answer".to_owned(), answer.body)];
        let answer = service.operator_raw("secret-writer", "PUT", "/secrets/a/b", format!("{{\"value\": 1, \"{canary}\": 1}}").into_bytes()).await;
        assert_eq!(answer.status, 400);
        forge(&service, "UPDATE secret_version SET epoch = 2").await;
        assert_eq!(read(&service, &device, "a/b").await.status, 500);
        haystacks.push(("the audit trail".into(), service.get("auditor", "/audit?limit=1000").await.to_string().into_bytes()));
        haystacks.push(("the log".into(), logged.bytes()));
        assert!(String::from_utf8_lossy(&logged.bytes()).contains("a request failed"), "the log is listened to");
        haystacks.extend(stored(&service).await);
        let (base64, hex) = (Bytes(canary.as_bytes().to_vec()).to_base64(), hex::encode(&canary));
        for (place, bytes) in haystacks {
            for form in [canary.as_str(), base64.trim_end_matches('='), hex.as_str()] {
                let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                assert!(!found, "the value is in {place}");
            }
        }
    }
}

/// Everything that rests: the data folder's files, and on PostgreSQL every row as text.
async fn stored(service: &Service) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![service.data().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    if service.state.db.dialect() == Dialect::Postgres {
        let mut tx = service.state.db.read().await.unwrap();
        let tables = sqlx::query(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        );
        for row in tables.fetch_all(tx.conn()).await.unwrap() {
            let table: String = row.try_get(0).unwrap();
            let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT t::text FROM \"{table}\" t")));
            for row in rows.fetch_all(tx.conn()).await.unwrap() {
                found.push((format!("table {table}"), row.try_get::<String, _>(0).unwrap().into_bytes()));
            }
        }
        assert!(found.iter().any(|(place, _)| place == "table secret_version"));
    } else {
        assert!(found.iter().any(|(place, _)| place.ends_with("holdfast.db")));
    }
    found
}
