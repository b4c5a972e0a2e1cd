//! Enrolment as people see it: `holdfastd`, `holdfast-device` with its own software TPM, and `holdfast`, on both
//! databases.
//!
//! What single messages may hold is tested in `enroll_protocol.rs`. One service for each database, shared by all
//! tests of this file; each test has its own serial numbers and its own TPMs.

use anyhow::{Context as _, ensure};
use holdfast_tests::plant::{Device, Plant, Said, write};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Defines each body as two tests, `name::sqlite` and `name::postgres`.
macro_rules! on_both_databases {
    ($(fn $name:ident($plant:ident) $body:block)+) => {$(
        mod $name {
            use super::*;

            fn play($plant: &Plant) -> anyhow::Result<()> {
                $body
                Ok(())
            }

            #[test]
            fn sqlite() {
                play(plant_on_sqlite()).unwrap();
            }

            #[test]
            fn postgres() {
                play(plant_on_postgres()).unwrap();
            }
        }
    )+};
}

on_both_databases! {
    fn a_claimed_device_proves_itself_and_the_evidence_says_how(plant) {
        let device = claimed(plant, "E-1")?;
        enroll(&device)?;
        let shown = show(plant, &device)?;
        ensure!(shown["state"] == "ACTIVE" && shown["tier"] == "T4" && shown["root_class"] == "software", "{shown}");
        let evidence = plant.json("viewer", &["device", "evidence", &device.id()?])?;
        ensure!(evidence["certificate_serial"] == shown["certificate_serial"], "{evidence}");
        ensure!(evidence["enrollment"]["state"] == "issued" && evidence["enrollment"]["purpose"] == "enroll", "{evidence}");
        let checks = evidence["checks"].as_array().context("no checks")?;
        let failed: Vec<_> = checks.iter().filter(|check| check["result"] == "fail").collect();
        ensure!(failed.is_empty(), "{failed:?}");
        for rule in [
            "ek-certificate-path", "ek-template-mismatch", "ak-attributes", "proof-mac", "certify-binding", "certify-name",
            "device-key-not-tpm-born", "csr-signature", "csr-key", "quote-binding", "quote-selection", "quote-digest",
        ] {
            ensure!(checks.iter().any(|check| check["rule"] == rule && check["result"] == "pass"), "no check {rule}");
        }
        let inputs = evidence["inputs"].as_array().context("no inputs")?;
        let names: Vec<_> = inputs.iter().filter_map(|input| input["name"].as_str()).collect();
        ensure!(names == ["m1", "m2", "m3", "proof", "secret"], "{names:?}");
        for input in inputs {
            ensure!(input["sha256"] == json!(sha256_of_base64(&input["bytes"])?), "{}", input["name"]);
        }
    }

    fn a_lost_answer_is_given_again_with_the_same_certificate(plant) {
        let device = claimed(plant, "E-2")?;
        enroll(&device)?;
        let first = show(plant, &device)?["certificate_serial"].clone();
        // M4 never arrived: the device knows nothing of its certificate and starts again at M1.
        std::fs::remove_file(device.folder.join("state/identity.json"))?;
        enroll(&device)?;
        ensure!(show(plant, &device)?["certificate_serial"] == first, "another certificate");
    }

    fn a_device_that_nobody_claimed_waits_for_an_operator(plant) {
        let device = plant.device("E-3", "primehub", "")?;
        device.manufacture()?;
        ensure!(device.run(&["enroll"])?.status == 3, "it did not wait");
        let again = device.run(&["enroll"])?;
        ensure!(again.status == 3, "it did not wait again");
        let waiting = attempts(plant, "pending", "E-3")?;
        let [attempt] = waiting.as_slice() else { anyhow::bail!("one attempt waits, not {waiting:?}") };
        ensure!(attempt["reason"] == "unclaimed", "{attempt}");
        let id = attempt["id"].as_str().context("no id")?;
        let viewer = plant.holdfast("viewer", &["device", "approve", id])?;
        ensure!(viewer.status != 0, "a viewer approved");
        plant.json("operator", &["device", "approve", id, "--label", "site=north"])?;
        enroll(&device)?;
        let shown = show(plant, &device)?;
        ensure!(shown["state"] == "ACTIVE" && shown["labels"]["site"] == "north", "{shown}");
        ensure!(attempts(plant, "pending", "E-3")?.is_empty(), "it waits still");
    }

    fn a_claim_of_another_model_or_key_waits_instead_of_issuing(plant) {
        let device = plant.device("E-5", "primehub", "")?;
        let path = device.manufacture()?;
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        record["model"] = json!("movehub");
        write(&path, &serde_json::to_vec(&record)?)?;
        register(plant, &path)?;
        ensure!(device.run(&["enroll"])?.status == 3, "it did not wait");
        ensure!(attempts(plant, "pending", "E-5")?[0]["reason"] == "claim-of-another-model", "another reason");
    }

    fn an_impostor_with_an_imported_software_key_is_refused(plant) {
        let mut device = claimed(plant, "E-6")?;
        device.import_software_key()?;
        refused(&device, "enroll", "device-key-not-tpm-born")?;
        let attempts = attempts(plant, "refused", "E-6")?;
        ensure!(attempts[0]["reason"] == "device-key-not-tpm-born", "{attempts:?}");
        let shown = plant.json("viewer", &["enrollment", "show", attempts[0]["id"].as_str().context("no id")?])?;
        ensure!(shown["certificate_serial"].is_null(), "a certificate was issued: {shown}");
        let names: Vec<_> = shown["inputs"].as_array().context("no inputs")?.iter().map(|input| input["name"].clone()).collect();
        ensure!(names == ["m1", "m2", "m3", "proof"], "the secret of an unspent nonce is kept: {names:?}");
        ensure!(record_of(plant, "E-6")?["state"] == "PENDING", "the record moved");
    }

    fn a_tpm_that_claims_another_serial_raises_an_alarm(plant) {
        let device = claimed(plant, "E-8")?;
        enroll(&device)?;
        let moved = renamed(&device, "E-8b")?;
        refused(&moved, "enroll", "ek-has-other-serial")?;
        let rows = plant.json("auditor", &["audit", "list"])?;
        ensure!(rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["action"] == "enroll.alarm" && row["actor"] == "claimed/E-8b")), "{rows}");
        ensure!(show(plant, &device)?["state"] == "ACTIVE", "an alarm moved the record");
    }

    fn a_suspended_device_gets_no_certificate_until_it_is_reinstated(plant) {
        let device = claimed(plant, "E-9")?;
        enroll(&device)?;
        let id = device.id()?;
        plant.json("operator", &["device", "quarantine", &id, "--reason", "odd traffic"])?;
        refused(&device, "enroll", "record-suspended")?;
        refused(&device, "recover", "record-suspended")?;
        refused(&device, "renew", "device-suspended")?;
        plant.json("operator", &["device", "reinstate", &id, "--reason", "settled"])?;
        enroll(&device)?;
    }

    fn a_retired_device_is_refused_at_every_door(plant) {
        let device = claimed(plant, "E-10")?;
        enroll(&device)?;
        plant.json("operator", &["device", "retire", &device.id()?, "--reason", "end of life"])?;
        refused(&device, "enroll", "ek-deny-listed")?;
        refused(&device, "recover", "ek-deny-listed")?;
        refused(&device, "renew", "certificate-revoked")?;
        let ek = record_of(plant, "E-10")?["ek_hash"].as_str().context("no EK")?.to_owned();
        plant.holdfast("installation-admin", &["authority", "ek-deny", "remove", "ek", &ek])?.well(&["ek-deny"])?;
        refused(&device, "enroll", "record-closed")?;
        refused(&device, "recover", "record-closed")?;
    }

    fn a_denied_endorsement_key_is_refused_until_the_denial_is_taken_back(plant) {
        let device = claimed(plant, "E-11")?;
        let record: Value = serde_json::from_slice(&std::fs::read(device.folder.join("record.json"))?)?;
        let ek = record["ek_hash"].as_str().context("no EK")?;
        plant.json("installation-admin", &["authority", "ek-deny", "add", "ek", ek, "--reason", "stolen"])?;
        refused(&device, "enroll", "ek-deny-listed")?;
        plant.holdfast("installation-admin", &["authority", "ek-deny", "remove", "ek", ek])?.well(&["ek-deny"])?;
        enroll(&device)?;
    }

    fn a_join_token_enrols_one_device_without_a_tpm_once(plant) {
        let token = plant.json("operator", &["device", "token", "--serial", "E-13", "--model", "movehub"])?;
        let path = plant.root().join(format!("token-{}.json", "E-13"));
        write(&path, &serde_json::to_vec(&token)?)?;
        let device = without_tpm(plant, "E-13", "E-13", &path)?;
        enroll(&device)?;
        let shown = show(plant, &device)?;
        ensure!(shown["state"] == "ACTIVE" && shown["tier"] == "T0", "{shown}");
        // The same key fetches a lost answer; another key does not get in on a spent token.
        std::fs::remove_file(device.folder.join("state/identity.json"))?;
        enroll(&device)?;
        ensure!(show(plant, &device)?["certificate_serial"] == shown["certificate_serial"], "another certificate");
        refused(&without_tpm(plant, "E-13", "E-13b", &path)?, "enroll", "token-spent")?;
        refused(&without_tpm(plant, "E-13c", "E-13c", &path)?, "enroll", "token-claim")?;
        device.run(&["recover"])?.well(&["recover"])?;
        ensure!(show(plant, &device)?["certificate_serial"] != shown["certificate_serial"], "the old certificate");
    }

    fn a_new_certificate_whose_last_answer_was_lost_is_taken_up(plant) {
        let token = plant.json("operator", &["device", "token", "--serial", "E-15", "--model", "movehub"])?;
        let path = plant.root().join("token-E-15.json");
        write(&path, &serde_json::to_vec(&token)?)?;
        let device = without_tpm(plant, "E-15", "E-15", &path)?;
        enroll(&device)?;
        let state = |name: &str| device.folder.join("state").join(name);
        let (old, old_key) = (std::fs::read(state("identity.json"))?, std::fs::read(state("key.pk8"))?);
        device.run(&["recover"])?.well(&["recover"])?;
        let newest = show(plant, &device)?["certificate_serial"].clone();
        // As it was when the service had taken M5, and revoked the old certificate, and the answer did not come.
        std::fs::rename(state("identity.json"), state("identity.next.json"))?;
        write(&state("identity.json"), &old)?;
        write(&state("key.pk8"), &old_key)?;
        device.run(&["recover"])?.well(&["recover"])?;
        ensure!(show(plant, &device)?["certificate_serial"] == newest, "another certificate");
        ensure!(!state("identity.next.json").exists(), "it is still to be taken up");
        // What was revoked meanwhile is forgotten, and a new one asked for.
        write(&state("identity.next.json"), &old)?;
        write(&state("key.next.pk8"), &old_key)?;
        device.run(&["recover"])?.well(&["recover"])?;
        ensure!(show(plant, &device)?["certificate_serial"] != newest, "the same certificate");
    }

    fn a_certificate_is_renewed_late_in_its_life_and_not_before(plant) {
        let device = claimed(plant, "E-14")?;
        enroll(&device)?;
        refused(&device, "renew", "renewal-too-early")?;
    }
}

