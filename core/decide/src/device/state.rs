//! The journal record: one state, and what is true in every state.
//!
//! A state carries the facts true in it and no others. Nothing here decides.

use super::facts::{Installed, Slot};
use holdfast_proto::manifest::Manifest;
use holdfast_proto::report::{AssignmentRef, Transfer};
use holdfast_proto::{Digest, ReleaseName};
use serde::{Deserialize, Serialize};

/// Version of [`Record`]'s shape; a record of another is not understood.
pub const RECORD_SCHEMA: u32 = 1;

/// What the journal held when the program started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// No copy was ever written: first use.
    Nothing,
    Record(Box<Record>),
    /// Something is there and cannot be read: both copies torn, or written by a newer program.
    NotUnderstood,
}

/// What the journal holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub schema: u32,
    pub standing: Standing,
    pub state: State,
}

/// What is true in every state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The highest security counter that this device committed. It governs installing, never booting.
    pub floor: u64,
    /// The slot that was committed last.
    pub slot: Slot,
    /// What stands in it.
    pub running: Installed,
    /// What the other slot holds, while it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Installed>,
    /// Releases not to be installed again, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Quarantined>,
    /// What the release under way has used up; outlives a dropped job, ends with a commit or a quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// The last assignment that came to its end here: it is not begun again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A release that failed on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantined {
    pub manifest: Digest,
    pub release: ReleaseName,
    /// The assignment under which it failed: a newer one with a higher attempt clears this.
    pub assignment: AssignmentRef,
    pub code: String,
}

/// What a release has used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    pub manifest: Digest,
    pub changes: u32,
    pub trial_boots: u32,
}

/// The end of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    pub assignment: AssignmentRef,
    pub manifest: Digest,
    pub outcome: Outcome,
}

/// How an assignment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Confirmed,
    Refused(String),
    Failed(String),
    RolledBack(String),
}

/// An assignment under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub assignment: AssignmentRef,
    pub digest: Digest,
    pub manifest: Manifest,
    /// The slot that takes it; never the one that runs.
    pub target: Slot,
    pub transfer: Transfer,
    /// How often bytes arrived or were read back wrong.
    pub wrong: u32,
}

/// How an artefact's bytes are obtained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The target already holds it.
    Present,
    /// The artefact itself.
    Full { bytes: u64 },
    /// A patch against `base`, which the running slot holds.
    Delta { base: Digest, codec: String, bytes: u64, ram_bytes: u64 },
}

/// Where the device stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum State {
    Idle,
    /// Asking the service. Never written: it permits nothing.
    Checking,
    Planning {
        job: Job,
    },
    /// `sources[artefact]` is being fetched into the target.
    Fetching {
        job: Job,
        artefact: usize,
        sources: Vec<Source>,
    },
    /// Digests are being read back from the medium.
    Verifying {
        job: Job,
    },
    Staged {
        job: Job,
    },
    /// Passed through: windows come later.
    AwaitingWindow {
        job: Job,
    },
    /// The boot loader is being told. Read back after a crash it leads to Verifying, never to a reboot.
    Arming {
        job: Job,
    },
    Rebooting {
        job: Job,
    },
    Activating {
        job: Job,
    },
    /// The new release runs. The deadline is on the boot time of `boot_id`.
    Trial {
        job: Job,
        boot_id: String,
        deadline_ms: u64,
        attempts_left: u32,
    },
    /// The trial passed; the floor in this very record is already the new one.
    Committing {
        job: Job,
    },
    Reverting {
        job: Job,
        reason: Revert,
        way: WayBack,
        detail: Option<String>,
    },
    Reverted {
        job: Job,
        reason: Revert,
        detail: Option<String>,
    },
    /// The journal was not understood, or an unknown slot is on trial: run what is known to be good, install
    /// nothing until that is written.
    Recovery {
        way: WayBack,
    },
}

/// How far leaving the running slot has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// Boots in which a reboot was ordered.
    pub reboots: u32,
    /// The boot in which the boot loader last took the order to go back, and in which the reboot was ordered.
    pub told_in: Option<String>,
}

impl WayBack {
    /// The boot loader took the order in this very boot: what is left is to boot.
    pub(crate) fn is_told_in(&self, boot_id: &str) -> bool {
        self.told_in.as_deref() == Some(boot_id)
    }

    /// The boot loader took the order, the device did boot since, and that often: it will not leave this slot.
    pub(crate) fn is_barred(&self, boot_id: &str, reboots_max: u32) -> bool {
        self.reboots >= reboots_max && self.told_in.as_deref().is_some_and(|told| told != boot_id)
    }

