//! Enrolment message by message: a service in this process, on the test's clock, both databases; devices are software
//! TPMs driven command by command, so that each message can be replayed, spoiled, delayed or lost.
//!
//! What evidence is refused for is tested with vectors in `core/trust/tests`; here stand the rows, the doors, the
//! connections and the time.

#[path = "enroll_protocol/chip.rs"]
mod chip;
#[path = "enroll_protocol/wire.rs"]
mod wire;
#[path = "enroll_protocol/world.rs"]
mod world;

use chip::{MODEL, Shown, Soft, acknowledge, chain, chip, send, token};
use holdfast_proto::Bytes;
use serde_json::{Value, json};
use world::{DAY, Database, World};

/// Defines each body as two tests, `name::sqlite` and `name::postgres`, each with a service of its own.
macro_rules! on_both_databases {
    ($(fn $name:ident($world:ident $(, $flags:expr)?) $body:block)+) => {$(
        mod $name {
            use super::*;

            fn play(database: Database) {
                let flags: &[(&str, &str)] = &[];
                $(let flags: &[(&str, &str)] = { let _ = flags; $flags };)?
                let $world = &World::start(database, flags);
                $body
            }

            #[test]
            fn sqlite() {
                play(Database::Sqlite);
            }

            #[test]
            fn postgres() {
                play(Database::Postgres);
            }
        }
    )+};
}

