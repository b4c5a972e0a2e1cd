//! A device that is switched on: the machine around the agent. It asks the boot loader which slot comes up, runs the
//! agent, and does both again after a reboot and after a power cut, until it is switched off.
//!
//! The machine is a process of its own (`device-life`), so that a device outlives the demonstration that made it.

use crate::agent::REBOOT;
use crate::plant::{Device, write};
use crate::process::{Lifetime, Process, Spawn};
use crate::programs::program;
use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine that nobody switches off runs no longer than this.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// As an init system waits before it starts a failed agent again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A device that is switched on.
#[derive(Debug)]
pub struct Life {
    machine: Process,
    folder: PathBuf,
}

impl Device {
    /// Switches the device on.
    ///
    /// # Errors
    /// When the machine cannot be started.
    pub fn switch_on(&self, lifetime: Lifetime) -> anyhow::Result<Life> {
        let log = self.folder.join("life.log");
        let spawn = Spawn::new(program("device-life")?, log)
            .arg(&self.folder)
            .lifetime(lifetime)
            .death_signal("TERM");
        Ok(Life { machine: spawn.start()?, folder: self.folder.clone() })
    }
}

impl Life {
    /// SIGKILL to the agent, wherever it is; the machine comes up again by itself.
    ///
    /// # Errors
    /// When no agent runs.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(agent_pid(&self.folder)).context("no agent was started yet")?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).context("the agent's id is malformed")?;
        kill_process(pid, Signal::KILL).context("no agent runs")
    }

    /// How often the power was cut while the agent ran, as the machine saw it.
    pub fn power_cuts(&self) -> u32 {
        std::fs::read_to_string(cuts(&self.folder)).map_or(0, |text| text.lines().count() as u32)
    }

    /// Switches the device off: the agent is killed with its machine.
    ///
    /// # Errors
    /// When the machine does not end.
    pub fn switch_off(mut self) -> anyhow::Result<()> {
        self.machine.terminate(Duration::from_secs(10))?;
        Ok(())
    }
}

fn agent_pid(folder: &Path) -> PathBuf {
    folder.join("agent.pid")
}

fn cuts(folder: &Path) -> PathBuf {
    folder.join("power-cuts")
}

/// The machine itself, for the device in `folder`.
///
/// # Errors
/// When no slot boots, or a program is missing.
pub fn live(folder: &Path) -> anyhow::Result<()> {
    let serial = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let device = Device { serial, folder: folder.to_owned(), tpm: None };
    loop {
        println!("machine: {}", device.boot().context("the device does not boot")?.trim_end());
        until_reboot(&device)?;
    }
}

/// The agent, started again when it fails; ends when the machine shall boot.
fn until_reboot(device: &Device) -> anyhow::Result<()> {
    loop {
        let mut agent = device.start_agent()?;
        write(&agent_pid(&device.folder), format!("{}\n", agent.pid()).as_bytes())?;
        let ended = agent.wait(LONGEST)?;
        match ended.code() {
            Some(REBOOT) => {
                println!("machine: the agent asks for a reboot");
                return Ok(());
            }
            Some(2) => bail!("the agent does not understand its command line: see agent.log"),
            Some(status) => {
                println!("machine: the agent ended with {status}, starting it again");
                std::thread::sleep(RESTART_PAUSE);
            }
            None => {
                println!("machine: the power was cut");
                note_cut(&device.folder)?;
                return Ok(());
            }
        }
    }
}

fn note_cut(folder: &Path) -> anyhow::Result<()> {
    let before = std::fs::read_to_string(cuts(folder)).unwrap_or_default();
    ensure!(before.len() < 1 << 20, "the power was cut too often");
    write(&cuts(folder), format!("{before}cut\n").as_bytes())
}
