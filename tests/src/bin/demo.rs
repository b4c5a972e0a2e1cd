//! `make demo`: the main job on real parts, told as it goes. Nothing in it is pretended: what it prints is read back
//! from the service, and the same facts stand in `.demo/report.json`.

use anyhow::{Context as _, ensure};
use holdfast_tests::plant::{Device, Plant, until, write};
use holdfast_tests::process::Lifetime;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HARDWARE: &str = "primehub";

struct Flags {
    devices: usize,
    keep: bool,
    k8s: bool,
    stop: bool,
}

fn main() -> ExitCode {
    let flags = match flags() {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("demo: {error}\nusage: demo [--devices N] [--keep] [--k8s] [--stop]");
            return ExitCode::from(2);
        }
    };
    let ended = if flags.stop { stop() } else { run(&flags) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}\nlogs: .demo/plant/logs");
            ExitCode::FAILURE
        }
    }
}

fn flags() -> Result<Flags, lexopt::Error> {
    use lexopt::prelude::{Long, ValueExt as _};
    let mut flags = Flags { devices: 5, keep: false, k8s: false, stop: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("devices") => flags.devices = parser.value()?.parse()?,
            Long("keep") => flags.keep = true,
            Long("k8s") => flags.k8s = true,
            Long("stop") => flags.stop = true,
            other => return Err(other.unexpected()),
        }
    }
    if flags.devices < 3 {
        return Err("the demo needs at least 3 devices: two that may, one that pretends".into());
    }
    Ok(flags)
}

/// What the demo showed, as it will stand in the report.
#[derive(Default)]
struct Report {
    devices: Vec<Value>,
    refused: Vec<Value>,
    updates: Vec<Value>,
    rollouts: Vec<Value>,
    secrets: Vec<Value>,
    power_cuts: u32,
}

fn folder() -> PathBuf {
    PathBuf::from(".demo")
}

#[expect(clippy::disallowed_methods, reason = "the demo says how long it took")]
fn run(flags: &Flags) -> anyhow::Result<()> {
    let began = Instant::now();
    let demo = folder();
    if demo.exists() {
        stop()?;
        std::fs::remove_dir_all(&demo).context("the last demo's folder cannot be removed")?;
    }
    let lifetime = if flags.keep { Lifetime::Outlives } else { Lifetime::WithUs };
    let mut report = Report::default();

    say("service", "starting holdfastd all with embedded defaults (SQLite, file keys)");
    let mut plant = Plant::start(&demo.join("plant"), lifetime)?;
    write_env(&demo, &plant)?;
    done(&format!("{} is ready", plant.url));

    let devices = enrol(&plant, flags.devices, &mut report)?;
    secrets(&plant, &devices, &mut report)?;
    devices_at_the_end(&plant, &devices, &mut report)?;

    let wall_s = began.elapsed().as_secs();
    write_report(&demo, &report, wall_s)?;
    write_pids(&demo, &mut plant, &devices)?;
    println!("\nThe demo ended well after {wall_s} s. The same facts as JSON: .demo/report.json");
    if flags.keep {
        println!("It keeps running: `source .demo/env`, then `holdfast --as viewer device list`. End it with `make demo-stop`.");
    }
    println!("(The web console comes later.)");
    if flags.k8s {
        println!("(The Kubernetes leg is not part of this demo yet.)");
    }
    Ok(())
}

/// Devices are made, claimed and enrolled; the last one is an impostor.
fn enrol(plant: &Plant, count: usize, report: &mut Report) -> anyhow::Result<Vec<Device>> {
    say("line", &format!("manufacturing {count} devices, each with a software TPM of its own"));
    plant.trust_maker()?;
    let mut devices = Vec::new();
    for number in 1..=count {
        let device = plant.device(&format!("SN-{number:04}"), HARDWARE, "")?;
        let record = device.manufacture()?;
        let record = record.display().to_string();
        let site = if number % 2 == 1 { "site=plant-a" } else { "site=plant-b" };
        let args = ["device", "register", &record, "--label", &format!("hardware={HARDWARE}"), "--label", site];
        plant.holdfast("operator", &args)?.well(&args)?;
        devices.push(device);
    }
    let claimed = plant.json("viewer", &["device", "list"])?;
    done(&format!("{} devices made and claimed by serial and endorsement key", claimed.as_array().map_or(0, Vec::len)));

    let mut impostor = devices.pop().context("no device")?;
    say("enrol", &format!("{} devices prove themselves; {} holds an imported software key", devices.len(), impostor.serial));
    for device in &devices {
        device.run(&["enroll"])?.well(&["enroll", &device.serial])?;
    }
    impostor.import_software_key()?;
    let refused = impostor.run(&["enroll"])?;
    ensure!(refused.status == 4, "the impostor was not refused: {}{}", refused.err, refused.out);
    let attempts = plant.json("viewer", &["enrollment", "list", "--state", "refused"])?;
    for attempt in attempts.as_array().into_iter().flatten() {
        report.refused.push(json!({"serial": attempt["serial"], "reason": attempt["reason"]}));
        done(&format!("{} was refused: {}", text(&attempt["serial"]), text(&attempt["reason"])));
    }
    ensure!(report.refused.iter().any(|one| one["serial"] == json!(impostor.serial)), "the service keeps no record of the impostor");
    for device in &devices {
        let shown = plant.json("viewer", &["device", "show", &device.id()?])?;
        ensure!(shown["state"] == "ACTIVE", "{} is {}", device.serial, shown["state"]);
        done(&format!("{} is ACTIVE, tier {} ({} root)", device.serial, text(&shown["tier"]), text(&shown["root_class"])));
    }
    Ok(devices)
}