on_both_databases! {
    fn a_record_is_active_only_once_its_device_used_the_new_key(world) {
        let chip = chip(0);
        let id = chip.claim(world, "P-1");
        let before = world.get("/audit")["items"].as_array().unwrap().len();
        world.anyone("/v1/enroll/start", &[], &chip.m1("P-1")).ok();
        assert_eq!(world.get("/audit")["items"].as_array().unwrap().len(), before, "M1 wrote something");
        assert!(world.get("/enrollments")["items"].as_array().unwrap().is_empty(), "M1 wrote something");

        let issued = chip.through(world, "enroll", "P-1", &world.anonymous).ok().json();
        assert_eq!(issued["device"], json!(id), "the claim's row becomes the record");
        let record = world.device(&id);
        assert_eq!((record["state"].as_str(), record["tier"].as_str()), (Some("PENDING"), Some("T4")));
        let config = chip.client(world, &issued);
        let early = world.open(&config).call("POST", "/v1/renew/start", &[], &chip.m1("P-1")).unwrap();
        assert_eq!((early.status, early.code().as_str()), (403, "device-pending"));

        let answer = acknowledge(world, &config).ok().json();
        assert_eq!(answer, json!({"device": id, "state": "ACTIVE"}));
        assert_eq!(world.device(&id)["state"], "ACTIVE");
        let actions: Vec<Value> = world.get(&format!("/audit?resource=device/{id}"))["items"]
            .as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
        for action in ["device.register", "enroll.issue", "enroll.acknowledge"] {
            assert!(actions.contains(&json!(action)), "{actions:?}");
        }
        acknowledge(world, &config).ok();
    }

    fn the_very_same_proof_is_answered_as_before_and_no_other_on_its_nonce(world) {
        let mut chip = chip(0);
        chip.claim(world, "P-2");
        let m1 = chip.m1("P-2");
        let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
        let mut wire = world.open(&world.anonymous);
        let (m3, proof) = chip.m3(&m1, &m2, wire.exporter(), |_| {});
        let first = send(&mut wire, "enroll", &m3, &proof).ok();
        let again = send(&mut wire, "enroll", &m3, &proof).ok();
        assert_eq!(first.json(), again.json(), "the lost answer, once more");

        let mut other = world.open(&world.anonymous);
        assert_eq!(send(&mut other, "enroll", &m3, &proof).code(), "certify-binding", "it is bound to its connection");
        let (m3, proof) = chip.m3(&m1, &m2, other.exporter(), |_| {});
        assert_eq!(send(&mut other, "enroll", &m3, &proof).code(), "replayed", "the nonce is spent");

        // Started again with the same key, it is the same certificate; with another key it is another.
        assert_eq!(chip.through(world, "enroll", "P-2", &world.anonymous).ok().json(), first.json());
        chip.new_key();
        let new = chip.through(world, "enroll", "P-2", &world.anonymous).ok().json();
        assert_eq!(new["device"], first.json()["device"]);
        assert_ne!(new["certificate_chain"][0], first.json()["certificate_chain"][0]);
    }

    fn two_proofs_at_once_on_one_nonce_issue_once(world) {
        let chip = chip(1);
        chip.claim(world, "P-3");
        let m1 = chip.m1("P-3");
        let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
        let mut ready: Vec<_> = (0..4)
            .map(|_| {
                let wire = world.open(&world.anonymous);
                let sent = chip.m3(&m1, &m2, wire.exporter(), |_| {});
                (wire, sent)
            })
            .collect();
        let codes: Vec<String> = std::thread::scope(|scope| {
            let sending: Vec<_> = ready
                .iter_mut()
                .map(|(wire, (m3, proof))| scope.spawn(move || send(wire, "enroll", m3, proof)))
                .collect();
            sending.into_iter().map(|one| one.join().unwrap()).map(|reply| if reply.status == 200 { "issued".into() } else { reply.code() }).collect()
        });
        assert_eq!(codes.iter().filter(|code| *code == "issued").count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| *code == "replayed").count(), 3, "{codes:?}");
    }

    fn a_session_is_this_services_this_doors_and_this_quarter_of_an_hours(world) {
        let chip = chip(0);
        chip.claim(world, "P-4");
        let m1 = chip.m1("P-4");
        let try_with = |m1: &[u8], m2: &[u8], door: &str| {
            let mut wire = world.open(&world.anonymous);
            let (m3, proof) = chip.m3(m1, m2, wire.exporter(), |_| {});
            send(&mut wire, door, &m3, &proof)
        };
        let elsewhere = World::start(Database::Sqlite, &[]);
        let foreign = elsewhere.anyone("/v1/enroll/start", &[], &m1).ok().body;
        assert_eq!(try_with(&m1, &foreign, "enroll").code(), "session-mismatch");

        let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
        assert_eq!(try_with(&m1, &m2, "recover").code(), "session-mismatch", "another door");
        let mut spoilt: Value = serde_json::from_slice(&m2).unwrap();
        let mut sealed = Bytes::from_base64(spoilt["session"].as_str().unwrap()).unwrap();
        *sealed.0.last_mut().unwrap() ^= 1;
        spoilt["session"] = json!(sealed.to_base64());
        assert_eq!(try_with(&m1, &serde_json::to_vec(&spoilt).unwrap(), "enroll").code(), "session-mismatch", "spoilt");
        assert_eq!(try_with(&chip.m1("P-4b"), &m2, "enroll").code(), "session-mismatch", "another M1");
        assert_eq!(world.device(world.get("/devices")["items"][0]["id"].as_str().unwrap())["state"], "PENDING");

        world.clock.advance(15 * 60);
        assert_eq!(try_with(&m1, &m2, "enroll").code(), "session-expired");
    }

    fn what_is_malformed_too_large_or_unproven_is_refused_with_its_reason(world) {
        let chip = chip(1);
        chip.claim(world, "P-5");
        let m1 = chip.m1("P-5");
        let prove = |change: &dyn Fn(&mut chip::Parts)| {
            let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
            let mut wire = world.open(&world.anonymous);
            let (m3, proof) = chip.m3(&m1, &m2, wire.exporter(), change);
            send(&mut wire, "enroll", &m3, &proof)
        };
        let reply = prove(&|parts| parts.csr.truncate(20));
        assert_eq!((reply.status, reply.code().as_str()), (400, "csr-malformed"));
        let record = reply.json()["record"].as_str().unwrap().to_owned();
        let kept = world.get(&format!("/enrollments/{record}"));
        assert_eq!(kept["enrollment"]["reason"], "csr-malformed");
        assert!(kept["certificate_serial"].is_null());
        let other = Soft::new();
        let foreign = rcgen::CertificateParams::default().serialize_request(&other.key).unwrap().der().to_vec();
        assert_eq!(prove(&|parts| parts.csr.clone_from(&foreign)).status, 403, "a request for another key");
        assert_eq!(prove(&|parts| parts.proof.quote.signature.0.truncate(3)).code(), "quote-malformed");

        // Without the activated secret nothing was shown: the checks are kept, the bytes are not.
        let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
        let mut wire = world.open(&world.anonymous);
        let (m3, _) = chip.m3(&m1, &m2, wire.exporter(), |_| {});
        let reply = send(&mut wire, "enroll", &m3, &Bytes(vec![7; 32]).to_base64());
        assert_eq!(reply.code(), "proof-mac");
        let kept = world.get(&format!("/enrollments/{}", reply.json()["record"].as_str().unwrap()));
        assert!(kept["inputs"].as_array().unwrap().is_empty() && !kept["checks"].as_array().unwrap().is_empty());

        assert_eq!(world.anyone("/v1/enroll/start", &[], b"{").code(), "malformed-message");
        assert_eq!(world.anyone("/v1/enroll/proof", &[], b"[]").code(), "malformed-message");
        let large = vec![b' '; (4 << 20) + 1];
        for path in ["/v1/enroll/start", "/v1/enroll/proof"] {
            let reply = world.anyone(path, &[], &large);
            assert_eq!((reply.status, reply.code().as_str()), (413, "body-too-large"), "{path}");
        }
        let foreign_tenant = String::from_utf8(m1.clone()).unwrap().replace("\"default\"", "\"other\"");
        assert_eq!(world.anyone("/v1/enroll/start", &[], foreign_tenant.as_bytes()).code(), "malformed-message");
    }

    fn strangers_wait_in_bounded_numbers_and_leave_their_checks_alone(world, &[("limits.waiting_enrollments", "1")]) {
        let (first, second) = (chip(0), chip(1));
        let kept = |reply: &wire::Reply| {
            let kept = world.get(&format!("/enrollments/{}", reply.json()["record"].as_str().unwrap()));
            assert!(!kept["checks"].as_array().unwrap().is_empty());
            kept["inputs"].as_array().unwrap().len()
        };
        // Refused for its evidence, though whoever sent it has the endorsement key.
        let spoilt = |chip: &chip::Chip, serial: &str| {
            let m1 = chip.m1(serial);
            let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
            let mut wire = world.open(&world.anonymous);
            let (m3, proof) = chip.m3(&m1, &m2, wire.exporter(), |parts| parts.csr.truncate(20));
            send(&mut wire, "enroll", &m3, &proof)
        };
        assert_eq!(kept(&spoilt(&first, "P-6")), 0, "a stranger's bytes were kept");

        let m1 = first.m1("P-6");
        let m2 = world.anyone("/v1/enroll/start", &[], &m1).ok().body;
        let mut wire = world.open(&world.anonymous);
        let (m3, proof) = first.m3(&m1, &m2, wire.exporter(), |_| {});
        let waits = send(&mut wire, "enroll", &m3, &proof);
        assert_eq!(waits.status, 202, "{}", waits.code());
        let attempt = waits.json()["enrollment"].as_str().unwrap().to_owned();
        assert_eq!(world.get(&format!("/enrollments/{attempt}"))["inputs"].as_array().unwrap().len(), 5);
        // Another proof on the same nonce: refused by the rows, in a row of its own.
        let mut other = world.open(&world.anonymous);
        let (m3, proof) = first.m3(&m1, &m2, other.exporter(), |_| {});
        let replayed = send(&mut other, "enroll", &m3, &proof);
        assert_eq!(replayed.code(), "replayed");
        assert_eq!(kept(&replayed), 0, "a stranger's bytes were kept in a row of their own");
        let more = first.through(world, "enroll", "P-6", &world.anonymous);
        assert_eq!((more.status, more.json()["enrollment"].as_str()), (202, Some(&*attempt)), "its own place is its own");

        // One waits: no more strangers, until it is settled; who is claimed is not held up.
        let full = second.through(world, "enroll", "P-7", &world.anonymous);
        assert_eq!((full.status, full.code().as_str()), (503, "too-many-waiting"));
        assert_eq!(world.get("/enrollments")["items"].as_array().unwrap().len(), 3, "nothing is written of it");
        second.claim(world, "P-7");
        second.through(world, "enroll", "P-7", &world.anonymous).ok();
        assert!(kept(&spoilt(&second, "P-7")) > 0, "of one that is known they are evidence");
    }

    fn a_wrong_token_is_refused_and_soon_slowed(world, &[("limits.sign_in_burst", "3"), ("limits.sign_in_per_second", "0.01")]) {
        let wrong = [("authorization", "Bearer hf_0000000000000000000000000000000000000000000000000000000000000000")];
        let ask = |headers: &[(&str, &str)]| world.open(&world.anonymous).call("GET", "/api/v1/devices", headers, b"").unwrap();
        let reply = ask(&wrong);
        assert_eq!((reply.status, reply.code().as_str()), (401, "token-unknown"));
        assert_eq!(ask(&[]).code(), "no-token");
        let [_, _, last] = [(); 3].map(|()| ask(&wrong));
        assert_eq!((last.status, last.code().as_str()), (429, "too-many-requests"));
        assert!(last.head.contains("retry-after: "), "{}", last.head);
        // Who has a token that is good is not slowed.
        world.get("/devices");
    }

    fn starts_are_limited_for_each_address(world, &[("limits.enroll_burst", "2"), ("limits.enroll_per_second", "0.01")]) {
        assert_eq!(world.anyone("/v1/enroll/start", &[], b"{}").code(), "malformed-message");
        assert_eq!(world.anyone("/v1/recover/start", &[], b"{}").code(), "malformed-message");
        let reply = world.anyone("/v1/enroll/start", &[], b"{}");
        assert_eq!((reply.status, reply.code().as_str()), (429, "too-many-requests"));
    }

    fn a_certificate_is_renewed_from_two_thirds_of_its_life_and_the_old_one_ends_with_m5(world) {
        let mut chip = chip(0);
        let (id, issued, old) = chip.enrolled(world, "P-6");
        let renew_at = issued["renew_at"].as_i64().unwrap();
        let not_after = issued["not_after"].as_i64().unwrap();
        assert!((not_after - 31 * DAY..not_after).contains(&renew_at), "renew_at {renew_at} for {not_after}");
        world.clock.advance(59 * DAY);
        let early = world.open(&old).call("POST", "/v1/renew/start", &[], &chip.m1("P-6")).unwrap();
        assert_eq!((early.status, early.code().as_str()), (409, "renewal-too-early"));
        world.clock.advance(2 * DAY);
        let nobody = world.anyone("/v1/renew/start", &[], &chip.m1("P-6"));
        assert_eq!((nobody.status, nobody.code().as_str()), (401, "no-client-certificate"));
        chip.new_key();
        let renewed = chip.through(world, "renew", "P-6", &old).ok().json();
        assert_eq!(renewed["device"], json!(id));
        // Until M5 the old certificate is good, and the new one already is.
        assert_eq!(acknowledge(world, &old).code(), "not-the-newest-certificate");
        let new = chip.client(world, &renewed);
        acknowledge(world, &new).ok();
        let reply = acknowledge(world, &old);
        assert_eq!((reply.status, reply.code().as_str()), (401, "certificate-revoked"));
        assert_eq!(world.device(&id)["state"], "ACTIVE");
    }

    fn the_first_m5_is_of_the_newest_certificate_too(world) {
        let mut chip = chip(0);
        let id = chip.claim(world, "P-6b");
        let issued = chip.through(world, "enroll", "P-6b", &world.anonymous).ok().json();
        let first = chip.client(world, &issued);
        // M4 was lost, and the device begins again with another key.
        chip.new_key();
        let issued = chip.through(world, "enroll", "P-6b", &world.anonymous).ok().json();
        let newest = chip.client(world, &issued);
        assert_eq!(acknowledge(world, &first).code(), "not-the-newest-certificate");
        assert_eq!(world.device(&id)["state"], "PENDING");
        acknowledge(world, &newest).ok();
        assert_eq!(world.device(&id)["state"], "ACTIVE");
        assert_eq!(acknowledge(world, &first).code(), "certificate-revoked");
    }

    fn a_renewal_is_for_the_device_of_the_certificate(world) {
        let (one, two) = (chip(0), chip(1));
        let (_, _, config) = one.enrolled(world, "P-7");
        let (other, ..) = two.enrolled(world, "P-7b");
        world.clock.advance(61 * DAY);
        // Another TPM behind this certificate, whatever serial it claims.
        for serial in ["P-7", "P-7b"] {
            assert_eq!(two.through(world, "renew", serial, &config).code(), "ek-changed", "{serial}");
        }
        assert_eq!(one.through(world, "renew", "P-7b", &config).code(), "ek-has-other-serial");
        assert_eq!(world.device(&other)["state"], "ACTIVE");
    }

    fn a_device_that_slept_past_its_certificate_recovers_under_its_record(world) {
        let mut chip = chip(0);
        let (id, _, old) = chip.enrolled(world, "P-8");
        // Short of the year that the tokens of the first start live.
        world.clock.advance(300 * DAY);
        let late = world.try_open(&old).and_then(|mut wire| wire.call("POST", "/v1/ack", &[], b"{}"));
        assert!(late.as_ref().is_err() || late.as_ref().is_ok_and(|reply| reply.status == 401), "{late:?}");
        chip.new_key();
        let recovered = chip.through(world, "recover", "P-8", &world.anonymous).ok().json();
        assert_eq!(recovered["device"], json!(id));
        acknowledge(world, &chip.client(world, &recovered)).ok();
        assert_eq!(world.device(&id)["state"], "ACTIVE");
    }

    fn only_who_was_active_recovers_and_never_as_another(world) {
        let (one, two) = (chip(0), chip(1));
        assert_eq!(one.through(world, "recover", "P-9", &world.anonymous).code(), "record-unknown", "no record");
        one.claim(world, "P-9");
        assert_eq!(one.through(world, "recover", "P-9", &world.anonymous).code(), "record-unknown", "a claim");
        let issued = one.through(world, "enroll", "P-9", &world.anonymous).ok().json();
        assert_eq!(one.through(world, "recover", "P-9", &world.anonymous).code(), "record-unknown", "not acknowledged");
        acknowledge(world, &one.client(world, &issued)).ok();
        assert_eq!(two.through(world, "recover", "P-9", &world.anonymous).code(), "ek-changed");
        assert_eq!(one.through(world, "recover", "P-9b", &world.anonymous).code(), "ek-has-other-serial");
        one.through(world, "recover", "P-9", &world.anonymous).ok();
    }

    fn a_revoked_certificate_is_refused_on_open_and_on_resumed_connections(world) {
        let chip = chip(1);
        let (id, _, config) = chip.enrolled(world, "P-10");
        let mut open = world.open(&config);
        open.call("POST", "/v1/ack", &[], b"{}").unwrap().ok();
        let mut resumed = world.open(&config);
        assert!(resumed.is_resumed(), "the session was not resumed: this test would show nothing");
        resumed.call("POST", "/v1/ack", &[], b"{}").unwrap().ok();
        world.operator("operator", "POST", &format!("/devices/{id}/retire"), &json!({"reason": "stolen"})).ok();
        let mut after = world.open(&config);
        assert!(after.is_resumed(), "the session was not resumed: this test would show nothing");
        for (wire, name) in [(&mut open, "open"), (&mut resumed, "resumed before"), (&mut after, "resumed after")] {
            let reply = wire.call("POST", "/v1/ack", &[], b"{}").unwrap();
            assert_eq!((reply.status, reply.code().as_str()), (401, "certificate-revoked"), "{name}");
        }
    }

    fn a_device_without_a_tpm_enrols_renews_and_recovers_by_its_keys(world) {
        let made = token(world, "P-11");
        let device = Soft::new();
        let issued = device.through(world, "enroll", "P-11", &Shown::Token(&made), &world.anonymous).ok().json();
        let config = device.client(world, &issued);
        acknowledge(world, &config).ok();
        let id = issued["device"].as_str().unwrap();
        assert_eq!((world.device(id)["tier"].as_str(), world.device(id)["state"].as_str()), (Some("T0"), Some("ACTIVE")));

        world.clock.advance(61 * DAY);
        let renewed_device = Soft::new();
        let leaf = chain(&issued)[0].clone();
        let by_token = renewed_device.through(world, "renew", "P-11", &Shown::Token(&made), &config);
        assert_eq!(by_token.code(), "recovery-certificate", "a token stands in for no certificate");
        let stolen = Shown::Certificate(&leaf, &renewed_device.key);
        assert_eq!(renewed_device.through(world, "renew", "P-11", &stolen, &config).code(), "recovery-signature");
        let shown = Shown::Certificate(&leaf, &device.key);
        let renewed = renewed_device.through(world, "renew", "P-11", &shown, &config).ok().json();
        acknowledge(world, &renewed_device.client(world, &renewed)).ok();

        world.clock.advance(90 * DAY + 300 * DAY);
        let recovered_device = Soft::new();
        let old = chain(&renewed)[0].clone();
        assert_eq!(
            recovered_device.through(world, "recover", "P-11", &Shown::Certificate(&leaf, &device.key), &world.anonymous).code(),
            "record-revoked",
            "the certificate before the last"
        );
        let shown = Shown::Certificate(&old, &renewed_device.key);
        assert_eq!(recovered_device.through(world, "recover", "P-11b", &shown, &world.anonymous).code(), "recovery-certificate");
        let recovered = recovered_device.through(world, "recover", "P-11", &shown, &world.anonymous).ok().json();
        assert_eq!(recovered["device"], json!(id));
        acknowledge(world, &recovered_device.client(world, &recovered)).ok();

        world.clock.advance(90 * DAY + 366 * DAY);
        let last = chain(&recovered)[0].clone();
        let too_late = Shown::Certificate(&last, &recovered_device.key);
        assert_eq!(Soft::new().through(world, "recover", "P-11", &too_late, &world.anonymous).code(), "recovery-window");
    }

    fn a_join_token_is_for_one_serial_one_hour_and_one_device(world) {
        let made = token(world, "P-12");
        let mut forged = made.clone();
        forged["join_token"]["secret"] = json!(Bytes(vec![1; 32]).to_base64());
        let anonymous = &world.anonymous;
        assert_eq!(Soft::new().through(world, "enroll", "P-12", &Shown::Token(&forged), anonymous).code(), "token-mac");
        let mut unknown = made.clone();
        unknown["join_token"]["id"] = json!("jt_unknown");
        assert_eq!(Soft::new().through(world, "enroll", "P-12", &Shown::Token(&unknown), anonymous).code(), "token-unknown");
        assert_eq!(Soft::new().through(world, "enroll", "P-12b", &Shown::Token(&made), anonymous).code(), "token-claim");
        assert_eq!(Soft::new().through(world, "recover", "P-12", &Shown::Token(&made), anonymous).code(), "kind-not-allowed");
        let first = Soft::new();
        let issued = first.through(world, "enroll", "P-12", &Shown::Token(&made), anonymous).ok().json();
        let again = first.through(world, "enroll", "P-12", &Shown::Token(&made), anonymous).ok().json();
        assert_eq!(issued, again, "its lost answer");
        assert_eq!(Soft::new().through(world, "enroll", "P-12", &Shown::Token(&made), anonymous).code(), "token-spent");
        let late = token(world, "P-12c");
        world.clock.advance(3601);
        assert_eq!(Soft::new().through(world, "enroll", "P-12c", &Shown::Token(&late), anonymous).code(), "token-expired");
    }

    fn a_tpms_serial_cannot_be_had_by_a_token(world) {
        let chip = chip(0);
        chip.enrolled(world, "P-13");
        let body = json!({"serial": "P-13", "model": MODEL, "ttl_s": 60});
        let refused = world.operator("operator", "POST", "/devices/tokens", &body);
        assert_eq!((refused.status, refused.code().as_str()), (409, "device-has-tpm"));
    }
}
