//! Why the plan is as it is, in words: shown as it is by the API, the commands and the console.

use super::assignment::AssignmentState;
use super::gate::{Counts, GoOn, Stop, Verdict, Wait};
use super::model::{AssignmentRow, PlanInput, Purpose, RolloutRow, RolloutState, Stage};
use super::view::{Eligible, View, count, is_failure, tally};
use holdfast_proto::RolloutId;
use holdfast_proto::api::rollout as api;

/// Devices that one line names before it only counts.
const NAMED_MAX: usize = 10;

/// One report a rollout, in the order of the input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanReport {
    pub rollouts: Vec<RolloutReport>,
}

/// One rollout's.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutReport {
    pub rollout: RolloutId,
    /// In order: where it stands, each phase, the gate, whom to look at.
    pub lines: Vec<String>,
    /// The phases as the API shows them.
    pub phases: Vec<api::Phase>,
}

pub(super) fn report(rows: &PlanInput, now: i64) -> PlanReport {
    let view = View::new(rows);
    PlanReport { rollouts: rows.rollouts.iter().map(|rollout| one(&view, rollout, now)).collect() }
}

fn one<'a>(view: &View<'a>, rollout: &'a RolloutRow, now: i64) -> RolloutReport {
    let mut lines = vec![headline(view, rollout)];
    let mut phases = Vec::new();
    for (place, plan) in (0u32..).zip(&rollout.phases) {
        let rows = || view.forward(rollout).filter(move |row| row.phase == place);
        let counts = tally(rows());
        let state = phase_state(rollout, place);
        let dormant = count(rows().filter(|row| matches!(row.state, AssignmentState::Dormant { .. })));
        if state != "Waiting" {
            lines.push(format!(
                "phase {} ({}): {state}; {}",
                place + 1,
                plan.size,
                counts_words(&counts, dormant)
            ));
        }
        phases.push(api::Phase {
            spec: api::PhaseSpec {
                size: plan.size.to_string(),
                soak_s: plan.soak_s,
                max_failures: plan.max_failures,
            },
            state: state.to_owned(),
            devices: counts.unarmed + counts.in_flight + counts.ended(),
            confirmed: counts.confirmed,
            failed: counts.failed_to_install + counts.failed_after_arming,
            rolled_back: counts.rolled_back,
            lost: counts.lost,
        });
    }
    if rollout.state == RolloutState::Running {
        lines.push(gate_line(view, rollout, now));
    }
    if let Some(resumed) = rollout.resumed_at {
        let seen = count(view.forward(rollout).filter(|row| is_failure(&row.state) && row.since < resumed));
        lines.push(format!("resumed by an operator although {seen} devices had failed; they stay in view"));
    }
    lines.extend(view_lines(view, rollout));
    RolloutReport { rollout: rollout.id.clone(), lines, phases }
}

fn headline(view: &View<'_>, rollout: &RolloutRow) -> String {
    let cohort = count(view.cohort(rollout));
    let there = count(view.cohort(rollout).filter(|d| d.running.as_ref() == Some(&rollout.release)));
    let whom = if rollout.cohort.selector.is_empty() {
        String::new()
    } else {
        format!(" where {}", rollout.cohort.selector)
    };
    let why = rollout.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!(
        "{}{why}: release {} to {} devices of {}{whom}, {there} of {cohort} run it",
        rollout.state, rollout.release, cohort, rollout.hardware
    )
}

fn phase_state(rollout: &RolloutRow, place: u32) -> &'static str {
    use RolloutState as R;
    let begun = !matches!(
        rollout.state,
        R::Draft | R::Validating | R::AwaitingApproval | R::Scheduled | R::Preparing | R::Rejected
    );
    match place.cmp(&rollout.phase) {
        _ if !begun => "Waiting",
        std::cmp::Ordering::Less => "Done",
        std::cmp::Ordering::Greater => "Waiting",
        std::cmp::Ordering::Equal => match (rollout.state, rollout.stage) {
            (R::Completed | R::CompletedWithStragglers, _) => "Done",
            (_, Stage::Admit) => "Admit",
            (_, Stage::Soak) => "Soak",
            (_, Stage::Gate) => "Gate",
        },
    }
}

fn counts_words(counts: &Counts, dormant: u32) -> String {
    let devices = counts.unarmed + counts.in_flight + counts.ended();
    let parts = [
        (counts.confirmed, "confirmed"),
        (counts.in_flight, "armed and not ended"),
        (counts.unarmed, "not yet armed"),
        (counts.failed_to_install, "failed to install"),
        (counts.rolled_back, "rolled back"),
        (counts.failed_after_arming, "failed after arming"),
        (counts.lost, "lost after arming"),
        (dormant, "dormant (not counted)"),
    ];
    let words: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let tail = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
    format!("{devices} devices{tail}")
}

