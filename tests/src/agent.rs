//! The agent of a device, driven by hand: made with a release in slot a, switched on, run to its rest, rebooted.
//!
//! The steps are here once. `Device::switch_on` (life.rs) starts a machine that takes them by itself and may outlive
//! whoever made it, for the demonstration; a test that kills between two steps, lets an agent stay dead or sets its
//! clock takes them itself:
//!
//! ```no_run
//! # fn demo(plant: &holdfast_tests::plant::Plant, image: &std::path::Path) -> anyhow::Result<()> {
//! use holdfast_tests::agent::{Image, agent_config};
//! let device = plant.device("SN-1", "primehub", &agent_config(""))?;
//! device.put_release(plant, "primehub", "1", image)?; // release 1 was published before
//! device.claim_and_enroll(plant, "primehub")?;
//! let rollout = plant.roll_out("primehub", "2")?;
//! let status = device.run_until_release("2")?; // runs, reboots, runs
//! # Ok(()) }
//! ```

use crate::desk::NewRelease;
use crate::plant::{Device, Plant, write};
use crate::process::{Deadline, Process, Spawn};
use crate::programs::program;
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit status of `holdfast-device run`: the device shall reboot.
pub const REBOOT: i32 = 5;
/// How long an update of a small image may take on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// An image of real firmware with its own SHA-256, in hex, as its last line: what [`agent_config`]'s health command
/// looks at.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
}

impl Image {
    /// Firmware with a checksum that holds.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn sound(firmware: &Path, into: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(firmware).with_context(|| format!("{} cannot be read", firmware.display()))?;
        let sum = holdfast_proto::Digest(Sha256::digest(&bytes).into()).to_hex();
        write(into, &[&bytes[..], sum.as_bytes(), b"\n"].concat())?;
        Ok(Self { path: into.to_owned() })
    }

    /// The same firmware with a real fault: its checksum does not hold.
    ///
    /// # Errors
    /// As [`Image::sound`].
    pub fn faulty(firmware: &Path, into: &Path) -> anyhow::Result<Self> {
        let image = Self::sound(firmware, into)?;
        let mut bytes = std::fs::read(into)?;
        bytes[1000] ^= 0xFF;
        write(into, &bytes)?;
        Ok(image)
    }
}

/// The sections of `device.toml` for two slots of one artefact `rootfs`, a one-shot boot loader and the health profile
/// `checksum`; `update` goes into `[update]`.
pub fn agent_config(update: &str) -> String {
    let check = "f=$HOLDFAST_ARTEFACT_ROOTFS; n=$HOLDFAST_LENGTH_ROOTFS; \
                 is=$(head -c $((n - 65)) $f | sha256sum | cut -c 1-64); \
                 says=$(head -c $n $f | tail -c 65 | head -c 64); \
                 test $is = $says || { echo checksum is $is, the image says $says; exit 1; }";
    format!(
        "event_log = \"boot/eventlog\"\n\
         [slots]\ninstaller = \"ab_slot\"\na = {{ rootfs = \"slots/a.img\" }}\nb = {{ rootfs = \"slots/b.img\" }}\n\
         [boot]\nkind = \"fake\"\nstyle = \"one_shot\"\n\
         [update]\npoll_min_s = 1\npoll_max_s = 2\n{update}\n\
         [health.checksum]\ncommands = [[\"sh\", \"-c\", \"{check}\"]]\ndeadline_s = 30\n"
    )
}

impl Plant {
    /// Publishes a release of one artefact `rootfs` with the health profile `checksum`.
    ///
    /// # Errors
    /// When a command fails.
    pub fn publish_image(&self, hardware: &str, release: &str, image: &Image) -> anyhow::Result<()> {
        self.publish_release(&NewRelease {
            hardware,
            release,
            version: release,
            image: &image.path,
            security_counter: Some(1),
            health_profile: Some("checksum"),
        })
    }

