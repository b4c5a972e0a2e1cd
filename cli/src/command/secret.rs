//! `holdfast secret`, `holdfast grant`, `holdfast explain`

use super::{all, read_input};
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, facts, or_dash, show, word};
use crate::terminal::when;
use anyhow::bail;
use holdfast_proto::Bytes;
use holdfast_proto::api::device::Tier;
use holdfast_proto::api::secret::{
    Constraints, Effect, Explain as Question, ExplainSubject, Explained, Grant as GrantRecord, ProposeGrant,
    PutSecret, Secret as Record, Subject,
};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Secret {
    /// Write a new version; the value comes from a file or standard input, never from the command line
    Put {
        path: String,
        /// File with the value; `-` is standard input
        #[arg(long, default_value = "-")]
        from: PathBuf,
        #[arg(long)]
        content_type: Option<String>,
    },
    /// List secrets: paths, versions, sizes; never values
    List,
    /// Propose a grant of this path (see `holdfast grant propose`)
    Grant(Propose),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Grant {
    /// Propose a grant; it takes effect when another person approves it
    Propose(Propose),
    /// Approve a proposed grant
    Approve { grant: String },
    /// Withdraw a grant at once
    Withdraw { grant: String },
    /// List grants
    List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Propose {
    /// Path or pattern: `*` is one segment, `**` only last
    resource: String,
    /// Devices by label selector
    #[arg(long, conflicts_with = "workload")]
    devices: Option<String>,
    /// A workload: SITE/CLUSTER/NAMESPACE/SERVICEACCOUNT
    #[arg(long)]
    workload: Option<String>,
    /// Deny instead of allow
    #[arg(long)]
    deny: bool,
    /// read, watch, issue; repeatable
    #[arg(long = "verb", default_value = "read")]
    verbs: Vec<String>,
    /// T0 to T4: lowest tier that may use it
    #[arg(long)]
    min_tier: Option<String>,
    #[arg(long)]
    max_ttl_s: Option<u64>,
    #[arg(long)]
    max_offline_s: Option<u64>,
}

/// May this device or workload read this path, and why?
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    path: String,
    /// A device's id
    #[arg(long, conflicts_with = "workload")]
    device: Option<String>,
    /// SITE/CLUSTER/NAMESPACE/SERVICEACCOUNT
    #[arg(long)]
    workload: Option<String>,
    #[arg(long, default_value = "read")]
    verb: String,
}

impl Secret {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        match self {
            Self::Put { path, from, content_type } => {
                let client = Client::open(connection)?;
                let body = PutSecret { value: Bytes(read_input(from)?), content_type: content_type.clone() };
                let record: Record = client.put(&format!("/secrets/{}", path_of(path)), &body)?;
                show(format, &record, || rows(std::slice::from_ref(&record)))
            }
            Self::List => {
                let items: Vec<Record> = all(&Client::open(connection)?, "/secrets?limit=200")?;
                show(format, &items, || rows(&items))
            }
            Self::Grant(propose) => propose.run(connection, format),
        }
    }
}

impl Grant {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        match self {
            Self::Propose(propose) => propose.run(connection, format),
            Self::Approve { grant } => {
                let client = Client::open(connection)?;
                let record: GrantRecord =
                    client.post(&format!("/grants/{}/approve", escaped(grant)), &json!({}))?;
                show(format, &record, || grant_rows(std::slice::from_ref(&record)))
            }
            Self::Withdraw { grant } => {
                let client = Client::open(connection)?;
                let record: GrantRecord = client.delete(&format!("/grants/{}", escaped(grant)))?;
                show(format, &record, || grant_rows(std::slice::from_ref(&record)))
            }
            Self::List => {
                let items: Vec<GrantRecord> = all(&Client::open(connection)?, "/grants?limit=200")?;
                show(format, &items, || grant_rows(&items))
            }
        }
    }
}

