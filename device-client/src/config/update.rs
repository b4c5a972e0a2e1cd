//! The sections of `device.toml` that say how this device is updated.

use holdfast_decide::device::{Activation, BootKind, CommitGate, Policy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `[slots]`: where releases are installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "installer", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Slots {
    /// A place for each artefact in each of two slots: block devices, or files.
    AbSlot { a: BTreeMap<String, PathBuf>, b: BTreeMap<String, PathBuf> },
    /// Two versions below a folder, and the symlink `current` that names the one to run.
    File { folder: PathBuf },
}

/// `[boot]`: who starts a slot.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Boot {
    /// A boot loader in a folder, for demonstrations and tests: `holdfast-device boot` is the power button.
    Fake {
        #[serde(default = "boot_folder")]
        folder: PathBuf,
        #[serde(default)]
        style: FakeStyle,
        /// Boots that `counted` grants.
        #[serde(default = "three")]
        tries: u32,
    },
}

/// Which real boot loaders the fake behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FakeStyle {
    /// EFI BootNext.
    #[default]
    OneShot,
    /// systemd-boot, GRUB, U-Boot: a counter that each boot lowers.
    Counted,
}

/// `[update]`: what the owner decides. Everything has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Update {
    /// RAM that applying a delta may take.
    ram_bytes: u64,
    poll_min_s: u64,
    poll_max_s: u64,
    trial_boots: u32,
    trial_s: u64,
    commit_gate: Gate,
    /// For the gates that ask for the service: within so many seconds of the trial's start.
    contact_within_s: u64,
    /// Bytes that releases may take over the link in 30 days; absent: as many as they need.
    pub(crate) monthly_bytes: Option<u64>,
    /// Bytes a second of a download, at most; absent: as fast as it comes.
    pub(crate) rate_bytes_per_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Gate {
    #[default]
    LocalHealth,
    ServerContact,
    Both,
}

/// `[health.NAME]`: the commands behind a health profile's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthProfile {
    /// Each a program and its arguments; all must end with 0.
    pub(crate) commands: Vec<Vec<String>>,
    /// Seconds for all of it, stability included.
    #[serde(default = "minute")]
    pub(crate) deadline_s: u64,
    /// A command that fails is asked again for so many seconds.
    #[serde(default)]
    pub(crate) patience_s: u64,
    /// Seconds that it must stay well: then everything is asked once more.
    #[serde(default)]
    pub(crate) stability_s: u64,
}

impl Default for Update {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            ram_bytes: policy.ram_bytes,
            poll_min_s: policy.poll_min_ms / 1000,
            poll_max_s: policy.poll_max_ms / 1000,
            trial_boots: policy.trial_boots,
            trial_s: policy.trial_ms / 1000,
            commit_gate: Gate::LocalHealth,
            contact_within_s: 600,
            monthly_bytes: None,
            rate_bytes_per_s: None,
        }
    }
}

impl Update {
    /// What a device cannot live with: polls without a pause, trials that end before they began.
    pub(super) fn check(&self) -> Result<(), String> {
        let numbers = [
            ("poll_min_s", self.poll_min_s),
            ("trial_boots", self.trial_boots.into()),
            ("trial_s", self.trial_s),
        ];
        match numbers.iter().find(|(_, number)| *number == 0) {
            Some((name, _)) => Err(format!("[update] {name} = 0: give at least 1, or leave it out")),
            None => Ok(()),
        }
    }

    /// The machine's policy.
    pub(crate) fn policy(&self, activation: Activation, hardware: &str, jitter_seed: u64) -> Policy {
        let within_ms = self.contact_within_s.saturating_mul(1000);
        Policy {
            activation,
            commit_gate: match self.commit_gate {
                Gate::LocalHealth => CommitGate::LocalHealth,
                Gate::ServerContact => CommitGate::ServerContact { within_ms },
                Gate::Both => CommitGate::Both { within_ms },
            },
            hardware: hardware.to_owned(),
            ram_bytes: self.ram_bytes,
            trial_boots: self.trial_boots,
            trial_ms: self.trial_s.saturating_mul(1000),
            poll_min_ms: self.poll_min_s.saturating_mul(1000),
            poll_max_ms: self.poll_max_s.saturating_mul(1000),
            jitter_seed,
            ..Policy::default()
        }
    }
}

impl Slots {
    /// Paths relative to the configuration's folder become whole.
    pub(super) fn resolve(&mut self, base: &Path) {
        match self {
            Self::AbSlot { a, b } => {
                a.values_mut().chain(b.values_mut()).for_each(|path| *path = base.join(&*path));
            }
            Self::File { folder } => *folder = base.join(&*folder),
        }
    }
}

impl Boot {
    pub(super) fn resolve(&mut self, base: &Path) {
        let Self::Fake { folder, .. } = self;
        *folder = base.join(&*folder);
    }
}

impl FakeStyle {
    pub(crate) fn kind(self, tries: u32) -> BootKind {
        match self {
            Self::OneShot => BootKind::OneShot,
            Self::Counted => BootKind::Counted(tries.max(1)),
        }
    }
}

fn boot_folder() -> PathBuf {
    "boot".into()
}

fn three() -> u32 {
    3
}

fn minute() -> u64 {
    60
}
