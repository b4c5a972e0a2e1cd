//! What the planner reads and writes: rows as the service stores them, and nothing that needs a database.

use super::assignment::AssignmentState;
use crate::access::{Selector, device_label};
use crate::limits::PHASES_MAX;
use holdfast_proto::api::device::DeviceState;
use holdfast_proto::api::rollout::EvidenceLevel;
use holdfast_proto::{DeviceId, ReleaseName, RolloutId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Everything that one run of the planner looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanInput {
    pub rollouts: Vec<RolloutRow>,
    /// Devices that any of these rollouts may concern.
    pub devices: Vec<DeviceRow>,
    /// Assignments of these rollouts, ended ones included.
    pub assignments: Vec<AssignmentRow>,
    /// Releases that these rollouts bring, and those that devices came from.
    pub releases: Vec<ReleaseRow>,
}

/// A release, as far as the planner must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    pub hardware: String,
    pub release: ReleaseName,
    pub security_counter: u64,
    pub min_counter_from: Option<u64>,
    pub allow_downgrade_from: Option<u64>,
    /// Listed by a channel now; a yanked one is offered to nobody.
    pub listed: bool,
}

/// A device, as far as the planner must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub id: DeviceId,
    pub hardware: String,
    pub site: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub state: DeviceState,
    /// By its newest report.
    pub running: Option<ReleaseName>,
    /// By its newest report: the highest security counter that it committed.
    pub floor: u64,
    pub last_seen: Option<i64>,
    pub joined_at: i64,
}

/// One attempt of one device at one release. `(device, epoch, sequence)` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentRow {
    pub device: DeviceId,
    pub rollout: RolloutId,
    pub purpose: Purpose,
    pub release: ReleaseName,
    pub from_release: Option<ReleaseName>,
    pub phase: u32,
    pub epoch: u64,
    pub sequence: u64,
    pub attempt: u32,
    pub state: AssignmentState,
    pub offered_at: i64,
    /// When the lease ends; each confirmed poll moves it to `now + lease_s`.
    pub lease_until: i64,
    /// When it first armed, if it did.
    pub armed_at: Option<i64>,
    /// When it came into `state`.
    pub since: i64,
    pub evidence: Option<EvidenceLevel>,
}

/// Why a device was given a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// The rollout's own release.
    Forward,
    /// The one before it, since the rollout was rolled back.
    Rollback,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRow {
    pub id: RolloutId,
    pub hardware: String,
    pub release: ReleaseName,
    pub cohort: Cohort,
    pub phases: Vec<PhasePlan>,
    pub policy: Policy,
    /// The higher one gets the device; equal ones: who holds it keeps it.
    pub priority: i32,
    pub author: String,
    pub approval: Approval,
    /// Not before this.
    pub start_at: Option<i64>,
    /// Every delta that it waits for is built or declined.
    pub deltas_ready: bool,
    pub state: RolloutState,
    /// Why it is in `state`, in words.
    pub reason: Option<String>,
    /// Place in `phases`.
    pub phase: u32,
    pub stage: Stage,
    pub phase_since: i64,
    pub stage_since: i64,
    /// When an operator last resumed it: what failed before was seen and stays in view, but stops it no more.
    pub resumed_at: Option<i64>,
    pub created_at: i64,
}

/// Which devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    pub selector: Selector,
    pub membership: Membership,
}

/// Who is in a cohort over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// Whoever matches now; late joiners are in.
    Live,
    /// Whoever matches now and had joined when the rollout was made.
    LiveWithoutLateJoiners,
    /// Whoever matches when it begins to run, from then on: the planner asks for the list to be stored.
    ToFreeze,
    Frozen(BTreeSet<DeviceId>),
}

/// One phase as ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhasePlan {
    pub size: PhaseSize,
    pub soak_s: u64,
    pub max_failures: Option<u32>,
}

/// How many devices a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseSize {
    Count(u32),
    /// Of the cohort, rounded up, at least one.
    Percent(u32),
    Rest,
}

/// What a rollout is held to.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub max_failure_rate: f64,
    pub lost_after_s: u64,
    pub lease_s: u64,
    /// An unarmed device that gets nowhere for so long is dormant.
    pub stall_after_s: u64,
    /// Attempts within a phase before a device whose leases run out is dormant.
    pub max_attempts: u32,
    pub min_evidence: EvidenceLevel,
    pub rate: Option<Rate>,
    pub budget: Option<Budget>,
}

/// How fast offers are made: `base × factor` per so many successes, capped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub base_per_minute: u32,
    pub factor: f64,
    pub per_successes: u32,
    pub max_per_minute: u32,
}

/// At most so many devices of one value of `label` under way or lost at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub label: String,
    pub max_disrupted: u32,
}

/// Whether another than the author must say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    NotNeeded,
    Needed,
    GivenBy(String),
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RolloutState {
    Draft,
    Validating,
    AwaitingApproval,
    Scheduled,
    Preparing,
    Running,
    Paused(PauseReason),
    RollingBack,
    RolledBack,
    Completed,
    CompletedWithStragglers,
    Cancelled,
    Superseded,
    Rejected,
}

/// Who paused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PauseReason {
    Gate,
    Operator,
}

/// Where a running phase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Admit,
    Soak,
    Gate,
}

