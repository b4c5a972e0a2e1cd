//! What the agent holds while it waits, and while it downloads and applies a delta to an image of 60 MB and more.

use crate::measure::{build_programs, peak_resident, resident};
use crate::report::Report;
use anyhow::{Context as _, ensure};
use holdfast_tests::cache::large_pair;
use holdfast_tests::desk::NewRelease;
use holdfast_tests::plant::{Device, Plant, until, write};
use holdfast_tests::process::{Lifetime, Process, Spawn};
use holdfast_tests::programs::program;
use holdfast_tests::scratch::Scratch;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const HARDWARE: &str = "gateway";
/// The service makes the delta first.
const PATIENCE: Duration = Duration::from_mins(15);
/// How long the waiting agent is looked at; it polls every second.
const IDLE: Duration = Duration::from_secs(6);
/// Exit status of an agent that asks for a reboot.
const REBOOT: i32 = 5;
const CONFIGURATION: &str = "event_log = \"boot/eventlog\"\n\n\
     [slots]\ninstaller = \"ab_slot\"\na = { rootfs = \"slots/a.img\" }\nb = { rootfs = \"slots/b.img\" }\n\n\
     [boot]\nkind = \"fake\"\nstyle = \"one_shot\"\n\n\
     [update]\npoll_min_s = 1\npoll_max_s = 1\n\n\
     [health.default]\ncommands = [[\"true\"]]\n";

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    let (one, two) = large_pair()?;
    let scratch = Scratch::new("bench-update");
    let plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.found_repository(&[HARDWARE])?;
    publish(&plant, "1", &one)?;
    let device = enrolled(&plant, &one)?;
    let mut agent = switched_on(&device)?;
    let idle = idle_resident(&mut agent)?;
    publish(&plant, "2", &two)?;
    roll_out(&plant, "2")?;
    let peak = peak_until_reboot(&mut agent)?;
    by_delta(&device, &two)?;
    report.at_most("client_rss", peak as f64, "B", f64::from(8 << 20), None);
    report.at_most("client_idle_rss", idle as f64, "B", f64::from(5 << 20), None);
    Ok(())
}

fn publish(plant: &Plant, release: &str, image: &Path) -> anyhow::Result<()> {
    let counter = release.parse().ok();
    let (version, health_profile) = (release, None);
    plant.publish_release(&NewRelease {
        hardware: HARDWARE,
        release,
        version,
        image,
        security_counter: counter,
        health_profile,
    })
}

/// A device with its own TPM and release 1 in slot a, enrolled.
fn enrolled(plant: &Plant, image: &Path) -> anyhow::Result<Device> {
    plant.trust_maker()?;
    let device = plant.device("BENCH-1", HARDWARE, CONFIGURATION)?;
    std::fs::create_dir_all(device.folder.join("slots"))?;
    std::fs::copy(image, device.folder.join("slots/a.img"))?;
    let manifest = plant.desk().join(format!("published/files/products/{HARDWARE}/1.json"));
    let manifest = manifest.display().to_string();
    let said = device.run(&["manufacture", "--installed", &manifest])?.well(&["manufacture"])?;
    let record = device.folder.join("record.json");
    write(&record, said.out.as_bytes())?;
    let label = format!("hardware={HARDWARE}");
    plant.well("operator", &["device", "register", &record.display().to_string(), "--label", &label])?;
    device.run(&["boot"])?.well(&["boot"])?;
    device.run(&["enroll"])?.well(&["enroll"])?;
    Ok(device)
}

fn switched_on(device: &Device) -> anyhow::Result<Process> {
    let spawn = Spawn::new(program("holdfast-device")?, device.folder.join("agent.log"));
    Ok(spawn.arg("run").arg("--config").arg(device.folder.join("device.toml")).start()?)
}

/// The most that the waiting agent holds between two of its polls.
fn idle_resident(agent: &mut Process) -> anyhow::Result<u64> {
    let pid = agent.pid().to_string();
    let mut most = 0;
    let watched = agent.wait_for("the end of the watch", IDLE, || {
        most = resident(&pid).unwrap_or(0).max(most);
        false
    });
    // The watch ends by its time; an agent that ended meanwhile was not idle.
    ensure!(agent.is_running(), "the agent ended while it should wait: {watched:?}");
    ensure!(most > 0, "the agent's memory cannot be read");
    Ok(most)
}

fn roll_out(plant: &Plant, release: &str) -> anyhow::Result<()> {
    let plan = ["rollout", "plan", "--hardware", HARDWARE, "--release", release, "--phase", "rest"];
    let drafted: Value = plant.json("release-manager", &plan)?;
    let id = drafted["id"].as_str().context("the rollout has no id")?;
    plant.well("operator", &["rollout", "start", "--id", id]).map(|_| ())
}

/// The kernel's high-water mark of the agent, read until it asks for a reboot into the new slot.
fn peak_until_reboot(agent: &mut Process) -> anyhow::Result<u64> {
    let pid = agent.pid().to_string();
    let mut peak = 0;
    let ended = until("the agent to ask for a reboot", PATIENCE, || {
        peak = peak_resident(&pid).unwrap_or(0).max(peak);
        Ok(agent.exit_status())
    })?;
    ensure!(ended.code() == Some(REBOOT), "the agent ended with {ended} instead of asking for a reboot");
    Ok(peak)
}

/// Slot b holds the new image, and what came over the link was a delta.
fn by_delta(device: &Device, image: &Path) -> anyhow::Result<()> {
    let (installed, wanted) = (std::fs::read(device.folder.join("slots/b.img"))?, std::fs::read(image)?);
    ensure!(installed.starts_with(&wanted), "slot b does not hold release 2");
    let status = device.status()?;
    ensure!(status["update"]["under_way"] == "2", "the device says of itself: {status}");
    let log = std::fs::read_to_string(device.folder.join("agent.log"))?;
    ensure!(!log.contains("the delta is given up"), "the delta was given up: {log}");
    Ok(())
}
