//! Facts that adapters tell the machine: time, what booted, what is assigned.

use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::manifest::Manifest;
use holdfast_proto::report::AssignmentRef;
use holdfast_proto::{Digest, ReleaseName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The instant of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_BOOTTIME, milliseconds: runs through suspend, starts again at each boot. Every deadline is on it.
    pub boottime_ms: u64,
    /// What is known of the time of day.
    pub wall: Wall,
}

/// The time of day, as far as it can be believed. Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    /// Nothing is known (a clock of 1970).
    Unset,
    /// Not earlier than this: build time or signed time.
    Floor(i64),
    /// The kernel says that its clock is synchronised.
    Synchronised(i64),
}

/// An instant on CLOCK_BOOTTIME of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    pub boottime_ms: u64,
}

/// One of two places that a release can stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// The place that this one leaves free.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What a slot holds, by its install record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// None for what the factory put there without a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    pub security_counter: u64,
    /// Digests of the artefacts, by name.
    pub artefacts: BTreeMap<String, Digest>,
}

/// How this start of the program found the device. A restart is an event like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The kernel's boot id: the same when only the program restarted.
    pub boot_id: String,
    /// Which slot runs.
    pub slot: Slot,
    /// The boot loader has not been told that the running slot is good.
    pub on_trial: bool,
    /// Boots that the boot loader still grants the other slot; None where it does not count or it is not armed.
    pub other_tries: Option<u32>,
    /// Install record of the running slot.
    pub running: Option<Installed>,
    /// Install record of the other slot.
    pub other: Option<Installed>,
}

/// An assignment that was verified: threshold, device id, expiry, channel and product agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub reference: AssignmentRef,
    pub word: AssignmentWord,
    /// How long each confirmation lets the device arm, from its receipt.
    pub lease_ms: u64,
    /// SHA-256 of the manifest's bytes.
    pub digest: Digest,
    pub manifest: Manifest,
}