    /// Drafts and starts a rollout to every device of the hardware, in one phase; its id.
    ///
    /// # Errors
    /// When a command fails.
    pub fn roll_out(&self, hardware: &str, release: &str) -> anyhow::Result<String> {
        let plan = ["rollout", "plan", "--hardware", hardware, "--release", release, "--phase", "rest"];
        let drafted = self.json("release-manager", &plan)?;
        let id = drafted["id"].as_str().context("the rollout has no id")?;
        self.well("operator", &["rollout", "start", "--id", id])?;
        Ok(id.to_owned())
    }

    /// The assignments of a rollout, as the service tells them.
    ///
    /// # Errors
    /// When the command fails.
    pub fn assignments(&self, rollout: &str) -> anyhow::Result<Vec<Value>> {
        let told = self.json("viewer", &["rollout", "assignments", "--rollout", rollout])?;
        Ok(told.as_array().cloned().unwrap_or_default())
    }
}

impl Device {
    /// The line's work: a published release into slot a, keys, and the record for the claim.
    ///
    /// # Errors
    /// When the device refuses the manifest.
    pub fn put_release(
        &self,
        plant: &Plant,
        hardware: &str,
        release: &str,
        image: &Path,
    ) -> anyhow::Result<PathBuf> {
        write(&self.folder.join("slots/a.img"), &std::fs::read(image)?)?;
        let manifest = plant.desk().join(format!("published/files/products/{hardware}/{release}.json"));
        let args = ["manufacture", "--installed", &manifest.display().to_string()];
        let said = self.run(&args)?.well(&args)?;
        let record = self.folder.join("record.json");
        write(&record, said.out.as_bytes())?;
        Ok(record)
    }

    /// Claims the device by its record, switches it on and lets it enrol.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn claim_and_enroll(&self, plant: &Plant, hardware: &str) -> anyhow::Result<()> {
        let record = self.folder.join("record.json").display().to_string();
        plant
            .well("operator", &["device", "register", &record, "--label", &format!("hardware={hardware}")])?;
        self.boot()?;
        self.run(&["enroll"])?.well(&["enroll"]).map(|_| ())
    }

    /// Power off and on; what the boot loader says of the slot that came up.
    ///
    /// # Errors
    /// When no slot boots.
    pub fn boot(&self) -> anyhow::Result<String> {
        Ok(self.run(&["boot"])?.well(&["boot"])?.out)
    }

    /// Runs the agent to its rest, rebooting when it asks for that, until `done` is true of its status.
    ///
    /// # Errors
    /// When the agent fails, or it is not done in time.
    pub fn run_until(&self, what: &str, done: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let said = self.run(&["run", "--once"])?;
            let status = self.status()?;
            match said.status {
                // 6 waits: a report may still be on its way.
                0 if done(&status["update"]) => return Ok(status),
                0 | 6 => std::thread::sleep(Duration::from_millis(100)),
                REBOOT => drop(self.boot()?),
                status => bail!("the agent ended with {status}: {}{}", said.err, said.out),
            }
            ensure!(!deadline.is_over(), "{what}: not within {PATIENCE:?}; status {status}\n{}", said.err);
        }
    }

    /// Runs until this release is committed and nothing is under way.
    ///
    /// # Errors
    /// As [`Device::run_until`].
    pub fn run_until_release(&self, release: &str) -> anyhow::Result<Value> {
        self.run_until(&format!("{} on release {release}", self.serial), |update| {
            update["release"] == release && update["state"] == "idle" && update["on_trial"] == false
        })
    }

    /// Starts the agent; its log is [`Device::agent_log`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&self) -> anyhow::Result<Process> {
        let spawn = Spawn::new(program("holdfast-device")?, self.agent_log());
        Ok(spawn.arg("run").arg("--config").arg(self.folder.join("device.toml")).start()?)
    }

    /// What every agent that [`Device::start_agent`] started has said.
    pub fn agent_log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }
}
