//! Why metadata, or something that it signs, is not believed.

use super::step::SourceError;

/// A refusal. [`TufError::code`] is stable and goes into reports.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    #[error("{name} could not be fetched")]
    Source { name: String, source: SourceError },
    #[error("{name} could not be stored")]
    Store { name: String, source: SourceError },
    #[error("{name} is not there")]
    Absent { name: String },
    #[error("{name} has {actual} bytes, at most {limit} are taken")]
    TooLong { name: String, actual: u64, limit: u64 },
    #[error("{name} was refused")]
    Metadata { name: String, source: sigstore_tuf::Error },
    #[error("{name} is malformed: {why}")]
    Malformed { name: String, why: String },
    #[error("the role {role} lists one public key under two key ids ({first}, {second})")]
    KeyTwice { role: String, first: String, second: String },
    #[error("{role} went back from version {trusted} to {offered}")]
    Rollback { role: String, trusted: u64, offered: u64 },
    #[error(
        "the clock says {clock}, the newest signed time is {signed}, the root ends at {root_expires}: the clock is ahead"
    )]
    ClockAhead { clock: i64, signed: i64, root_expires: i64 },
    #[error("no role that may name {path} does")]
    NotListed { path: String },
    #[error("{path}: {what} is {actual}, signed metadata says {expected}")]
    Differs { path: String, what: &'static str, expected: String, actual: String },
    #[error("the assignment is for {actual}, this device is {expected}")]
    OtherDevice { expected: String, actual: String },
    #[error(
        "the assignment has sequence {epoch}/{sequence}, this device has seen {seen_epoch}/{seen_sequence}"
    )]
    OldAssignment { epoch: u64, sequence: u64, seen_epoch: u64, seen_sequence: u64 },
    #[error("the assignment is of key epoch {actual}, keys/assignment.json is of {expected}")]
    OtherEpoch { expected: u64, actual: u64 },
    #[error("the release is for {actual:?}, this device is {expected}")]
    OtherHardware { expected: String, actual: Vec<String> },
    #[error("the channel {channel} does not list {path} as the product role does")]
    NotInChannel { channel: String, path: String },
    #[error("the release has security counter {counter}, this device's floor is {floor}")]
    BelowFloor { counter: u64, floor: u64 },
    #[error("the release may be installed over a floor of at least {minimum}, this device's is {floor}")]
    FloorTooLow { minimum: u64, floor: u64 },
    #[error("the release has no artefact {name}")]
    NoArtefact { name: String },
    #[error("the walk asked for {asked}, and was given {answer}")]
    OutOfTurn { answer: String, asked: String },
    #[error("no cryptographic provider is installed")]
    NoProvider,
    #[error(
        "both copies of the trust state are unreadable: this device was initialised before and does not begin again by itself"
    )]
    StateLost,
}

impl TufError {
    /// Stable, kebab-case.
    pub fn code(&self) -> &'static str {
        use sigstore_tuf::Error as E;
        match self {
            Self::Source { .. } => "metadata-unreachable",
            Self::Store { .. } => "metadata-not-stored",
            Self::Absent { .. } => "metadata-absent",
            Self::TooLong { .. } => "metadata-too-long",
            Self::Metadata { source, .. } => match source {
                E::Expired { .. } => "metadata-expired",
                E::Rollback { .. } | E::BadRootVersion { .. } => "metadata-rollback",
                E::ThresholdNotMet { .. } | E::DuplicateSignature { .. } => "metadata-unsigned",
                E::IntegrityMismatch(_) => "metadata-mismatch",
                _ => "metadata-malformed",
            },
            Self::Malformed { .. } => "metadata-malformed",
            Self::KeyTwice { .. } => "metadata-key-twice",
            Self::Rollback { .. } => "metadata-rollback",
            Self::ClockAhead { .. } => "clock-ahead",
            Self::NotListed { .. } => "not-signed",
            Self::Differs { .. } => "target-mismatch",
            Self::OtherDevice { .. } => "assignment-other-device",
            Self::OldAssignment { .. } => "assignment-old",
            Self::OtherHardware { .. } => "other-hardware",
            Self::NotInChannel { .. } => "not-in-channel",
            Self::BelowFloor { .. } => "below-floor",
            Self::FloorTooLow { .. } => "floor-too-low",
            Self::OtherEpoch { .. } => "assignment-other-epoch",
            Self::NoArtefact { .. } => "no-artefact",
            Self::OutOfTurn { .. } => "out-of-turn",
            Self::NoProvider => "no-provider",
            Self::StateLost => "trust-state-lost",
        }
    }

    /// True when trying again later may help, with nothing of what was said being wrong.
    pub fn is_transport(&self) -> bool {
        matches!(self, Self::Source { .. })
    }
}
