//! Rollouts as operators see and order them; the planner's run stands in `plan.rs`, what devices are served and report
//! in `served.rs`.

pub use super::lease::Leases;
pub use super::plan::plan_once;
pub use super::served::{ArmedFacts, Served, armed_facts, report, served};

use super::plan::dry_report;
use super::sql::{self, AssignmentSql, RolloutSql};
use crate::audit;
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::release;
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::Selector;
use holdfast_decide::fleet::{self, Command, PhasePlan, RolloutState};
use holdfast_proto::api::rollout::{Assignment, CreateRollout, EvidenceLevel, Rollout};

/// Longest lease, and longest wait for a silent device: 30 days.
const TIMES_MAX_S: u64 = 30 * 86_400;

/// Drafts a rollout; nothing happens until it is started.
pub async fn create(state: &AppState, operator: &Operator, spec: &CreateRollout) -> Result<Rollout, Refusal> {
    if ![spec.hardware.as_str(), spec.release.as_str()].into_iter().all(holdfast_proto::id::is_segment) {
        return Err(Refusal::invalid("malformed-name", "hardware and release are 1 to 128 of [a-z0-9._-]"));
    }
    PhasePlan::parse_all(&spec.phases)
        .map_err(|error| Refusal::invalid("malformed-phases", error.to_string()))?;
    Selector::parse(&spec.selector)
        .map_err(|error| Refusal::invalid("malformed-selector", error.to_string()))?;
    if spec.max_failure_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return Err(Refusal::invalid("rate-out-of-range", "max_failure_rate is between 0 and 1"));
    }
    if [spec.lease_s, spec.lost_after_s]
        .into_iter()
        .flatten()
        .any(|seconds| !(1..=TIMES_MAX_S).contains(&seconds))
    {
        let text = format!("lease_s and lost_after_s are 1 to {TIMES_MAX_S} seconds");
        return Err(Refusal::invalid("lease-out-of-range", text));
    }
    if spec.min_evidence == Some(EvidenceLevel::Full) {
        let text = "no device is believed beyond `booted` yet: every one would end as lost; ask for `booted`";
        return Err(Refusal::invalid("evidence-not-given", text));
    }
    let now = state.now();
    let row = RolloutSql {
        id: crate::chance::id("ro", now),
        hardware: spec.hardware.clone(),
        release: spec.release.to_string(),
        spec: serde_json::to_string(spec).map_err(Refusal::internal)?,
        frozen: String::new(),
        author: operator.principal().to_owned(),
        approved_by: String::new(),
        deltas_ready: false,
        state: RolloutState::Draft.as_str().to_owned(),
        reason: String::new(),
        phase: 0,
        stage: "Admit".to_owned(),
        phase_since: now,
        stage_since: now,
        resumed_at: 0,
        report: "{\"lines\":[],\"phases\":[]}".to_owned(),
        created_at: now,
        version: 1,
    };
    tx!(state.db, "rollout.create", |tx| {
        let release = release::row(tx, &operator.tenant, &spec.hardware, spec.release.as_str()).await?;
        if release.is_none() {
            let name = audit::printable(&format!("{}/{}", spec.hardware, spec.release));
            return Err(Refusal::not_found(format_args!("release {name}: publish it first")));
        }
        sql::rollout_insert(tx, &operator.tenant, &row).await?;
        let reason = format!("{}/{}", row.hardware, row.release);
        audit::append(tx, &operator.did("rollout.create", format!("rollout/{}", row.id), reason), now)
            .await?;
        Ok(())
    })?;
    // What the planner would say if it were started now.
    dry_report(state, &operator.tenant, &row, now).await?;
    show(state, operator, &row.id).await
}

/// Carries out an operator's order, then plans.
pub async fn order(
    state: &AppState,
    operator: &Operator,
    id: &str,
    order: &Command,
) -> Result<Rollout, Refusal> {
    let now = state.now();
    tx!(state.db, "rollout.order", |tx| {
        let row = sql::rollout_row(tx, &operator.tenant, id).await?.ok_or_else(|| no_rollout(id))?;
        let next = fleet::command(&row.to_row()?, order, now)
            .map_err(|error| Refusal::conflict("rollout-state", error.to_string()))?;
        if !sql::rollout_change(tx, &operator.tenant, &row.with(&next)?).await? {
            return Err(Refusal::precondition(row.version));
        }
        let action = match order {
            Command::Start => "rollout.start",
            Command::Approve { .. } => "rollout.approve",
            Command::Pause => "rollout.pause",
            Command::Resume => "rollout.resume",
            Command::Rollback => "rollout.rollback",
            Command::Cancel => "rollout.cancel",
        };
        let reason = format!("{} -> {}", row.state, next.state);
        audit::append(tx, &operator.did(action, format!("rollout/{id}"), reason), now).await?;
        Ok(())
    })?;
    plan_once(state, &operator.tenant).await?;
    state.wake_rollouts.wake();
    show(state, operator, id).await
}

pub async fn show(state: &AppState, operator: &Operator, id: &str) -> Result<Rollout, Refusal> {
    let row = sql::rollout_row(&mut state.db.read().await?, &operator.tenant, id).await?;
    Ok(row.ok_or_else(|| no_rollout(id))?.to_api()?)
}

pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<Rollout>, Refusal> {
    let rows = sql::rollout_list(&mut state.db.read().await?, &operator.tenant, after, limit).await?;
    Ok(rows.iter().map(RolloutSql::to_api).collect::<Result<_, _>>()?)
}

/// Assignments after the cursor `device/epoch/sequence`.
pub async fn assignments(
    state: &AppState,
    operator: &Operator,
    rollout: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Assignment>, Refusal> {
    let mut parts = after.split('/');
    let device = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let cursor = (device, number(), number());
    let rows =
        sql::assignment_list(&mut state.db.read().await?, &operator.tenant, rollout, cursor, limit).await?;
    Ok(rows.iter().map(AssignmentSql::to_api).collect())
}

fn no_rollout(id: &str) -> Refusal {
    Refusal::not_found(format_args!("rollout `{}`", audit::printable(id)))
}