    /// One reboot more, ordered in this boot. A program that starts again in the same boot counts once.
    pub(crate) fn told(self, boot_id: &str) -> Self {
        let again = self.is_told_in(boot_id);
        Self { reboots: self.reboots.saturating_add(u32::from(!again)), told_in: Some(boot_id.to_owned()) }
    }
}

/// Why a release was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revert {
    HealthFailed,
    HealthTimeout,
    NoContact,
    Withdrawn,
    /// The boot loader gave up on it.
    BootFailed,
    TooManyTrialBoots,
    TooManyChanges,
    /// The boot loader could not be told to try it; it never ran.
    NotArmed,
    /// The boot loader could not be told that the release is good.
    NotCommitted,
}

/// Why an assignment is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("security counter {counter} is below the floor {floor}")]
    BelowFloor { counter: u64, floor: u64 },
    #[error("may come from counter {wanted} or later, this device is at {running}")]
    NotFromHere { wanted: u64, running: u64 },
    #[error(
        "the release failed here under attempt {attempt}; a newer assignment with a higher attempt clears it"
    )]
    Quarantined { attempt: u32 },
    #[error("made for other hardware")]
    WrongHardware,
    #[error("format {schema} of the manifest is not known")]
    UnknownSchema { schema: u32 },
    #[error("the manifest names no artefact, or one twice")]
    BadArtefacts,
    #[error("releases with containers are not installed by this device")]
    UnsupportedKind,
}

impl Refusal {
    /// Stable word for reports.
    pub fn code(self) -> &'static str {
        match self {
            Self::BelowFloor { .. } => "below-floor",
            Self::NotFromHere { .. } => "not-from-here",
            Self::Quarantined { .. } => "quarantined",
            Self::WrongHardware => "wrong-hardware",
            Self::UnknownSchema { .. } => "unknown-manifest-schema",
            Self::BadArtefacts => "bad-artefacts",
            Self::UnsupportedKind => "unsupported-kind",
        }
    }
}

impl Revert {
    /// Stable word for reports.
    pub fn code(self) -> &'static str {
        match self {
            Self::HealthFailed => "health-failed",
            Self::HealthTimeout => "health-timeout",
            Self::NoContact => "no-contact",
            Self::Withdrawn => "withdrawn",
            Self::BootFailed => "boot-failed",
            Self::TooManyTrialBoots => "too-many-trial-boots",
            Self::TooManyChanges => "too-many-changes",
            Self::NotArmed => "not-armed",
            Self::NotCommitted => "not-committed",
        }
    }

    /// Whether the release itself is to blame.
    pub fn quarantines(self) -> bool {
        !matches!(self, Self::NoContact | Self::Withdrawn | Self::NotArmed | Self::NotCommitted)
    }
}

impl State {
    /// The word of the state, as in logs and transcripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Checking => "checking",
            Self::Planning { .. } => "planning",
            Self::Fetching { .. } => "fetching",
            Self::Verifying { .. } => "verifying",
            Self::Staged { .. } => "staged",
            Self::AwaitingWindow { .. } => "awaiting-window",
            Self::Arming { .. } => "arming",
            Self::Rebooting { .. } => "rebooting",
            Self::Activating { .. } => "activating",
            Self::Trial { .. } => "trial",
            Self::Committing { .. } => "committing",
            Self::Reverting { .. } => "reverting",
            Self::Reverted { .. } => "reverted",
            Self::Recovery { .. } => "recovery",
        }
    }

    /// The assignment under way.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Idle | Self::Checking | Self::Recovery { .. } => None,
            Self::Planning { job }
            | Self::Fetching { job, .. }
            | Self::Verifying { job }
            | Self::Staged { job }
            | Self::AwaitingWindow { job }
            | Self::Arming { job }
            | Self::Rebooting { job }
            | Self::Activating { job }
            | Self::Trial { job, .. }
            | Self::Committing { job }
            | Self::Reverting { job, .. }
            | Self::Reverted { job, .. } => Some(job),
        }
    }
}

impl Job {
    /// The install record of this release.
    pub fn installed(&self) -> Installed {
        Installed {
            release: Some(self.manifest.release.clone()),
            manifest: Some(self.digest),
            security_counter: self.manifest.security_counter,
            artefacts: self.manifest.artefacts.iter().map(|a| (a.name.clone(), a.sha256)).collect(),
        }
    }
}
