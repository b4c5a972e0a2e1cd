//! Releases and rollouts: 1 to 2 by delta, one device first and then the rest, the power cut in the middle; a bad
//! release 3 that its first device takes back by itself.

use crate::report::Report;
use crate::{HARDWARE, done, say, text};
use anyhow::{Context as _, ensure};
use holdfast_tests::cache::{PYBRICKS_VERSIONS, pybricks};
use holdfast_tests::desk::NewRelease;
use holdfast_tests::life::Life;
use holdfast_tests::plant::{Device, Plant, until, write};
use holdfast_tests::process;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const HUBS: [&str; 5] = ["primehub", "cityhub", "technichub", "movehub", "essentialhub"];
const PATIENCE: Duration = Duration::from_mins(2);

/// Root file systems as a maker ships them: uncompressed squashfs over the real firmware of five hubs, of the two
/// newest versions.
pub(crate) fn images(folder: &Path) -> anyhow::Result<[PathBuf; 3]> {
    let one = image(folder, 1)?;
    let two = image(folder, 2)?;
    // Release 3 is release 2 with a broken superblock: what the health command of the devices finds.
    let three = folder.join("3.squashfs");
    let mut bytes = std::fs::read(&two)?;
    bytes[..4].copy_from_slice(b"bad!");
    write(&three, &bytes)?;
    Ok([one, two, three])
}

fn image(folder: &Path, release: usize) -> anyhow::Result<PathBuf> {
    let root = folder.join(format!("{release}"));
    for hub in HUBS {
        let firmware = pybricks(hub)?[release].path.clone();
        write(&root.join(format!("lib/firmware/{hub}.bin")), &std::fs::read(firmware)?)?;
    }
    write(&root.join("etc/os-release"), format!("VERSION={}\n", PYBRICKS_VERSIONS[release]).as_bytes())?;
    let out = folder.join(format!("{release}.squashfs"));
    let plain = ["-noI", "-noD", "-noF", "-noX"];
    let same_each_time = ["-all-root", "-all-time", "0", "-mkfs-time", "0", "-no-xattrs"];
    let quiet = ["-noappend", "-quiet", "-no-progress"];
    let mut command = Command::new("mksquashfs");
    process::run(command.arg(&root).arg(&out).args(plain).args(same_each_time).args(quiet))?;
    Ok(out)
}

/// Drafts, signs and publishes a release of the demonstration.
pub(crate) fn publish(
    plant: &Plant,
    release: usize,
    image: &Path,
    counter: Option<u64>,
) -> anyhow::Result<()> {
    let name = release.to_string();
    let new = NewRelease {
        hardware: HARDWARE,
        release: &name,
        version: PYBRICKS_VERSIONS[release.min(2)],
        image,
        security_counter: counter,
        health_profile: Some("rootfs"),
    };
    plant.publish_release(&new)?;
    done(&format!("release {release} is signed by two holders of the product's keys and published"));
    Ok(())
}

/// Release 2 to everybody: one device, then the rest; the power of device 2 is cut while it downloads.
pub(crate) fn good(
    plant: &Plant,
    devices: &[Device],
    lives: &[Life],
    report: &mut Report,
) -> anyhow::Result<()> {
    say("update", "release 1 to 2 by delta: one device first, then the rest");
    // A delta is built from what devices say that they run.
    for device in devices {
        until("every device to report what it runs", PATIENCE, || {
            let shown = plant.json("viewer", &["device", "show", &device.id()?])?;
            Ok((shown["release"] == "1").then_some(()))
        })?;
    }
    done("every device reports that it runs release 1");
    let rollout = start(plant, "2")?;
    let unlucky = &devices[1];
    until("the second device to download", PATIENCE, || {
        not_stopped(plant, &rollout)?;
        let state = unlucky.status()?["update"]["state"].clone();
        Ok((state == "fetching").then_some(()))
    })?;
    lives[1].cut_power()?;
    done(&format!("the power of {} is cut in the middle of its download", unlucky.serial));
    let ended = until("the rollout of release 2", PATIENCE, || {
        let shown = plant.json("viewer", &["rollout", "show", &rollout])?;
        Ok(Some(shown).filter(|shown| !is_under_way(shown)))
    })?;
    ensure!(ended["state"] == "Completed", "the rollout of release 2 ended as {}: {ended}", ended["state"]);
    tell(&ended, report);
    report.power_cuts = lives.iter().map(Life::power_cuts).sum();
    ensure!(report.power_cuts > 0, "the power was never cut");
    transfers(plant, &rollout, report)
}

