//! `holdfast site`

use super::{all, read_json};
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, facts, show};
use holdfast_proto::api::site::{ControllerToken, RegisterSite, Site as Record};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Site {
    /// Register a site and the keys of its cluster's ServiceAccount tokens
    Register {
        site: String,
        #[arg(long, default_value = "default")]
        cluster: String,
        /// `iss` of the cluster's tokens
        #[arg(long)]
        issuer: String,
        /// JWKS as `kubectl get --raw /openid/v1/jwks` gives it
        #[arg(long)]
        jwks: PathBuf,
    },
    /// Make a one-time token with which the site's controller enrols
    ControllerToken { site: String },
    /// List sites
    List,
}

impl Site {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::Register { site, cluster, issuer, jwks } => {
                let body = RegisterSite {
                    site: site.clone(),
                    cluster: cluster.clone(),
                    issuer: issuer.clone(),
                    jwks: read_json(jwks)?,
                };
                let record: Record = client.post("/sites", &body)?;
                show(format, &record, || rows(std::slice::from_ref(&record)))
            }
            Self::ControllerToken { site } => {
                let token: ControllerToken =
                    client.post(&format!("/sites/{}/controller-token", escaped(site)), &json!({}))?;
                facts(
                    format,
                    &token,
                    vec![
                        ("token", token.token.clone()),
                        ("expires", crate::terminal::when(token.expires_at)),
                    ],
                )
            }
            Self::List => {
                let items: Vec<Record> = all(&client, "/sites")?;
                show(format, &items, || rows(&items))
            }
        }
    }
}

fn rows(sites: &[Record]) -> Rows<'static> {
    let row = |site: &Record| {
        vec![site.site.clone(), site.cluster.clone(), site.issuer.clone(), site.key_ids.join(",")]
    };
    Rows { head: &["SITE", "CLUSTER", "ISSUER", "KEYS"], rows: sites.iter().map(row).collect() }
}
