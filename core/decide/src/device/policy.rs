//! What the owner of a device may decide about its updates.

use serde::{Deserialize, Serialize};

/// Configuration of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub activation: Activation,
    pub commit_gate: CommitGate,
    /// Hardware id of this device; a manifest must name it.
    pub hardware: String,
    /// RAM that applying a delta may take, bytes.
    pub ram_bytes: u64,
    /// Trial boots that one release gets before it is quarantined.
    pub trial_boots: u32,
    /// State changes that one release gets before it is quarantined. Answers: a release that loops.
    pub max_changes: u32,
    /// How often an artefact that arrived whole but wrong is fetched again.
    pub digest_retries: u32,
    /// Longest trial, milliseconds, health commands included.
    pub trial_ms: u64,
    /// Shortest and longest time between polls, milliseconds.
    pub poll_min_ms: u64,
    pub poll_max_ms: u64,
    /// Spreads retries of a fleet; any number of this device's own.
    pub jitter_seed: u64,
}

/// How a staged release begins to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// By a reboot into the other slot.
    Reboot(BootKind),
    /// By a swap in the running system (installer `file`).
    Swap,
}

/// What the boot loader can do for a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootKind {
    /// Boots the new slot once (EFI BootNext): any further boot is of the old slot.
    OneShot,
    /// Boots the new slot at most n times before it falls back.
    Counted(u32),
}

/// What must hold before a trial is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitGate {
    /// The health profile passed. An outage of the service never rolls a good release back.
    #[default]
    LocalHealth,
    /// The service was reached within this time of the start of the trial.
    ServerContact { within_ms: u64 },
    /// Both.
    Both { within_ms: u64 },
}

impl CommitGate {
    pub(crate) fn wants_health(self) -> bool {
        !matches!(self, Self::ServerContact { .. })
    }

    pub(crate) fn wants_contact_within_ms(self) -> Option<u64> {
        match self {
            Self::LocalHealth => None,
            Self::ServerContact { within_ms } | Self::Both { within_ms } => Some(within_ms),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            activation: Activation::Reboot(BootKind::OneShot),
            commit_gate: CommitGate::LocalHealth,
            hardware: String::new(),
            ram_bytes: 8 << 20,
            trial_boots: 3,
            max_changes: 100,
            digest_retries: 2,
            trial_ms: 10 * 60_000,
            poll_min_ms: 5_000,
            poll_max_ms: 6 * 3_600_000,
            jitter_seed: 0,
        }
    }
}
