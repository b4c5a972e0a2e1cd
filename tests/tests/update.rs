//! A device and its updates, end to end on real parts: the service, the desk, a software TPM, real firmware.

use anyhow::ensure;
use holdfast_tests::agent::{Image, REBOOT, agent_config};
use holdfast_tests::cache::pybricks;
use holdfast_tests::disk::SmallDisk;
use holdfast_tests::plant::{Device, Plant, until, write};
use holdfast_tests::process::{Lifetime, run};
use holdfast_tests::scratch::Scratch;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const HARDWARE: &str = "primehub";

/// A service with releases 1 and 2, and one device that runs release 1.
struct World {
    plant: Plant,
    device: Device,
    /// What `slots` and `state` of the device lie on. Unmounted before its folder is removed.
    disk: SmallDisk,
    _scratch: Scratch,
}

impl World {
    fn new(label: &str) -> anyhow::Result<Self> {
        let scratch = Scratch::new(label);
        let plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
        plant.found_repository(&[HARDWARE])?;
        plant.trust_maker()?;
        let firmware = pybricks(HARDWARE)?;
        let image = |n: usize| plant.root().join(format!("images/{n}.img"));
        let one = Image::sound(&firmware[0].path, &image(1))?;
        plant.publish_image(HARDWARE, "1", &one)?;
        let folder = plant.root().join("devices/SN-1");
        let disk = SmallDisk::mount(&folder.join("state"), "8m")?;
        std::os::unix::fs::symlink("state/images", folder.join("slots"))?;
        std::fs::create_dir(folder.join("state/images"))?;
        let device = plant.device("SN-1", HARDWARE, &agent_config(""))?;
        device.put_release(&plant, HARDWARE, "1", &one.path)?;
        device.claim_and_enroll(&plant, HARDWARE)?;
        device.run_until_release("1")?;
        plant.publish_image(HARDWARE, "2", &Image::sound(&firmware[1].path, &image(2))?)?;
        Ok(Self { plant, device, disk, _scratch: scratch })
    }

    fn publish(
        &self,
        release: &str,
        make: fn(&Path, &Path) -> anyhow::Result<Image>,
        version: usize,
    ) -> anyhow::Result<()> {
        let path = self.plant.root().join(format!("images/{release}.img"));
        self.plant.publish_image(HARDWARE, release, &make(&pybricks(HARDWARE)?[version].path, &path)?)
    }

    /// The only assignment of a rollout, once the service says that it has come to its end.
    fn ended(&self, rollout: &str) -> anyhow::Result<Value> {
        until("the assignment to end", Duration::from_mins(1), || {
            let all = self.plant.assignments(rollout)?;
            let [one] = all.as_slice() else { return Ok(None) };
            let state = one["state"].as_str().unwrap_or_default();
            let ended =
                ["Confirmed", "RolledBack", "Refused", "Failed"].iter().any(|end| state.starts_with(end));
            Ok(ended.then(|| one.clone()))
        })
    }
}

#[test]
fn a_release_comes_by_delta_a_bad_one_goes_by_itself_and_a_dead_agent_falls_back() -> anyhow::Result<()> {
    let world = World::new("update")?;
    by_delta(&world)?;
    bad_release(&world)?;
    dead_agent(&world)?;
    Ok(())
}

/// 1 to 2 by delta, in a trial boot, confirmed with a quote over what booted.
fn by_delta(world: &World) -> anyhow::Result<()> {
    let known = world.plant.json("viewer", &["device", "show", &world.device.id()?])?;
    ensure!(known["release"] == "1", "the service knows what runs before any rollout: {known}");
    let rollout = world.plant.roll_out(HARDWARE, "2")?;
    let status = world.device.run_until_release("2")?;
    ensure!(status["update"]["slot"] == "b", "{status}");
    let ended = world.ended(&rollout)?;
    let (bytes, full) = (ended["bytes"].as_u64().unwrap_or(0), ended["full_bytes"].as_u64().unwrap_or(0));
    ensure!(ended["state"] == "Confirmed", "{ended}");
    ensure!(ended["codec"] != "full" && bytes > 0 && bytes < full * 7 / 10, "no delta: {ended}");
    ensure!(
        ended["evidence"].as_str().unwrap_or_default().eq_ignore_ascii_case("booted"),
        "level {}",
        ended["evidence"]
    );
    Ok(())
}

