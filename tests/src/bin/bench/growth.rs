//! How the service's cost grows with devices, secrets and grants: the same request asked of a small house and of a large
//! one. Facts without a goal; what matters is by how much a row exceeds the one above it.

use crate::measure::{build_programs, cpu_of_threads_ns, peak_resident};
use crate::poll::{self, Connection, Identity, Target, client_config};
use crate::report::Report;
use anyhow::{Context as _, ensure};
use holdfast_tests::cache::pybricks;
use holdfast_tests::desk::NewRelease;
use holdfast_tests::plant::{Plant, write};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

const HARDWARE: &str = "gateway";
const DEVICES: [usize; 3] = [1_000, 10_000, 100_000];
/// The service takes no more claims in one request.
const CLAIMS_AT_ONCE: usize = 1_000;
const SECRETS: [usize; 3] = [1, 30, 300];
const REQUESTS: usize = 200;
const PLANS: usize = 5;
const ENROLMENTS: usize = 10;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    let scratch = Scratch::new("bench-growth");
    let mut plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.found_repository(&[HARDWARE])?;
    publish(&plant)?;
    let device = poll::enrolled(&plant, "BENCH-GROWTH")?;
    let root = CertificateDer::from_pem_file(plant.data().join("ca.pem")).context("ca.pem")?;
    let tls = client_config(&root, &Identity::of(&device)?)?;
    let target = Target { address: plant.url.trim_start_matches("https://").to_owned(), tls };
    let pid = plant.service().pid().to_string();
    by_secrets(report, &plant, &pid, (&target, &device.id()?))?;
    by_devices(report, &plant, &pid, &target)
}

fn publish(plant: &Plant) -> anyhow::Result<()> {
    let [image, ..] = pybricks("primehub")?;
    plant.publish_release(&NewRelease {
        hardware: HARDWARE,
        release: "1",
        version: "1",
        image: &image.path,
        security_counter: Some(1),
        health_profile: None,
    })
}

/// A poll, an enrolment by token from making the token to M5, and a run of the planner over all devices (that of a
/// rollout that is only drafted), with so many claimed.
fn by_devices(report: &mut Report, plant: &Plant, pid: &str, target: &Target) -> anyhow::Result<()> {
    let mut claimed = 0;
    for devices in DEVICES {
        while claimed < devices {
            claim(plant, claimed)?;
            claimed += CLAIMS_AT_ONCE;
        }
        let mut connection = Connection::open(target)?;
        let etag = connection.poll(None)?.etag.context("the first answer has no ETag")?;
        let each = ms_each(pid, REQUESTS, || {
            ensure!(connection.poll(Some(&etag))?.status == 304, "a poll was no 304");
            Ok(())
        })?;
        report.fact(format!("growth.poll.{devices}-devices"), each, "ms", None);
        let mut enrolled = 0;
        let each = ms_each(pid, ENROLMENTS, || {
            enrolled += 1;
            poll::enrolled(plant, &format!("BENCH-{devices}-{enrolled}")).map(|_| ())
        })?;
        report.fact(format!("growth.enrol.{devices}-devices"), each, "ms", None);
        let plan = ["rollout", "plan", "--hardware", HARDWARE, "--release", "1", "--phase", "rest"];
        let each = ms_each(pid, PLANS, || plant.well("release-manager", &plan).map(|_| ()))?;
        report.fact(format!("growth.plan.{devices}-devices"), each, "ms", None);
    }
    report.fact("growth.memory", peak_resident(pid)? as f64, "B", None);
    Ok(())
}

/// Claims the next thousand.
fn claim(plant: &Plant, from: usize) -> anyhow::Result<()> {
    let record = |n: usize| json!({"serial": format!("GROWTH-{n:06}"), "model": HARDWARE, "ek_hash": format!("{n:064x}")});
    let records: Vec<Value> = (from..from + CLAIMS_AT_ONCE).map(record).collect();
    let path = plant.root().join("claims.json");
    write(&path, Value::from(records).to_string().as_bytes())?;
    plant.well("operator", &["device", "import", &path.display().to_string()]).map(|_| ())
}

/// A read of the same secret, with so many granted.
fn by_secrets(
    report: &mut Report,
    plant: &Plant,
    pid: &str,
    (target, device): (&Target, &str),
) -> anyhow::Result<()> {
    let mut put = 0;
    for secrets in SECRETS {
        while put < secrets {
            grant(plant, &format!("growth/{put:04}"), device)?;
            put += 1;
        }
        let mut connection = Connection::open(target)?;
        let each = ms_each(pid, REQUESTS, || {
            let answer = connection.get("/v1/secret/growth/0000", None)?;
            ensure!(answer.status == 200, "the secret was answered with {}", answer.status);
            Ok(())
        })?;
        report.fact(format!("growth.secret.{secrets}-granted"), each, "ms", None);
    }
    Ok(())
}

/// A secret that the device may read.
fn grant(plant: &Plant, path: &str, device: &str) -> anyhow::Result<()> {
    let put = ["secret", "put", path, "--content-type", "text/plain"];
    plant.holdfast_with("secret-writer", &put, b"correct horse battery staple")?.well(&put)?;
    let selector = format!("id={device}");
    let propose = ["grant", "propose", path, "--devices", &selector, "--min-tier", "T0"];
    let grant: Value = plant.json("grant-admin", &propose)?;
    let id = grant["id"].as_str().context("the grant has no id")?;
    plant.well("grant-approver", &["grant", "approve", id]).map(|_| ())
}

/// The service's CPU for each of `times` requests.
fn ms_each(pid: &str, times: usize, mut ask: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let before: u64 = cpu_of_threads_ns(pid)?.values().sum();
    for _ in 0..times {
        ask()?;
    }
    let after: u64 = cpu_of_threads_ns(pid)?.values().sum();
    Ok(after.saturating_sub(before) as f64 / times as f64 / 1e6)
}
