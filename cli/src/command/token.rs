//! `holdfast token`: service tokens.

use super::all;
use super::device::text;
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, facts, show};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Make a token; it is shown once
    Create {
        #[arg(long)]
        name: String,
        /// Role, repeatable; only roles that you hold
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Seconds until it expires
        #[arg(long, default_value_t = 2_592_000)]
        ttl_s: u64,
    },
    /// List tokens, never their secrets
    List,
    /// Revoke a token at once
    Revoke {
        /// Its id
        #[arg(id = "revoked", value_name = "TOKEN")]
        token: String,
    },
}

impl Token {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::Create { name, roles, ttl_s } => {
                let answer: Value =
                    client.post("/tokens", &json!({"name": name, "roles": roles, "ttl_s": ttl_s}))?;
                facts(
                    format,
                    &answer,
                    ["id", "token", "roles", "expires_at"].map(|key| (key, text(&answer[key]))).to_vec(),
                )
            }
            Self::List => {
                let items: Vec<Value> = all(&client, "/tokens")?;
                show(format, &items, || Rows {
                    head: &["ID", "NAME", "ROLES", "EXPIRES AT", "REVOKED AT"],
                    rows: items
                        .iter()
                        .map(|item| {
                            ["id", "name", "roles", "expires_at", "revoked_at"]
                                .map(|key| text(&item[key]))
                                .to_vec()
                        })
                        .collect(),
                })
            }
            Self::Revoke { token } => {
                let _: Value = client.delete(&format!("/tokens/{}", escaped(token)))?;
                println!("revoked {token}");
                Ok(())
            }
        }
    }
}
