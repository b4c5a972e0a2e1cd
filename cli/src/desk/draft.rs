//! Drafts of root and of the top-level targets role.

use super::envelope::Envelope;
use super::keys::{self, KeyFile};
use super::predecessor::{Predecessor, next_version};
use super::{Desk, Privacy, write_file};
use anyhow::{Context as _, ensure};
use holdfast_proto::Digest;
use holdfast_proto::api::tuf::OnlineKeys;
use holdfast_proto::manifest::{AssignmentKeys, CaBundle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) const SPEC_VERSION: &str = "1.0.0";
pub(crate) const DAY_S: i64 = 86_400;

/// `desk.json`: what the desk signs for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) hardware: Vec<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) thresholds: BTreeMap<String, u64>,
}

impl Plan {
    pub(crate) fn read(desk: &Desk) -> anyhow::Result<Self> {
        let path = desk.plan_file();
        let bytes = std::fs::read(&path).with_context(|| {
            format!("no desk: {} cannot be read (`holdfast tuf init` makes one)", path.display())
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no desk plan", path.display()))
    }

    /// The threshold of a role by its key prefix (`root`, `targets`, `product-<hw>`, `channel-<name>`).
    pub(crate) fn threshold(&self, prefix: &str) -> u64 {
        self.thresholds.get(prefix).copied().unwrap_or(1)
    }
}

/// `tuf draft root`: version 1, or the successor of `previous`.
pub(crate) fn root(
    desk: &Desk,
    online: &OnlineKeys,
    previous: Option<&Predecessor>,
    now: i64,
    days: i64,
) -> anyhow::Result<PathBuf> {
    let plan = Plan::read(desk)?;
    let version = next_version(previous)?;
    let mut all = Map::new();
    let mut roles = Map::new();
    for prefix in ["root", "targets"] {
        let files = keys::publics(desk, prefix)?;
        roles.insert(prefix.into(), role_keys(&files, plan.threshold(prefix))?);
        insert_keys(&mut all, &files)?;
    }
    for role in ["snapshot", "timestamp"] {
        let key = online.roles.get(role).with_context(|| format!("the service's keys name no {role} key"))?;
        all.insert(key.key_id.clone(), key.key.clone());
        roles.insert(role.into(), json!({"keyids": [key.key_id], "threshold": 1}));
    }
    let signed = json!({
        "_type": "root", "spec_version": SPEC_VERSION, "consistent_snapshot": true,
        "version": version, "expires": expires(now, days)?, "keys": all, "roles": roles,
    });
    let path = desk.out().join("root.json");
    write_file(&path, &Envelope::draft(signed)?.to_bytes()?, Privacy::Public)?;
    Ok(path)
}

/// `tuf draft targets`: delegations, the assignment keys and the CA bundle.
pub(crate) fn targets(
    desk: &Desk,
    online: &OnlineKeys,
    previous: Option<&Predecessor>,
    now: i64,
    days: i64,
) -> anyhow::Result<PathBuf> {
    let plan = Plan::read(desk)?;
    let version = next_version(previous)?;
    let mut all = Map::new();
    let mut roles = Vec::new();
    let products = plan.hardware.iter().map(|hw| (format!("product-{hw}"), format!("products/{hw}/*")));
    let channels =
        plan.channels.iter().map(|name| (format!("channel-{name}"), format!("channels/{name}/*/*")));
    for (name, pattern) in products.chain(channels) {
        let files = keys::publics(desk, &name)?;
        let mut role = role_keys(&files, plan.threshold(&name))?;
        role["name"] = json!(name);
        role["terminating"] = json!(true);
        role["paths"] = json!([pattern]);
        roles.push(role);
        insert_keys(&mut all, &files)?;
    }
    let deltas = online.roles.get("deltas").context("the service's keys name no deltas key")?;
    all.insert(deltas.key_id.clone(), deltas.key.clone());
    roles.push(json!({
        "name": "deltas", "keyids": [deltas.key_id], "threshold": 1, "terminating": true, "paths": ["delta/*"],
    }));
    let mut targets = Map::new();
    for (path, bytes) in [
        ("keys/assignment.json", assignment_keys(online)?),
        ("trust/ca.json", serde_json::to_vec(&CaBundle { version, roots: online.ca_roots.clone() })?),
    ] {
        targets.insert(path.into(), target(&bytes));
        write_file(&desk.files().join(path), &bytes, Privacy::Public)?;
    }
    let signed = json!({
        "_type": "targets", "spec_version": SPEC_VERSION, "version": version, "expires": expires(now, days)?,
        "targets": targets, "delegations": {"keys": all, "roles": roles},
    });
    let path = desk.out().join("targets.json");
    write_file(&path, &Envelope::draft(signed)?.to_bytes()?, Privacy::Public)?;
    Ok(path)
}

/// A target's description (TUF 4.5).
pub(crate) fn target(bytes: &[u8]) -> Value {
    let digest = Digest(sha2::Sha256::digest(bytes).into());
    json!({"length": bytes.len(), "hashes": {"sha256": digest.to_hex()}})
}

/// `expires` in the form of TUF 4.2.1: `YYYY-MM-DDTHH:MM:SSZ`.
pub(crate) fn expires(now: i64, days: i64) -> anyhow::Result<String> {
    ensure!(days > 0, "a life of {days} days is over before it begins");
    let at = time::OffsetDateTime::from_unix_timestamp(now + days * DAY_S)?;
    Ok(at.format(&time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))?)
}

fn assignment_keys(online: &OnlineKeys) -> anyhow::Result<Vec<u8>> {
    let key = online.roles.get("assignment").context("the service's keys name no assignment key")?;
    let keys = BTreeMap::from([(key.key_id.clone(), key.key.clone())]);
    Ok(serde_json::to_vec(&AssignmentKeys { epoch: online.assignment_epoch, keys, threshold: 1 })?)
}

fn role_keys(files: &[KeyFile], threshold: u64) -> anyhow::Result<Value> {
    ensure!(
        files.len() as u64 >= threshold && threshold > 0,
        "{} keys cannot reach a threshold of {threshold}",
        files.len()
    );
    let ids: Vec<&str> = files.iter().map(|file| file.key_id.as_str()).collect();
    Ok(json!({"keyids": ids, "threshold": threshold}))
}

fn insert_keys(all: &mut Map<String, Value>, files: &[KeyFile]) -> anyhow::Result<()> {
    for file in files {
        all.insert(file.key_id.clone(), serde_json::to_value(&file.key)?);
    }
    Ok(())
}