fn gate_line<'a>(view: &View<'a>, rollout: &'a RolloutRow, now: i64) -> String {
    let soak = super::sweep::soak_end(rollout);
    match view.verdict(rollout, view.waiting(rollout)) {
        Verdict::Stop(stop) => stop_words(&stop, rollout.phase),
        Verdict::GoOn(well) if rollout.stage == Stage::Soak && now < soak => {
            format!("gate: {}; soaks until {soak}", go_on_words(&well))
        }
        Verdict::GoOn(well) => format!("gate: {}", go_on_words(&well)),
        Verdict::Wait(Wait::Admission) => {
            "gate: waits, devices of this phase are still to be offered the release".into()
        }
        Verdict::Wait(Wait::InFlight { devices }) => {
            format!("gate: waits for {devices} armed devices to end")
        }
        Verdict::Wait(Wait::TooFew { unarmed, armed, upper, limit }) => format!(
            "gate: waits for {unarmed} unarmed devices; {armed} armed give an upper bound of {}, the limit is {}",
            percent(upper),
            percent(limit)
        ),
    }
}

pub(super) fn stop_words(stop: &Stop, phase: u32) -> String {
    let phase = phase + 1;
    match stop {
        Stop::MaxFailures { failures, max } => {
            format!("phase {phase} stopped: {failures} devices failed, it stops at {}", max.max(&1))
        }
        Stop::RatePassed { failures, armed, lower, limit } => format!(
            "phase {phase} stopped: {failures} of {armed} armed devices failed, at least {} by the lower bound, the limit is {}",
            percent(*lower),
            percent(*limit)
        ),
        Stop::CensusPassed { failures, devices, limit } => format!(
            "phase {phase} stopped: all {devices} devices have ended and {failures} of them failed, the limit is {}",
            percent(*limit)
        ),
    }
}

pub(super) fn go_on_words(well: &GoOn) -> String {
    match well {
        GoOn::Census { failures, devices } => format!("all {devices} devices have ended, {failures} failed"),
        GoOn::Bound { failures, armed, upper } => {
            format!(
                "{failures} of {armed} armed devices failed, at most {} by the upper bound",
                percent(*upper)
            )
        }
    }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

/// Whom to look at: failures with their codes, devices that cannot, devices that sleep.
fn view_lines<'a>(view: &View<'a>, rollout: &'a RolloutRow) -> Vec<String> {
    let mut lines = Vec::new();
    let says = |row: &AssignmentRow| {
        let back = view.device(&row.device).is_some_and(|d| row.state.is_lost() && d.heard_since(row.since));
        format!("{} {}{}", row.device, row.state, if back { " (heard of since)" } else { "" })
    };
    lines.extend(named("failed", view.forward(rollout).filter(|row| is_failure(&row.state)).map(says)));
    let sleeps = |row: &&AssignmentRow| matches!(row.state, AssignmentState::Dormant { .. });
    lines.extend(named("dormant", view.forward(rollout).filter(sleeps).map(says)));
    if matches!(rollout.state, RolloutState::Running | RolloutState::CompletedWithStragglers) {
        let impossible = view.cohort(rollout).filter_map(|device| match view.eligible(rollout, device) {
            Eligible::Impossible(why) => Some(format!("{} {why}", device.id)),
            _ => None,
        });
        lines.extend(named("not offered", impossible));
        let later = view.cohort(rollout).filter(|d| view.eligible(rollout, d) == Eligible::Later);
        lines.extend(named("held by another rollout", later.map(|device| device.id.to_string())));
    }
    if matches!(rollout.state, RolloutState::RollingBack | RolloutState::RolledBack) {
        lines.extend(rollback_lines(view, rollout));
    }
    lines
}

fn rollback_lines<'a>(view: &View<'a>, rollout: &'a RolloutRow) -> Vec<String> {
    let rows: Vec<_> = view
        .rows
        .assignments
        .iter()
        .filter(|r| r.rollout == rollout.id && r.purpose == Purpose::Rollback)
        .collect();
    let went = rows.iter().filter(|row| row.state == AssignmentState::Confirmed);
    let under_way = rows.iter().filter(|row| row.state.is_active());
    let failed = rows.iter().filter(|row| is_failure(&row.state));
    let cannot = view.to_roll_back(rollout).filter_map(|(device, row)| match &row.from_release {
        None => Some(format!("{} no release before it is known", device.id)),
        Some(previous) => {
            let fault = view.installable(device, &rollout.hardware, previous).err();
            fault.map(|why| format!("{} {why}", device.id))
        }
    });
    let mut lines = Vec::new();
    lines.extend(named("went back", went.map(|row| format!("{} to {}", row.device, row.release))));
    lines.extend(named("going back", under_way.map(|row| format!("{} {}", row.device, row.state))));
    lines.extend(named("failed to go back", failed.map(|row| format!("{} {}", row.device, row.state))));
    lines.extend(named("cannot go back", cannot));
    lines
}

/// `what n: a; b; c; and m more`, or nothing.
fn named(what: &str, items: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<_> = items.collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let mut shown = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        shown.push_str("; and ");
        shown.push_str(&more.to_string());
        shown.push_str(" more");
    }
    (!all.is_empty()).then(|| format!("{what} {}: {shown}", all.len()))
}