fn plant_on_sqlite() -> &'static Plant {
    static PLANT: OnceLock<(Plant, Scratch)> = OnceLock::new();
    &PLANT.get_or_init(|| plant(None)).0
}

fn plant_on_postgres() -> &'static Plant {
    static PLANT: OnceLock<(Plant, Scratch)> = OnceLock::new();
    &PLANT.get_or_init(|| plant(Some(holdfast_tests::postgres::fresh_database()))).0
}

fn plant(database: Option<String>) -> (Plant, Scratch) {
    let scratch = Scratch::new("en");
    let plant = Plant::start_on(scratch.path(), Lifetime::WithUs, database.as_deref()).unwrap();
    plant.trust_maker().unwrap();
    (plant, scratch)
}

/// A device that was made and claimed.
fn claimed(plant: &Plant, serial: &str) -> anyhow::Result<Device> {
    let device = plant.device(serial, "primehub", "")?;
    register(plant, &device.manufacture()?)?;
    Ok(device)
}

fn register(plant: &Plant, record: &std::path::Path) -> anyhow::Result<()> {
    plant.json("operator", &["device", "register", &record.display().to_string()]).map(|_| ())
}

fn enroll(device: &Device) -> anyhow::Result<Said> {
    device.run(&["enroll"])?.well(&["enroll", &device.serial])
}

