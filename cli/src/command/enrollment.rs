//! `holdfast enrollment`: attempts that need a person, and why others were refused.

use super::all;
use super::device::text;
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, facts, show};
use serde_json::Value;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Enrollment {
    /// List attempts
    List {
        /// pending, conflict, approved, refused or issued
        #[arg(long)]
        state: Option<String>,
    },
    /// Show one attempt with every check
    Show { enrollment: String },
    /// Refuse a waiting attempt and its like, until one is approved
    Refuse {
        enrollment: String,
        #[arg(long)]
        reason: String,
    },
}

impl Enrollment {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::List { state } => {
                let filter =
                    state.as_ref().map(|state| format!("&state={}", escaped(state))).unwrap_or_default();
                let items: Vec<Value> = all(&client, &format!("/enrollments?limit=200{filter}"))?;
                show(format, &items, || Rows {
                    head: &["ID", "SERIAL", "MODEL", "KIND", "STATE", "REASON", "DEVICE"],
                    rows: items
                        .iter()
                        .map(|item| {
                            ["id", "serial", "model", "kind", "state", "reason", "device"]
                                .map(|key| text(&item[key]))
                                .to_vec()
                        })
                        .collect(),
                })
            }
            Self::Show { enrollment } => {
                let answer: Value = client.get(&format!("/enrollments/{}", escaped(enrollment)))?;
                show_evidence(format, &answer)
            }
            Self::Refuse { enrollment, reason } => {
                let path = format!("/enrollments/{}/refuse", escaped(enrollment));
                one(format, &client.post(&path, &serde_json::json!({"reason": reason}))?)
            }
        }
    }
}

pub(super) fn one(format: Format, attempt: &Value) -> anyhow::Result<()> {
    let keys = ["id", "serial", "model", "kind", "state", "reason", "device"];
    facts(format, attempt, keys.map(|key| (key, text(&attempt[key]))).to_vec())
}

/// The facts of an attempt, then one line a check.
pub(super) fn show_evidence(format: Format, answer: &Value) -> anyhow::Result<()> {
    if format == Format::Json {
        return crate::output::json(answer);
    }
    one(format, &answer["enrollment"])?;
    println!();
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    show(format, &checks, || Rows {
        head: &["RESULT", "RULE", "DETAIL"],
        rows: checks
            .iter()
            .map(|check| ["result", "rule", "detail"].map(|key| text(&check[key])).to_vec())
            .collect(),
    })
}
