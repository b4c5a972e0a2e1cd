//! One device's assignment: its states, and what a report makes of it.
//!
//! Here: the transition that a report permits. Not here: whether the report is genuine (`holdfast-trust`), what the
//! fleet does about it (`plan`).
//! Invariant: Confirmed is reached only from an armed state and only with the evidence that policy demands.

use super::model::{AssignmentRow, Policy, Purpose, RolloutState};
use holdfast_proto::api::rollout::EvidenceLevel;
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::Progress;
use std::fmt;

/// Code of [`AssignmentState::Failed`] for a device that armed and was not heard of again.
pub const LOST: &str = "lost";
/// Code of a device that went back because its assignment was withdrawn.
const WITHDRAWN: &str = "withdrawn";
/// Bytes of a code that is kept of a device's report.
const CODE_MAX_BYTES: usize = 64;

/// Where a device stands with its assignment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssignmentState {
    Pending,
    Offered,
    Accepted,
    Fetching,
    Staged,
    Arming,
    Trial,
    Confirmed,
    RolledBack { code: String },
    Refused { code: String },
    Failed { code: String },
    LeaseExpired,
    Withdrawn { code: String },
    Dormant { code: String },
}

/// What a report changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// `None`: the report is true and changes nothing.
    pub to: Option<AssignmentState>,
    /// When it first armed, as the row shall say from now on.
    pub armed_at: Option<i64>,
    /// A device did what it must not: the report stands as a fact, and somebody should look.
    pub alarm: Option<Alarm>,
}

/// What a device must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alarm {
    ArmedWithoutLease,
    ArmedWhilePaused,
    ArmedAfterWithdrawal,
}

/// Why a report changes nothing and is told so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it ended as {state}, a report of {word} comes too late")]
    AlreadyEnded { state: String, word: &'static str },
    #[error("it is {state}: a confirmation comes after Arming")]
    NotArmed { state: String },
    #[error("evidence is {have:?}, policy wants {need:?}")]
    EvidenceTooLow { have: Option<EvidenceLevel>, need: EvidenceLevel },
    #[error("its lease is over, it must wait for a new offer")]
    LeaseOver,
}

use AssignmentState as S;

impl AssignmentState {
    /// Its stable word, as the database stores it beside [`Self::code`].
    pub fn name(&self) -> &'static str {
        match self {
            S::Pending => "Pending",
            S::Offered => "Offered",
            S::Accepted => "Accepted",
            S::Fetching => "Fetching",
            S::Staged => "Staged",
            S::Arming => "Arming",
            S::Trial => "Trial",
            S::Confirmed => "Confirmed",
            S::RolledBack { .. } => "RolledBack",
            S::Refused { .. } => "Refused",
            S::Failed { .. } => "Failed",
            S::LeaseExpired => "LeaseExpired",
            S::Withdrawn { .. } => "Withdrawn",
            S::Dormant { .. } => "Dormant",
        }
    }

    /// The code of a state that has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            S::RolledBack { code } | S::Refused { code } | S::Failed { code } | S::Withdrawn { code } => {
                Some(code)
            }
            S::Dormant { code } => Some(code),
            _ => None,
        }
    }

    /// Reads what [`Self::name`] and [`Self::code`] wrote.
    pub fn parse(name: &str, code: Option<&str>) -> Option<Self> {
        let code = || code.unwrap_or_default().to_owned();
        Some(match name {
            "Pending" => S::Pending,
            "Offered" => S::Offered,
            "Accepted" => S::Accepted,
            "Fetching" => S::Fetching,
            "Staged" => S::Staged,
            "Arming" => S::Arming,
            "Trial" => S::Trial,
            "Confirmed" => S::Confirmed,
            "RolledBack" => S::RolledBack { code: code() },
            "Refused" => S::Refused { code: code() },
            "Failed" => S::Failed { code: code() },
            "LeaseExpired" => S::LeaseExpired,
            "Withdrawn" => S::Withdrawn { code: code() },
            "Dormant" => S::Dormant { code: code() },
            _ => return None,
        })
    }

    /// Offered and not yet arming: it may still be withdrawn or superseded.
    pub fn is_unarmed(&self) -> bool {
        matches!(self, S::Pending | S::Offered | S::Accepted | S::Fetching | S::Staged)
    }

    /// Arming or in trial.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, S::Arming | S::Trial)
    }

    /// The device holds it now: at most one such row a device.
    pub fn is_active(&self) -> bool {
        self.is_unarmed() || self.is_in_flight()
    }

    /// Over for the service's part, though the device may not have heard: it never armed by our books.
    fn is_let_go(&self) -> bool {
        matches!(self, S::LeaseExpired | S::Withdrawn { .. } | S::Dormant { .. })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.code() == Some(LOST) && matches!(self, S::Failed { .. })
    }
}

