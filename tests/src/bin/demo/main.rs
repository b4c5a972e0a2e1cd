//! `make demo`: the main job on real parts, told as it goes. Nothing in it is pretended: what it prints is read back
//! from the service, and the same facts stand in `.demo/report.json`.

mod keep;
mod line;
mod report;
mod secrets;
mod updates;

use anyhow::Context as _;
use holdfast_tests::kube_leg::kubernetes_leg;
use holdfast_tests::life::Life;
use holdfast_tests::plant::Plant;
use holdfast_tests::process::{Lifetime, list_kept_in};
use report::Report;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Hardware id of the demonstration's devices.
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
    let ended = if flags.stop { keep::stop() } else { run(&flags) };
    if ended.is_err() && flags.keep {
        // What failed is not left running: its logs tell more.
        keep::stop().unwrap_or_else(|error| eprintln!("demo: {error:#}"));
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "\ndemo: {error:#}\nlogs: .demo/plant/logs, .demo/plant/devices/*/*.log, .demo/plant/kube/*.log"
            );
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

fn folder() -> PathBuf {
    PathBuf::from(".demo")
}

#[expect(clippy::disallowed_methods, reason = "the demo says how long it took")]
fn run(flags: &Flags) -> anyhow::Result<()> {
    let began = Instant::now();
    let demo = folder();
    if demo.exists() {
        keep::stop()?;
        std::fs::remove_dir_all(&demo).context("the last demo's folder cannot be removed")?;
    }
    let lifetime = if flags.keep { Lifetime::Outlives } else { Lifetime::WithUs };
    std::fs::create_dir_all(&demo)?;
    list_kept_in(&demo.join("pids"));
    let mut report = Report::default();

    say("service", "starting holdfastd all with embedded defaults (SQLite, file keys)");
    let plant = Plant::start(&demo.join("plant"), lifetime)?;
    keep::write_env(&demo, &plant, None)?;
    done(&format!("{} is ready", plant.url));

    say("desk", "root keys 2 of 3, product keys 2 of 3: drafted, signed apart, merged, published");
    let [one, two, three] = updates::images(&plant.root().join("images"))?;
    plant.found_repository(&[HARDWARE])?;
    updates::publish(&plant, 1, &one, Some(1))?;

    let devices = line::enrol(&plant, flags.devices, &one, &mut report)?;
    secrets::hand_out(&plant, &devices, &mut report)?;

    let lives =
        devices.iter().map(|device| device.switch_on(lifetime)).collect::<anyhow::Result<Vec<Life>>>()?;
    updates::publish(&plant, 2, &two, Some(2))?;
    updates::good(&plant, &devices, &lives, &mut report)?;
    updates::publish(&plant, 3, &three, None)?;
    updates::bad(&plant, &devices, &mut report)?;
    let leg = flags.k8s.then(|| kubernetes_leg(&plant, lifetime)).transpose()?;
    report.kubernetes = leg.as_ref().map(|leg| leg.facts.clone());

    report.read_devices(&plant, &devices)?;
    let wall_s = began.elapsed().as_secs();
    report.write(&demo, wall_s)?;
    println!("\nThe demo ended well after {wall_s} s. The same facts as JSON: .demo/report.json");
    println!("(The web console comes later.)");
    if flags.keep {
        keep::write_env(&demo, &plant, leg.as_ref())?;
        println!(
            "It keeps running: `source .demo/env`, then `holdfast --as viewer device list`{}. End it with `make demo-stop`.",
            if leg.is_some() { " or `kubectl get edgesecrets --all-namespaces`" } else { "" }
        );
        return Ok(());
    }
    lives.into_iter().try_for_each(Life::switch_off)
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
