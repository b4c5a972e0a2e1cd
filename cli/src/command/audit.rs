//! `holdfast audit`

use super::all;
use super::device::text;
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, show};
use serde_json::Value;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// List audit rows, newest first
    List {
        /// Only rows about this resource
        #[arg(long)]
        resource: Option<String>,
    },
}

impl Audit {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        let Self::List { resource } = self;
        let filter = resource.as_ref().map(|text| format!("&resource={}", escaped(text))).unwrap_or_default();
        let items: Vec<Value> = all(&client, &format!("/audit?limit=200{filter}"))?;
        show(format, &items, || Rows {
            head: &["AT", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "REASON"],
            rows: items
                .iter()
                .map(|item| {
                    let at = item["at"].as_i64().map_or_else(|| "-".into(), crate::terminal::when);
                    let mut row = vec![at];
                    row.extend(
                        ["actor", "action", "resource", "outcome", "reason"].map(|key| text(&item[key])),
                    );
                    row
                })
                .collect(),
        })
    }
}