impl fmt::Display for AssignmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{}({code})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// What the served envelope says of an assignment.
pub fn word_for(rollout: RolloutState, row: &AssignmentRow) -> AssignmentWord {
    use RolloutState as R;
    match (&row.state, rollout, row.purpose) {
        (S::Withdrawn { .. }, _, _) => AssignmentWord::Withdrawn,
        (S::LeaseExpired | S::Dormant { .. }, _, _) => AssignmentWord::Paused,
        (
            state,
            R::RollingBack | R::RolledBack | R::Cancelled | R::Superseded | R::Rejected,
            Purpose::Forward,
        ) if state.is_unarmed() => AssignmentWord::Withdrawn,
        (state, R::Paused(_), _) if state.is_unarmed() => AssignmentWord::Paused,
        _ => AssignmentWord::Active,
    }
}

/// What a genuine report about this very assignment makes of it. The caller checked signature, sequence number,
/// device, (epoch, sequence, attempt) and the evidence's level; `now` is when it came in.
pub fn advance(
    row: &AssignmentRow,
    progress: &Progress,
    evidence: Option<EvidenceLevel>,
    rollout: RolloutState,
    policy: &Policy,
    now: i64,
) -> Result<Transition, Refused> {
    let to = match progress {
        Progress::Idle => return Ok(stay(row)),
        Progress::Accepted => S::Accepted,
        Progress::Fetching => S::Fetching,
        Progress::Staged => S::Staged,
        Progress::Arming => S::Arming,
        Progress::Trial => S::Trial,
        Progress::Confirmed => S::Confirmed,
        Progress::RolledBack { code } => S::RolledBack { code: tidy(code) },
        Progress::Refused { code } => S::Refused { code: tidy(code) },
        Progress::Failed { code } => S::Failed { code: tidy(code) },
    };
    if row.state == to {
        return Ok(stay(row));
    }
    let from = &row.state;
    // Post-commit health: a confirmed device may still say that it failed; nothing else moves what has ended.
    let ended = matches!(from, S::Confirmed | S::RolledBack { .. } | S::Refused { .. } | S::Failed { .. });
    let relapse = *from == S::Confirmed && matches!(to, S::RolledBack { .. } | S::Failed { .. });
    if ended && !relapse {
        return Err(Refused::AlreadyEnded { state: from.to_string(), word: to.name() });
    }
    match to {
        S::Accepted | S::Fetching | S::Staged if from.is_let_go() => Err(Refused::LeaseOver),
        // It saw the withdrawal in trial and went back, as it must.
        S::RolledBack { code } if code == WITHDRAWN && matches!(from, S::Withdrawn { .. }) => Ok(stay(row)),
        // A re-validation after a power cut reports an earlier step: by our books it stays armed.
        S::Accepted | S::Fetching | S::Staged if from.is_in_flight() => Ok(stay(row)),
        S::Confirmed => confirm(row, evidence, policy),
        // It said that it would not install, after it had armed: that is a failure.
        S::Refused { code } if row.armed_at.is_some() => Ok(go(S::Failed { code }, row.armed_at, None)),
        S::Arming | S::Trial | S::RolledBack { .. } => {
            let alarm = row.armed_at.is_none().then(|| unlicensed(row, rollout, now)).flatten();
            Ok(go(to, row.armed_at.or(Some(now)), alarm))
        }
        other => Ok(go(other, row.armed_at, None)),
    }
}

fn confirm(
    row: &AssignmentRow,
    evidence: Option<EvidenceLevel>,
    policy: &Policy,
) -> Result<Transition, Refused> {
    if row.armed_at.is_none() {
        return Err(Refused::NotArmed { state: row.state.to_string() });
    }
    if evidence < Some(policy.min_evidence) {
        return Err(Refused::EvidenceTooLow { have: evidence, need: policy.min_evidence });
    }
    Ok(go(S::Confirmed, row.armed_at, None))
}

/// What forbade arming, by our books. The report may come late: an alarm is a hint, not a verdict.
fn unlicensed(row: &AssignmentRow, rollout: RolloutState, now: i64) -> Option<Alarm> {
    match word_for(rollout, row) {
        AssignmentWord::Withdrawn => Some(Alarm::ArmedAfterWithdrawal),
        AssignmentWord::Paused if row.state.is_unarmed() => Some(Alarm::ArmedWhilePaused),
        _ if now > row.lease_until => Some(Alarm::ArmedWithoutLease),
        AssignmentWord::Active | AssignmentWord::Paused => None,
    }
}

fn stay(row: &AssignmentRow) -> Transition {
    Transition { to: None, armed_at: row.armed_at, alarm: None }
}

fn go(to: AssignmentState, armed_at: Option<i64>, alarm: Option<Alarm>) -> Transition {
    Transition { to: Some(to), armed_at, alarm }
}

/// A device's code, bounded and printable; [`LOST`] is the service's own word.
fn tidy(code: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let code: String = code.chars().map(|c| if plain(c) { c } else { '_' }).take(CODE_MAX_BYTES).collect();
    match code.as_str() {
        "" => "unspecified".to_owned(),
        LOST => "lost-by-its-own-word".to_owned(),
        _ => code,
    }
}
