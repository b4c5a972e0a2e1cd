//! The planner's rows from and to what the tables hold.

use super::sql::{AssignmentSql, RolloutSql};
use crate::db::Error;
use holdfast_decide::access::Selector;
use holdfast_decide::fleet::{
    Approval, AssignmentRow, AssignmentState, Cohort, Membership, PhasePlan, Policy, Purpose, RolloutRow,
    RolloutState, Stage,
};
use holdfast_proto::api::rollout::{Assignment, CreateRollout, EvidenceLevel, Phase, Rollout};
use holdfast_proto::{DeviceId, ReleaseName, RolloutId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The planner's last words of a rollout, as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredReport {
    pub(super) lines: Vec<String>,
    pub(super) phases: Vec<Phase>,
}

fn broken(what: &str) -> Error {
    Error::Sql(sqlx::Error::Decode(format!("a rollout's row holds {what}").into()))
}

/// What a request asks of the planner; wrong sizes and selectors are refused with their own words.
pub(super) fn policy_of(spec: &CreateRollout) -> Policy {
    let default = Policy::default();
    Policy {
        max_failure_rate: spec.max_failure_rate.unwrap_or(default.max_failure_rate),
        lost_after_s: spec.lost_after_s.unwrap_or(default.lost_after_s),
        lease_s: spec.lease_s.unwrap_or(default.lease_s),
        min_evidence: spec.min_evidence.unwrap_or(default.min_evidence),
        ..default
    }
}

impl RolloutSql {
    pub(super) fn spec(&self) -> Result<CreateRollout, Error> {
        serde_json::from_str(&self.spec).map_err(|_| broken("another request"))
    }

    pub(super) fn to_row(&self) -> Result<RolloutRow, Error> {
        let spec = self.spec()?;
        let membership = if self.frozen.is_empty() {
            Membership::Live
        } else {
            let members: BTreeSet<DeviceId> =
                serde_json::from_str(&self.frozen).map_err(|_| broken("another cohort"))?;
            Membership::Frozen(members)
        };
        Ok(RolloutRow {
            id: RolloutId::from(self.id.as_str()),
            hardware: self.hardware.clone(),
            release: ReleaseName::from(self.release.as_str()),
            cohort: Cohort {
                selector: Selector::parse(&spec.selector).map_err(|_| broken("another selector"))?,
                membership,
            },
            phases: PhasePlan::parse_all(&spec.phases).map_err(|_| broken("other phases"))?,
            policy: policy_of(&spec),
            priority: 0,
            author: self.author.clone(),
            approval: if self.approved_by.is_empty() {
                Approval::NotNeeded
            } else {
                Approval::GivenBy(self.approved_by.clone())
            },
            start_at: None,
            deltas_ready: self.deltas_ready,
            state: RolloutState::parse(&self.state).ok_or_else(|| broken("another state"))?,
            reason: Some(self.reason.clone()).filter(|text| !text.is_empty()),
            phase: self.phase as u32,
            stage: Stage::parse(&self.stage).ok_or_else(|| broken("another stage"))?,
            phase_since: self.phase_since,
            stage_since: self.stage_since,
            resumed_at: Some(self.resumed_at).filter(|at| *at != 0),
            created_at: self.created_at,
        })
    }

    /// The same row with the planner's fields as `row` has them; the version rises.
    pub(super) fn with(&self, row: &RolloutRow) -> Result<Self, Error> {
        let frozen = match &row.cohort.membership {
            Membership::Frozen(members) => {
                serde_json::to_string(members).map_err(|_| broken("an unwritable cohort"))?
            }
            _ => self.frozen.clone(),
        };
        Ok(Self {
            frozen,
            approved_by: match &row.approval {
                Approval::GivenBy(by) => by.clone(),
                _ => self.approved_by.clone(),
            },
            deltas_ready: row.deltas_ready,
            state: row.state.as_str().to_owned(),
            reason: row.reason.clone().unwrap_or_default(),
            phase: i64::from(row.phase),
            stage: row.stage.as_str().to_owned(),
            phase_since: row.phase_since,
            stage_since: row.stage_since,
            resumed_at: row.resumed_at.unwrap_or(0),
            version: self.version + 1,
            ..self.clone()
        })
    }

    pub(super) fn to_api(&self) -> Result<Rollout, Error> {
        let (spec, report) =
            (self.spec()?, serde_json::from_str::<StoredReport>(&self.report).unwrap_or_default());
        Ok(Rollout {
            id: RolloutId::from(self.id.as_str()),
            hardware: self.hardware.clone(),
            release: ReleaseName::from(self.release.as_str()),
            selector: spec.selector,
            state: self.state.clone(),
            reason: Some(self.reason.clone()).filter(|text| !text.is_empty()),
            phases: report.phases,
            report: report.lines,
            created_at: self.created_at,
            version: self.version,
        })
    }
}

impl AssignmentSql {
    pub(super) fn to_row(&self, lease_until: i64) -> Result<AssignmentRow, Error> {
        let state = AssignmentState::parse(
            &self.state,
            Some(&self.code).filter(|c| !c.is_empty()).map(String::as_str),
        );
        Ok(AssignmentRow {
            device: DeviceId::from(self.device_id.as_str()),
            rollout: RolloutId::from(self.rollout_id.as_str()),
            purpose: Purpose::parse(&self.purpose).ok_or_else(|| broken("another purpose"))?,
            release: ReleaseName::from(self.release.as_str()),
            from_release: name(&self.from_release),
            phase: self.phase as u32,
            epoch: self.epoch as u64,
            sequence: self.sequence as u64,
            attempt: self.attempt as u32,
            state: state.ok_or_else(|| broken("another assignment state"))?,
            offered_at: self.offered_at,
            lease_until,
            armed_at: Some(self.armed_at).filter(|at| *at != 0),
            since: self.since,
            evidence: level(&self.evidence),
        })
    }

    pub(super) fn to_api(&self) -> Assignment {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let moved = !self.codec.is_empty();
        Assignment {
            device: DeviceId::from(self.device_id.as_str()),
            rollout: RolloutId::from(self.rollout_id.as_str()),
            release: ReleaseName::from(self.release.as_str()),
            from_release: name(&self.from_release),
            phase: self.phase as u32,
            epoch: self.epoch as u64,
            sequence: self.sequence as u64,
            attempt: self.attempt as u32,
            state: self.state.clone(),
            code: text(&self.code),
            detail: text(&self.detail),
            evidence: level(&self.evidence),
            codec: text(&self.codec),
            bytes: moved.then_some(self.bytes as u64),
            full_bytes: moved.then_some(self.full_bytes as u64),
            updated_at: self.since,
        }
    }
}

fn name(text: &str) -> Option<ReleaseName> {
    Some(text).filter(|text| !text.is_empty()).map(ReleaseName::from)
}

fn level(text: &str) -> Option<EvidenceLevel> {
    match text {
        "claimed" => Some(EvidenceLevel::Claimed),
        "booted" => Some(EvidenceLevel::Booted),
        "full" => Some(EvidenceLevel::Full),
        _ => None,
    }
}

/// The word that [`level`] reads.
pub(super) fn level_word(level: Option<EvidenceLevel>) -> &'static str {
    match level {
        None => "",
        Some(EvidenceLevel::Claimed) => "claimed",
        Some(EvidenceLevel::Booted) => "booted",
        Some(EvidenceLevel::Full) => "full",
    }
}