impl Propose {
    fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let subject = match (&self.devices, &self.workload) {
            (Some(selector), None) => Subject::Device { selector: selector.clone() },
            (None, Some(workload)) => {
                let [site, cluster, namespace, service_account] = four(workload)?;
                Subject::Workload { site, cluster, namespace, service_account }
            }
            _ => {
                bail!("for whom? give --devices SELECTOR or --workload SITE/CLUSTER/NAMESPACE/SERVICEACCOUNT")
            }
        };
        let proposal = ProposeGrant {
            effect: if self.deny { Effect::Deny } else { Effect::Allow },
            subject,
            resource: self.resource.clone(),
            verbs: self.verbs.clone(),
            constraints: Constraints {
                min_tier: self.min_tier.as_deref().map(tier).transpose()?,
                max_ttl_s: self.max_ttl_s,
                max_offline_s: self.max_offline_s,
                ..Constraints::default()
            },
        };
        let record: GrantRecord = Client::open(connection)?.post("/grants", &proposal)?;
        show(format, &record, || grant_rows(std::slice::from_ref(&record)))
    }
}

impl Explain {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let subject = match (&self.device, &self.workload) {
            (Some(id), None) => ExplainSubject::Device { id: id.clone() },
            (None, Some(workload)) => {
                let [site, cluster, namespace, service_account] = four(workload)?;
                ExplainSubject::Workload { site, cluster, namespace, service_account }
            }
            _ => bail!("whose read? give --device ID or --workload SITE/CLUSTER/NAMESPACE/SERVICEACCOUNT"),
        };
        let question = Question { subject, path: self.path.clone(), verb: self.verb.clone() };
        let answer: Explained = Client::open(connection)?.post("/access/explain", &question)?;
        let mut lines = vec![
            ("decision", if answer.allow { "allow" } else { "deny" }.to_owned()),
            ("reason", answer.reason.clone()),
            ("matched", answer.matched.join(", ")),
        ];
        lines.extend(answer.walk.iter().map(|line| ("", line.clone())));
        facts(format, &answer, lines)
    }
}

fn tier(text: &str) -> anyhow::Result<Tier> {
    serde_json::from_value(json!(text))
        .map_err(|_| anyhow::anyhow!("`{text}` is no tier; they are T0, T1, T2, T3, T4"))
}

fn four(text: &str) -> anyhow::Result<[String; 4]> {
    let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
    parts.try_into().map_err(|_| anyhow::anyhow!("`{text}` is not SITE/CLUSTER/NAMESPACE/SERVICEACCOUNT"))
}

/// A secret's path keeps its slashes in the URL.
fn path_of(path: &str) -> String {
    path.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

fn rows(secrets: &[Record]) -> Rows<'static> {
    let row = |secret: &Record| {
        vec![
            secret.path.clone(),
            secret.current_version.to_string(),
            secret.content_type.clone(),
            secret.length.to_string(),
            when(secret.updated_at),
        ]
    };
    Rows { head: &["PATH", "VERSION", "TYPE", "BYTES", "UPDATED"], rows: secrets.iter().map(row).collect() }
}

fn grant_rows(grants: &[GrantRecord]) -> Rows<'static> {
    let row = |grant: &GrantRecord| {
        let subject = match &grant.proposal.subject {
            Subject::Device { selector } => format!("devices {selector}"),
            Subject::Workload { site, cluster, namespace, service_account } => {
                format!("workload {site}/{cluster}/{namespace}/{service_account}")
            }
        };
        vec![
            grant.id.to_string(),
            word(&grant.proposal.effect),
            subject,
            grant.proposal.resource.clone(),
            grant.proposal.verbs.join(","),
            grant.state.clone(),
            grant.proposed_by.clone(),
            or_dash(grant.approved_by.as_ref()),
        ]
    };
    Rows {
        head: &["ID", "EFFECT", "SUBJECT", "RESOURCE", "VERBS", "STATE", "PROPOSED BY", "APPROVED BY"],
        rows: grants.iter().map(row).collect(),
    }
}