/// A secret that one device may read and another may not.
fn secrets(plant: &Plant, devices: &[Device], report: &mut Report) -> anyhow::Result<()> {
    let path = "plant-a/mqtt/password";
    say("secret", &format!("{path} is written, and granted to the devices of plant-a at tier T4"));
    let put = ["secret", "put", path, "--content-type", "text/plain"];
    plant.holdfast_with("secret-writer", &put, b"correct horse battery staple")?.well(&put)?;
    let propose = ["grant", "propose", path, "--devices", "site=plant-a", "--min-tier", "T4"];
    let grant = plant.json("grant-admin", &propose)?;
    let approve = ["grant", "approve", grant["id"].as_str().context("the grant has no id")?];
    plant.holdfast("grant-approver", &approve)?.well(&approve)?;
    let (may, may_not) = (&devices[0], &devices[1]);
    for device in [may, may_not] {
        let said = device.run(&["secret", path])?;
        let allowed = said.status == 0;
        let told = plant.json("grant-admin", &["explain", path, "--device", &device.id()?])?;
        ensure!(told["allow"] == json!(allowed), "the explanation and the answer differ: {told}");
        report.secrets.push(json!({
            "device": device.id()?, "path": path, "allowed": allowed, "reason": told["reason"],
        }));
        let word = if allowed { "may read it" } else { "may not" };
        done(&format!("{} {word}: {}", device.serial, text(&told["reason"])));
    }
    ensure!(report.secrets[0]["allowed"] == json!(true) && report.secrets[1]["allowed"] == json!(false), "the wrong device read the secret");
    Ok(())
}

fn devices_at_the_end(plant: &Plant, devices: &[Device], report: &mut Report) -> anyhow::Result<()> {
    for device in devices {
        let id = device.id()?;
        let shown = until("the device's record", Duration::from_secs(10), || Ok(Some(plant.json("viewer", &["device", "show", &id])?)))?;
        report.devices.push(json!({
            "id": id, "serial": device.serial, "tier": shown["tier"], "root_class": shown["root_class"],
            "state": shown["state"], "release": shown["release"],
        }));
    }
    Ok(())
}

fn write_report(demo: &Path, report: &Report, wall_s: u64) -> anyhow::Result<()> {
    let document = json!({
        "devices": report.devices, "refused": report.refused, "updates": report.updates,
        "rollouts": report.rollouts, "secrets": report.secrets, "power_cuts": report.power_cuts, "wall_s": wall_s,
    });
    write(&demo.join("report.json"), serde_json::to_string_pretty(&document)?.as_bytes())
}

/// `.demo/env`: what the commands need to speak to this service.
fn write_env(demo: &Path, plant: &Plant) -> anyhow::Result<()> {
    let tokens: Value = serde_json::from_slice(&std::fs::read(plant.data().join("tokens.json"))?)?;
    let token = tokens["installation-admin"].as_str().context("no token for installation-admin")?;
    let data = plant.data();
    let text = format!(
        "export HOLDFAST_URL='{}'\nexport HOLDFAST_CA='{}'\nexport HOLDFAST_TOKEN='{token}'\nexport HOLDFAST_TOKEN_FILE='{}'\n",
        plant.url,
        data.join("ca.pem").display(),
        data.join("tokens.json").display()
    );
    write(&demo.join("env"), text.as_bytes())
}

/// What `make demo-stop` ends.
fn write_pids(demo: &Path, plant: &mut Plant, devices: &[Device]) -> anyhow::Result<()> {
    let mut pids = vec![plant.service().pid()];
    pids.extend(devices.iter().filter_map(|device| device.tpm.as_ref()?.pid()));
    let lines: Vec<String> = pids.iter().map(ToString::to_string).collect();
    write(&demo.join("pids"), lines.join("\n").as_bytes())
}

/// Ends what a kept demo left running: processes that it started, by id, if they are still those.
fn stop() -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(folder().join("pids")) else { return Ok(()) };
    let mut ended = 0;
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = command.contains("holdfastd") || command.contains("swtpm");
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| ours) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            ended += 1;
        }
    }
    std::fs::remove_file(folder().join("pids"))?;
    println!("[demo-stop] {ended} processes ended");
    Ok(())
}

fn say(step: &str, text: &str) {
    println!("\n[{step}] {text}");
}

fn done(text: &str) {
    println!("  {text}");
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