/// Release 3 is signed correctly and has a fault that its health command finds.
fn bad_release(world: &World) -> anyhow::Result<()> {
    world.publish("3", Image::faulty, 1)?;
    let rollout = world.plant.roll_out(HARDWARE, "3")?;
    let status = world.device.run_until("release 3 to be taken back", |update| {
        update["quarantine"].as_array().is_some_and(|all| !all.is_empty()) && update["state"] == "idle"
    })?;
    ensure!(
        status["update"]["release"] == "2" && status["update"]["quarantine"][0]["code"] == "health-failed",
        "{status}"
    );
    let ended = world.ended(&rollout)?;
    ensure!(ended["state"] == "RolledBack" && ended["code"] == "health-failed", "{ended}");
    let detail = ended["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("checksum is"), "the operator sees the command's words: {detail}");
    let shown = world.plant.json("viewer", &["rollout", "show", &rollout])?;
    ensure!(shown["state"].as_str().unwrap_or_default().starts_with("Paused"), "the rollout stops: {shown}");
    // Once more: it is not installed again.
    world.device.run_until_release("2").map(|_| ())
}

/// Release 4 boots, and its agent is dead at first: the boot loader falls back; later it is tried again.
fn dead_agent(world: &World) -> anyhow::Result<()> {
    world.publish("4", Image::sound, 2)?;
    let rollout = world.plant.roll_out(HARDWARE, "4")?;
    let asked = until("the device to want a reboot", Duration::from_mins(2), || {
        let said = world.device.run(&["run", "--once"])?;
        ensure!([0, 6, REBOOT].contains(&said.status), "{}", said.err);
        Ok((said.status == REBOOT).then_some(()))
    });
    asked?;
    ensure!(world.device.boot()?.contains("slot a runs, on trial"), "release 4 is tried");
    // Nobody marks it good: a watchdog's reset boots what was.
    ensure!(world.device.boot()?.contains("slot b runs\n"), "the boot loader falls back by itself");
    world.device.run_until_release("4")?;
    let ended = world.ended(&rollout)?;
    ensure!(ended["state"] == "Confirmed", "{ended}");
    Ok(())
}

/// Whoever asks for the time gets this; the kernel's word on it as well.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/timex.h>
#include <sys/syscall.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    if (id == CLOCK_REALTIME && getenv("TEST_CLOCK")) { t->tv_sec = atoll(getenv("TEST_CLOCK")); t->tv_nsec = 0; return 0; }
    return syscall(SYS_clock_gettime, id, t);
}
int adjtimex(struct timex *t) {
    memset(t, 0, sizeof *t);
    int good = getenv("TEST_CLOCK_SYNCHRONISED") != NULL;
    t->status = good ? 0 : STA_UNSYNC;
    return good ? TIME_OK : TIME_ERROR;
}
"#;

fn clock_library(world: &World) -> anyhow::Result<PathBuf> {
    let (source, library) = (world.plant.root().join("clock.c"), world.plant.root().join("clock.so"));
    write(&source, CLOCK.as_bytes())?;
    run(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source))?;
    Ok(library)
}

#[test]
fn a_clock_of_1970_or_2099_delays_an_update_at_most_and_is_never_kept() -> anyhow::Result<()> {
    let world = World::new("clock")?;
    let library = clock_library(&world)?.display().to_string();
    let at = |seconds: &str, synchronised: bool| {
        let mut environment = vec![("LD_PRELOAD", library.as_str()), ("TEST_CLOCK", seconds)];
        if synchronised {
            environment.push(("TEST_CLOCK_SYNCHRONISED", "1"));
        }
        world.device.run_with(&["run", "--once"], &environment)
    };
    world.plant.roll_out(HARDWARE, "2")?;
    // 2099, and the kernel vouches for it: refused by name, nothing believed.
    let said = at("4070908800", true)?;
    ensure!(said.status == 6 && said.err.contains("ClockAhead"), "{}: {}", said.status, said.err);
    ensure!(world.device.status()?["update"]["state"] == "idle", "nothing was begun");
    // 2099 with nobody's word for it, then 1970: neither locks the device out.
    let said = at("4070908800", false)?;
    ensure!([0, 6, REBOOT].contains(&said.status) && !said.err.contains("ClockAhead"), "{}", said.err);
    until("the update to arm at 1970", Duration::from_mins(2), || {
        let said = at("10", false)?;
        ensure!([0, 6, REBOOT].contains(&said.status), "{}: {}", said.status, said.err);
        Ok((said.status == REBOOT).then_some(()))
    })?;
    world.device.boot()?;
    world.device.run_until_release("2").map(|_| ())
}

#[test]
fn a_full_disk_fails_by_its_name_and_once_there_is_room_the_device_is_updated() -> anyhow::Result<()> {
    let world = World::new("disk")?;
    world.disk.fill()?;
    let rollout = world.plant.roll_out(HARDWARE, "2")?;
    let failed = world
        .device
        .run_until("the update to fail", |update| update["state"] == "idle" && update["ended"].is_object())?;
    ensure!(failed["update"]["release"] == "1" && failed["update"]["slot"] == "a", "{failed}");
    // Journal, reports and trusted metadata were written all the same: the service knows.
    let ended = world.ended(&rollout)?;
    ensure!(ended["state"] == "Failed" && ended["code"] == "disk-full", "{ended}");
    ensure!(ended["detail"].as_str().unwrap_or_default().contains("are free"), "{ended}");
    world.device.boot()?;
    ensure!(world.device.run(&["run", "--once"])?.status == 0, "it lives on with a full disk");
    world.disk.free()?;
    let rollout = world.plant.roll_out(HARDWARE, "2")?;
    world.device.run_until_release("2")?;
    let ended = world.ended(&rollout)?;
    ensure!(ended["state"] == "Confirmed", "{ended}");
    Ok(())
}