/// Release 3 has a fault: its first device takes it back, the rollout stops, nobody else gets it.
pub(crate) fn bad(plant: &Plant, devices: &[Device], report: &mut Report) -> anyhow::Result<()> {
    say("fault", "release 3 is correctly signed, and its root file system has a broken superblock");
    let rollout = start(plant, "3")?;
    let stopped = until("the rollout of release 3 to stop", PATIENCE, || {
        let shown = plant.json("viewer", &["rollout", "show", &rollout])?;
        ensure!(shown["state"] != "Completed", "a bad release was rolled out: {shown}");
        Ok(Some(shown).filter(|shown| !is_under_way(shown)))
    })?;
    tell(&stopped, report);
    let assignments = plant.json("viewer", &["rollout", "assignments", "--rollout", &rollout])?;
    for one in assignments.as_array().into_iter().flatten() {
        done(&format!("{}: {} ({})", text(&one["device"]), text(&one["state"]), text(&one["code"])));
    }
    for device in devices {
        let shown = plant.json("viewer", &["device", "show", &device.id()?])?;
        ensure!(shown["release"] == "2", "{} runs release {}", device.serial, shown["release"]);
    }
    done("every device runs release 2");
    Ok(())
}

/// Drafts and starts a rollout of one device, then the rest.
fn start(plant: &Plant, release: &str) -> anyhow::Result<String> {
    let drafted =
        ["rollout", "plan", "--hardware", HARDWARE, "--release", release, "--phase", "1", "--phase", "rest"];
    let drafted = plant.json("release-manager", &drafted)?;
    let id = drafted["id"].as_str().context("the rollout has no id")?;
    plant.well("operator", &["rollout", "start", "--id", id])?;
    Ok(id.to_owned())
}

fn is_under_way(rollout: &Value) -> bool {
    ["Draft", "Validating", "Scheduled", "Preparing", "Running", "RollingBack"]
        .iter()
        .any(|state| rollout["state"].as_str().is_some_and(|text| text.starts_with(state)))
}

fn not_stopped(plant: &Plant, rollout: &str) -> anyhow::Result<()> {
    let shown = plant.json("viewer", &["rollout", "show", rollout])?;
    ensure!(is_under_way(&shown), "the rollout stopped: {shown}");
    Ok(())
}

/// The rollout's end and the planner's reasons, as the service tells them.
fn tell(rollout: &Value, report: &mut Report) {
    let facts = json!({"id": rollout["id"], "release": rollout["release"], "state": rollout["state"], "reason": rollout["reason"]});
    report.rollouts.push(facts);
    done(&format!("the rollout is {}: {}", text(&rollout["state"]), text(&rollout["reason"])));
    for line in rollout["report"].as_array().into_iter().flatten() {
        println!("    {}", text(line));
    }
    let _ = std::io::stdout().flush();
}

/// What each device moved, as it reported it.
fn transfers(plant: &Plant, rollout: &str, report: &mut Report) -> anyhow::Result<()> {
    let assignments = plant.json("viewer", &["rollout", "assignments", "--rollout", rollout])?;
    for one in assignments.as_array().into_iter().flatten() {
        let (bytes, full) = (one["bytes"].as_u64().unwrap_or(0), one["full_bytes"].as_u64().unwrap_or(0));
        ensure!(bytes > 0 && bytes < full, "nothing was saved by {one}");
        report.updates.push(json!({
            "device": one["device"], "from": one["from_release"], "to": one["release"],
            "codec": one["codec"], "bytes": bytes, "full_bytes": full, "evidence": one["evidence"],
        }));
        done(&format!(
            "{} moved {bytes} bytes instead of {full} ({:.1} % saved, {}), confirmed as {}",
            text(&one["device"]),
            100.0 * (1.0 - bytes as f64 / full as f64),
            text(&one["codec"]),
            text(&one["evidence"]),
        ));
    }
    Ok(())
}
