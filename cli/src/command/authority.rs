//! `holdfast authority`

use super::device::text;
use super::{all, read_input};
use crate::client::{Client, Connection};
use crate::output::{Format, Rows, show};
use holdfast_proto::Bytes;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Authority {
    /// The service's own CAs
    List,
    /// Roots that may vouch for endorsement keys
    #[command(subcommand)]
    EkRoot(EkRoot),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum EkRoot {
    /// Trust a root or intermediate for EK certificates of the named makers
    Add {
        /// Certificate, PEM or DER
        certificate: PathBuf,
        /// discrete, firmware, virtual or software
        #[arg(long)]
        class: String,
        /// Pair SAN-ID=TPM-ID that it may certify, e.g. `id:00001014=IBM`; repeatable
        #[arg(long = "certifies", required = true)]
        certifies: Vec<String>,
    },
    /// List the anchors
    List,
}

impl Authority {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::List => list(format, &all(&client, "/authorities")?, &["name", "subject", "not_after", "serial"]),
            Self::EkRoot(EkRoot::Add { certificate, class, certifies }) => {
                let body = json!({
                    "certificate": Bytes(read_input(certificate)?), "class": class, "certifies": certifies,
                });
                let answer: Value = client.post("/authorities/ek-roots", &body)?;
                list(format, &[answer], &ANCHOR)
            }
            Self::EkRoot(EkRoot::List) => list(format, &all(&client, "/authorities/ek-roots")?, &ANCHOR),
        }
    }
}

const ANCHOR: [&str; 4] = ["id", "subject", "class", "certifies"];

fn list(format: Format, items: &[Value], keys: &'static [&'static str]) -> anyhow::Result<()> {
    show(format, &items, || Rows {
        head: keys,
        rows: items.iter().map(|item| keys.iter().map(|key| text(&item[key])).collect()).collect(),
    })
}
