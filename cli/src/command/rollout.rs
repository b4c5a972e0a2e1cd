//! `holdfast rollout`

use super::all;
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, facts, json, or_dash, show, word};
use holdfast_proto::api::rollout::{Assignment, CreateRollout, EvidenceLevel, PhaseSpec, Rollout as Record};
use serde_json::json as object;
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Rollout {
    /// Draft a rollout and show what the planner says of it
    Plan(Draft),
    /// Draft a rollout and start it, or start a drafted one
    Start {
        /// A drafted rollout's id
        #[arg(long, conflicts_with_all = ["hardware", "release"])]
        id: Option<String>,
        #[command(flatten)]
        draft: OptionalDraft,
    },
    /// Follow a rollout until it ends or stops
    Watch { rollout: String },
    /// List rollouts
    List,
    /// Show a rollout: phases, counts, the planner's reasons
    Show { rollout: String },
    /// Show every device's assignment
    Assignments {
        #[arg(long)]
        rollout: Option<String>,
    },
    /// Stop offering, keep what runs
    Pause { rollout: String },
    /// Go on; failed devices stay in view
    Resume { rollout: String },
    /// Assign the previous good release to every device that has this one
    Rollback { rollout: String },
    /// End a rollout that is not finished
    Cancel { rollout: String },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Draft {
    #[arg(long)]
    hardware: String,
    #[arg(long)]
    release: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OptionalDraft {
    #[arg(long, required_unless_present = "id")]
    hardware: Option<String>,
    #[arg(long, required_unless_present = "id")]
    release: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Label selector over devices; all of the hardware without
    #[arg(long, default_value = "")]
    selector: String,
    /// SIZE[:SOAK_S], repeatable: `1`, `10%:600`, `rest`
    #[arg(long = "phase")]
    phases: Vec<String>,
    /// Failure rate that stops a phase
    #[arg(long)]
    max_failure_rate: Option<f64>,
    /// Failures that stop a phase, whatever its size
    #[arg(long)]
    max_failures: Option<u32>,
    /// Seconds after Arming until a silent device counts as lost
    #[arg(long)]
    lost_after_s: Option<u64>,
    #[arg(long)]
    lease_s: Option<u64>,
    /// claimed or booted
    #[arg(long)]
    min_evidence: Option<String>,
}

impl Options {
    fn create(&self, hardware: &str, release: &str) -> anyhow::Result<CreateRollout> {
        let phase = |text: &String| -> anyhow::Result<PhaseSpec> {
            let (size, soak) = text.split_once(':').unwrap_or((text, "0"));
            let soak_s = soak.parse().map_err(|_| anyhow::anyhow!("`{soak}` is no number of seconds"))?;
            Ok(PhaseSpec { size: size.to_owned(), soak_s, max_failures: self.max_failures })
        };
        let level = |text: &String| -> anyhow::Result<EvidenceLevel> {
            serde_json::from_value(object!(text))
                .map_err(|_| anyhow::anyhow!("`{text}` is no evidence level: claimed, booted"))
        };
        Ok(CreateRollout {
            hardware: hardware.to_owned(),
            release: release.into(),
            selector: self.selector.clone(),
            phases: self.phases.iter().map(phase).collect::<Result<_, _>>()?,
            max_failure_rate: self.max_failure_rate,
            lost_after_s: self.lost_after_s,
            lease_s: self.lease_s,
            min_evidence: self.min_evidence.as_ref().map(level).transpose()?,
        })
    }
}

impl Rollout {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::Plan(draft) => {
                let body = draft.options.create(&draft.hardware, &draft.release)?;
                one(format, &client.post("/rollouts", &body)?)
            }
            Self::Start { id, draft } => {
                let id = match (id, &draft.hardware, &draft.release) {
                    (Some(id), ..) => id.clone(),
                    (None, Some(hardware), Some(release)) => {
                        let drafted: Record =
                            client.post("/rollouts", &draft.options.create(hardware, release)?)?;
                        drafted.id.to_string()
                    }
                    _ => anyhow::bail!("start what? give --id, or --hardware and --release"),
                };
                change(&client, format, &id, "start")
            }
            Self::Watch { rollout } => watch(&client, format, rollout),
            Self::List => {
                let items: Vec<Record> = all(&client, "/rollouts?limit=200")?;
                show(format, &items, || rows(&items))
            }
            Self::Show { rollout } => one(format, &client.get(&format!("/rollouts/{}", escaped(rollout)))?),
            Self::Assignments { rollout } => {
                let filter =
                    rollout.as_ref().map(|id| format!("&rollout={}", escaped(id))).unwrap_or_default();
                let items: Vec<Assignment> = all(&client, &format!("/assignments?limit=200{filter}"))?;
                show(format, &items, || assignment_rows(&items))
            }
            Self::Pause { rollout } => change(&client, format, rollout, "pause"),
            Self::Resume { rollout } => change(&client, format, rollout, "resume"),
            Self::Rollback { rollout } => change(&client, format, rollout, "rollback"),
            Self::Cancel { rollout } => change(&client, format, rollout, "cancel"),
        }
    }
}