/// The command ends refused, for this reason and no other.
fn refused(device: &Device, command: &str, code: &str) -> anyhow::Result<()> {
    let said = device.run(&[command])?;
    ensure!(
        said.status == 4 && said.err.contains(&format!("({code})")),
        "{command} of {}, not {code}: {said:?}",
        device.serial
    );
    Ok(())
}

fn show(plant: &Plant, device: &Device) -> anyhow::Result<Value> {
    plant.json("viewer", &["device", "show", &device.id()?])
}

/// A device's record by its serial, where the device itself does not know its id.
fn record_of(plant: &Plant, serial: &str) -> anyhow::Result<Value> {
    let devices = plant.json("viewer", &["device", "list"])?;
    let found = devices.as_array().into_iter().flatten().find(|device| device["serial"] == serial);
    found.cloned().with_context(|| format!("no record of {serial}"))
}

fn attempts(plant: &Plant, state: &str, serial: &str) -> anyhow::Result<Vec<Value>> {
    let all = plant.json("viewer", &["enrollment", "list", "--state", state])?;
    Ok(all.as_array().into_iter().flatten().filter(|attempt| attempt["serial"] == serial).cloned().collect())
}

/// The same device, claiming another serial number from now on.
fn renamed(device: &Device, serial: &str) -> anyhow::Result<Device> {
    let path = device.folder.join("device.toml");
    let config = std::fs::read_to_string(&path)?;
    let changed =
        config.replace(&format!("serial = \"{}\"", device.serial), &format!("serial = \"{serial}\""));
    ensure!(changed != config, "the serial is not in {config}");
    write(&path, changed.as_bytes())?;
    Ok(Device { serial: serial.to_owned(), folder: device.folder.clone(), tpm: None })
}

fn without_tpm(plant: &Plant, serial: &str, folder: &str, token: &std::path::Path) -> anyhow::Result<Device> {
    let folder: PathBuf = plant.root().join("devices").join(folder);
    let config = format!(
        "serial = \"{serial}\"\nmodel = \"movehub\"\nstate_dir = \"state\"\nblob = \"blob.json\"\nkeystore = \"file\"\n"
    );
    write(&folder.join("device.toml"), config.as_bytes())?;
    plant.blob("movehub", &folder.join("blob.json"), Some(token))?;
    Ok(Device { serial: serial.to_owned(), folder, tpm: None })
}

fn sha256_of_base64(value: &Value) -> anyhow::Result<String> {
    use sha2::Digest as _;
    let bytes =
        holdfast_proto::Bytes::from_base64(value.as_str().context("no text")?).context("no base64")?;
    Ok(holdfast_proto::Digest(sha2::Sha256::digest(&*bytes).into()).to_hex())
}
