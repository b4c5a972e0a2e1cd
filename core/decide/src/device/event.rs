//! Events (facts in the past) and effects (imperatives).

use super::facts::{Assigned, Slot};
use super::state::{Record, Source};
use holdfast_proto::Digest;
use holdfast_proto::manifest::{Artefact, Manifest};
use holdfast_proto::report::{AssignmentRef, Progress, Transfer};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A deadline of [`super::Machine::poll_timeout`] may have passed.
    TimePassed,
    /// A person, or the local socket, asks for a check now.
    CheckWanted,
    /// Answer to [`Effect::FetchMetadata`]. `assigned` is what the service says or confirms now.
    Checked {
        assigned: Option<Box<Assigned>>,
        poll_after_ms: u64,
    },
    CheckFailed(CheckFailure),
    /// Mutual TLS with the service was done, whatever it answered.
    Contacted,
    /// Answers to [`Effect::RecoverIdentity`].
    IdentityRecovered,
    IdentityNotRecovered {
        retry_after_ms: Option<u64>,
    },
    /// Answer to [`Effect::Survey`].
    Surveyed(Survey),
    /// The survey itself failed (the medium cannot be read).
    SurveyFailed {
        detail: String,
    },
    /// Answers to [`Effect::MarkSlotBad`].
    SlotMarkedBad,
    SlotNotMarkedBad {
        detail: String,
    },
    /// Answer to [`Effect::Fetch`].
    FetchEnded(Fetched),
    /// Answers to [`Effect::Verify`].
    Verified,
    /// The medium holds other bytes than were written.
    VerifyFailed {
        detail: String,
    },
    /// Answers to [`Effect::Arm`] and [`Effect::Activate`].
    Armed,
    ArmFailed {
        detail: String,
    },
    Activated,
    ActivateFailed {
        detail: String,
    },
    /// Answer to [`Effect::RunHealth`].
    HealthEnded(HealthVerdict),
    /// Answers to [`Effect::MarkGood`].
    MarkedGood,
    NotMarkedGood {
        detail: String,
    },
    /// Answers to [`Effect::Revert`].
    RevertDone,
    RevertFailed {
        detail: String,
    },
}

/// Why a check brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFailure {
    /// No contact.
    Offline,
    /// The service asks to come later (429, 503).
    Busy { retry_after_ms: Option<u64> },
    /// The certificate expired: identity must be recovered first.
    CertificateExpired,
    /// Signed metadata was refused (expired timestamp, rollback, bad signature): nothing of it is believed.
    Metadata { code: String },
    /// The clock is ahead of every signed time: nothing is stored until it is corrected.
    ClockAhead,
    /// The service refused the request (a problem code).
    Refused { code: String },
}

/// What the device and the service have for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Bytes that installing may take, the journal's reserve already subtracted; None where slots are preallocated.
    pub free_bytes: Option<u64>,
    /// One per artefact of the manifest, in its order.
    pub artefacts: Vec<ArtefactSurvey>,
}

/// What there is for one artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtefactSurvey {
    /// The installer has no place of this name.
    pub unknown_name: bool,
    /// The target holds exactly this artefact.
    pub present: bool,
    /// Bytes that the place can hold; None where it grows.
    pub room_bytes: Option<u64>,
    /// Digest of the running slot's artefact of this name, read from the medium.
    pub base: Option<Digest>,
    /// Signed deltas to this artefact from any base.
    pub deltas: Vec<DeltaOffer>,
}

/// A delta that signed metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaOffer {
    pub base: Digest,
    pub output: Digest,
    pub codec: String,
    pub bytes: u64,
    pub ram_bytes: u64,
}

/// How a fetch ended, and what it moved this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub bytes: u64,
    pub end: FetchEnd,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchEnd {
    /// The artefact is whole on the medium, its digest right as written.
    Whole,
    /// `until_ms` came first; what is there stays, the next fetch goes on from the last verified block.
    Yielded,
    Failed(FetchFailure),
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchFailure {
    /// The link broke, or the service asks to wait. What is there stays.
    Offline {
        retry_after_ms: Option<u64>,
    },
    /// 404 or 410.
    Gone,
    /// A patch that does not apply, or gives other bytes than the manifest names.
    DeltaBad {
        detail: String,
    },
    /// Bytes that are not the artefact's.
    DigestMismatch {
        detail: String,
    },
    NoSpace {
        detail: String,
    },
    /// The medium failed.
    Storage {
        detail: String,
    },
}

/// What the health profile said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthVerdict {
    Passed,
    Failed { detail: String },
    TimedOut { detail: String },
}

/// What to do. Those marked (answer) are under way until their event comes; the others have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the record durable before taking the next effect. If that fails, stop the program.
    Persist(Box<Record>),
    /// (answer) Ask the service for its state and walk the metadata.
    FetchMetadata,
    /// (answer) Run the recovery of docs/protocol.md.
    RecoverIdentity,
    /// (answer) See what is there for this release: space, base digests, deltas.
    Survey { manifest: Box<Manifest>, target: Slot },
    /// (answer) The boot loader shall not boot this slot, neither once nor by default.
    MarkSlotBad { slot: Slot },
    /// (answer) Bring an artefact into the target slot; stop at `until_ms` of CLOCK_BOOTTIME.
    Fetch { artefact: Artefact, source: Source, target: Slot, until_ms: u64 },
    /// (answer) Read every artefact back from the medium; if right, write the slot's install record.
    Verify { manifest: Box<Manifest>, digest: Digest, target: Slot },
    /// (answer) The next boot shall try this slot.
    Arm { slot: Slot },
    /// (answer: a start of the program) Reboot now.
    Reboot,
    /// (answer) Swap the running version.
    Activate { slot: Slot },
    /// (answer) Run the release's health profile; give up at `deadline_ms` of CLOCK_BOOTTIME.
    RunHealth { profile: Option<String>, deadline_ms: u64 },
    /// (answer) Tell the boot loader that this slot is good, and read that back.
    MarkGood { slot: Slot },
    /// (answer) This slot is the one to run; the other is not to be tried. May be repeated.
    Revert { to: Slot },
    /// Queue a report, durably.
    Report(Box<ReportFacts>),
    /// Write a line to the log.
    Note(Note),
}

/// What a report shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFacts {
    pub assignment: Option<AssignmentRef>,
    pub progress: Progress,
    pub transfer: Option<Transfer>,
    pub detail: Option<String>,
    /// Whether a quote over the service's nonce belongs in it.
    pub evidence: bool,
}

/// A fact for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An event that does not fit the state; nothing was done.
    Unfitting {
        state: &'static str,
        event: &'static str,
    },
    CheckFailed(CheckFailure),
    /// An assignment was dropped, or not begun, and why.
    NotInstalled {
        code: String,
    },
    QuarantineCleared {
        manifest: Digest,
    },
    Quarantined {
        manifest: Digest,
        code: String,
    },
    DeltaGivenUp {
        detail: String,
    },
    Failed {
        what: &'static str,
        detail: String,
    },
    JournalNotUnderstood,
    /// The committed slot did not boot; another runs.
    FellBack {
        expected: Slot,
        booted: Slot,
    },
}