fn change(client: &Client, format: Format, id: &str, verb: &str) -> anyhow::Result<()> {
    one(format, &client.post(&format!("/rollouts/{}/{verb}", escaped(id)), &object!({}))?)
}

/// Prints each change of state until nothing more will change by itself.
fn watch(client: &Client, format: Format, id: &str) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let rollout: Record = client.get(&format!("/rollouts/{}", escaped(id)))?;
        let line = summary(&rollout);
        if line != last {
            if format == Format::Json {
                json(&rollout)?;
            } else {
                println!("{line}");
            }
            last = line;
        }
        let goes_on = ["Draft", "Validating", "Scheduled", "Preparing", "Running", "RollingBack"]
            .iter()
            .any(|state| rollout.state.starts_with(state));
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn summary(rollout: &Record) -> String {
    let phases: Vec<String> = rollout
        .phases
        .iter()
        .map(|phase| {
            format!(
                "{} {}/{} ok, {} bad",
                phase.state,
                phase.confirmed,
                phase.devices,
                phase.failed + phase.rolled_back + phase.lost
            )
        })
        .collect();
    format!(
        "{}  {}  [{}]  {}",
        rollout.id,
        rollout.state,
        phases.join(" | "),
        rollout.reason.as_deref().unwrap_or("")
    )
}

fn one(format: Format, rollout: &Record) -> anyhow::Result<()> {
    let mut lines = vec![
        ("id", rollout.id.to_string()),
        ("release", format!("{}/{}", rollout.hardware, rollout.release)),
        ("selector", rollout.selector.clone()),
        ("state", rollout.state.clone()),
        ("reason", or_dash(rollout.reason.as_ref())),
    ];
    for phase in &rollout.phases {
        let text = format!(
            "{} {}: {} devices, {} confirmed, {} failed, {} rolled back, {} lost",
            phase.spec.size,
            phase.state,
            phase.devices,
            phase.confirmed,
            phase.failed,
            phase.rolled_back,
            phase.lost
        );
        lines.push(("phase", text));
    }
    lines.extend(rollout.report.iter().map(|line| ("report", line.clone())));
    facts(format, rollout, lines)
}

fn rows(rollouts: &[Record]) -> Rows<'static> {
    let row = |rollout: &Record| {
        vec![
            rollout.id.to_string(),
            rollout.hardware.clone(),
            rollout.release.to_string(),
            rollout.state.clone(),
            or_dash(rollout.reason.as_ref()),
        ]
    };
    Rows { head: &["ID", "HARDWARE", "RELEASE", "STATE", "REASON"], rows: rollouts.iter().map(row).collect() }
}

fn assignment_rows(items: &[Assignment]) -> Rows<'static> {
    let row = |item: &Assignment| {
        vec![
            item.device.to_string(),
            item.release.to_string(),
            item.state.clone(),
            or_dash(item.code.as_ref()),
            item.evidence.as_ref().map_or("-".into(), word),
            or_dash(item.codec.as_ref()),
            or_dash(item.bytes.as_ref()),
            or_dash(item.full_bytes.as_ref()),
        ]
    };
    Rows {
        head: &["DEVICE", "RELEASE", "STATE", "CODE", "EVIDENCE", "CODEC", "BYTES", "FULL"],
        rows: items.iter().map(row).collect(),
    }
}