/// Why a phase's size or a list of phases is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhaseError {
    #[error("`{text}` is no phase size: a number of devices, a percentage 1% to 100%, or `rest`")]
    Size { text: String },
    #[error("{count} phases, 1 to {PHASES_MAX} are allowed")]
    Count { count: usize },
    #[error("phase {phase} follows `rest`, which leaves it nobody")]
    AfterRest { phase: usize },
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_failure_rate: super::gate::DEFAULT_MAX_FAILURE_RATE,
            lost_after_s: 3600,
            lease_s: 3600,
            stall_after_s: 86_400,
            max_attempts: 3,
            min_evidence: EvidenceLevel::Claimed,
            rate: None,
            budget: None,
        }
    }
}

impl PhaseSize {
    /// Reads `1`, `10%` or `rest`.
    pub fn parse(text: &str) -> Result<Self, PhaseError> {
        let bad = || PhaseError::Size { text: text.chars().take(40).collect() };
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok()).flatten().filter(|n| *n > 0)
        };
        match text.strip_suffix('%') {
            _ if text == "rest" => Ok(Self::Rest),
            Some(digits) => number(digits).filter(|p| *p <= 100).map(Self::Percent).ok_or_else(bad),
            None => number(text).map(Self::Count).ok_or_else(bad),
        }
    }

    /// How many of `cohort` devices that is.
    pub fn of(self, cohort: u32) -> u32 {
        match self {
            Self::Count(n) => n,
            Self::Percent(p) => {
                let share = (u64::from(cohort) * u64::from(p)).div_ceil(100).max(1);
                u32::try_from(share).unwrap_or(u32::MAX)
            }
            Self::Rest => u32::MAX,
        }
    }
}

impl fmt::Display for PhaseSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Percent(p) => write!(f, "{p}%"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

impl PhasePlan {
    /// Reads a rollout's phases; none means: one device, then the rest.
    pub fn parse_all(specs: &[holdfast_proto::api::rollout::PhaseSpec]) -> Result<Vec<Self>, PhaseError> {
        let plain = |size| Self { size, soak_s: 0, max_failures: None };
        if specs.is_empty() {
            return Ok(vec![plain(PhaseSize::Count(1)), plain(PhaseSize::Rest)]);
        }
        if specs.len() > PHASES_MAX {
            return Err(PhaseError::Count { count: specs.len() });
        }
        let phases = specs.iter().map(|spec| {
            PhaseSize::parse(&spec.size).map(|size| Self {
                size,
                soak_s: spec.soak_s,
                max_failures: spec.max_failures,
            })
        });
        let phases = phases.collect::<Result<Vec<_>, _>>()?;
        match phases.iter().position(|p| p.size == PhaseSize::Rest) {
            Some(at) if at + 1 < phases.len() => Err(PhaseError::AfterRest { phase: at + 2 }),
            _ => Ok(phases),
        }
    }
}

impl DeviceRow {
    /// A label as selectors see it.
    pub fn label(&self, key: &str) -> Option<&str> {
        device_label(self.id.as_str(), self.site.as_deref(), &self.labels, key)
    }

    /// True if it was heard of after `when`.
    pub fn heard_since(&self, when: i64) -> bool {
        self.last_seen.is_some_and(|seen| seen > when)
    }
}

impl RolloutRow {
    /// True if the device belongs to it, whatever it runs.
    pub fn concerns(&self, device: &DeviceRow) -> bool {
        device.hardware == self.hardware
            && match &self.cohort.membership {
                Membership::Frozen(members) => members.contains(&device.id),
                Membership::LiveWithoutLateJoiners if device.joined_at > self.created_at => false,
                _ => self.cohort.selector.matches(|key| device.label(key)),
            }
    }
}

impl RolloutState {
    const ALL: [Self; 15] = [
        Self::Draft,
        Self::Validating,
        Self::AwaitingApproval,
        Self::Scheduled,
        Self::Preparing,
        Self::Running,
        Self::Paused(PauseReason::Gate),
        Self::Paused(PauseReason::Operator),
        Self::RollingBack,
        Self::RolledBack,
        Self::Completed,
        Self::CompletedWithStragglers,
        Self::Cancelled,
        Self::Superseded,
        Self::Rejected,
    ];

    /// Its stable word, as the API shows and the database stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "Draft",
            Self::Validating => "Validating",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Scheduled => "Scheduled",
            Self::Preparing => "Preparing",
            Self::Running => "Running",
            Self::Paused(PauseReason::Gate) => "Paused(gate)",
            Self::Paused(PauseReason::Operator) => "Paused(operator)",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Completed => "Completed",
            Self::CompletedWithStragglers => "CompletedWithStragglers",
            Self::Cancelled => "Cancelled",
            Self::Superseded => "Superseded",
            Self::Rejected => "Rejected",
        }
    }

    /// Reads its stable word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Stage {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "Admit",
            Self::Soak => "Soak",
            Self::Gate => "Gate",
        }
    }

    /// Reads its stable word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admit, Self::Soak, Self::Gate].into_iter().find(|stage| stage.as_str() == text)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Purpose {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Rollback => "rollback",
        }
    }

    /// Reads its stable word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Forward, Self::Rollback].into_iter().find(|purpose| purpose.as_str() == text)
    }
}
