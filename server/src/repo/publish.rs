//! Taking what the desk signed: whole or not at all, and only what a device's own client accepts.

use super::sign::{ASSIGNMENT_EPOCH, DeltaTarget, OnlineRole};
use super::{Repo, Stored, sql};
use crate::audit;
use crate::db::Tx;
use crate::refusal::Refusal;
use holdfast_proto::api::tuf::{OnlineKeys, PublishTuf, RoleStatus, TufStatus};
use holdfast_proto::{Bytes, Digest};
use serde_json::Value;
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};

/// At most so many metadata files and target files in one publish.
const FILES_MAX: usize = 256;
/// A manifest, a bundle, a key list.
const TARGET_FILE_MAX_BYTES: usize = 256 << 10;

/// Roles that the desk signs: root, targets, `product-*`, `channel-*`.
pub(super) fn is_offline(role: &str) -> bool {
    matches!(role, "root" | "targets") || role.starts_with("product-") || role.starts_with("channel-")
}

/// SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// The newest metadata by role; root's too.
pub(crate) type Newest = BTreeMap<String, Stored>;

impl Repo {
    /// The public halves of the online keys.
    pub(crate) fn online_keys(&self, ca_roots: Vec<Bytes>) -> Result<OnlineKeys, Refusal> {
        let mut roles = BTreeMap::new();
        for role in OnlineRole::ALL {
            roles.insert(role.name().to_owned(), self.online_key(role)?);
        }
        Ok(OnlineKeys { roles, assignment_epoch: ASSIGNMENT_EPOCH, ca_roots })
    }

    /// Stores what the desk signed, each the successor of what is there, with its files; what is current then.
    pub(crate) async fn place(&self, tx: &mut Tx, offered: &Offered, now: i64) -> Result<Newest, Refusal> {
        let mut all = self.newest(tx).await?;
        for stored in &offered.metadata {
            check_successor(all.get(&stored.role), stored)?;
            let stored = Stored { published_at: now, ..stored.clone() };
            sql::metadata_put(tx, &self.tenant, &stored).await?;
            all.insert(stored.role.clone(), stored);
        }
        for (path, bytes) in &offered.files {
            sql::target_put(tx, &self.tenant, path, sha256(bytes), bytes).await?;
        }
        Ok(all)
    }

    /// Versions and expiries.
    pub(crate) async fn status(&self, now: i64) -> Result<TufStatus, Refusal> {
        let newest = sql::metadata_newest(&mut self.db.read().await?, &self.tenant).await?;
        let roles = newest
            .into_iter()
            .map(|stored| RoleStatus {
                renew_soon: renew_soon(&stored, now),
                role: stored.role,
                version: stored.version,
                expires_at: stored.expires_at,
            })
            .collect();
        Ok(TufStatus { roles, new_releases: Vec::new() })
    }

    /// Signs the deltas role (if its deltas are given), snapshot and timestamp anew over what is stored now, and has
    /// the device's own client walk to it: a new device, and one that stands at `before`.
    pub(crate) async fn resign(
        &self,
        tx: &mut Tx,
        before: &Newest,
        deltas: Option<&[DeltaTarget]>,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut all = self.newest(tx).await?;
        if !all.contains_key("root") || !all.contains_key("targets") {
            return Err(Refusal::invalid("no-root", "publish root and targets first"));
        }
        if let Some(deltas) = deltas {
            let version = self.next_version(tx, all.get("deltas"), "deltas", now).await?;
            self.keep(tx, &mut all, self.sign_deltas(version, deltas, now)?).await?;
        }
        let listed: Vec<(String, u64)> = all
            .values()
            .filter(|stored| !matches!(stored.role.as_str(), "root" | "snapshot" | "timestamp"))
            .map(|stored| (stored.role.clone(), stored.version))
            .collect();
        let version = self.next_version(tx, all.get("snapshot"), "snapshot", now).await?;
        self.keep(tx, &mut all, self.sign_snapshot(version, &listed, now)?).await?;
        self.resign_timestamp(tx, before, all, now).await
    }

    /// Signs timestamp anew over the snapshot in `all`, and has the device's own client walk to it.
    pub(crate) async fn resign_timestamp(
        &self,
        tx: &mut Tx,
        before: &Newest,
        mut all: Newest,
        now: i64,
    ) -> Result<(), Refusal> {
        let Some(snapshot) = all.get("snapshot") else {
            return Err(Refusal::invalid("no-root", "publish root and targets first"));
        };
        let version = self.next_version(tx, all.get("timestamp"), "timestamp", now).await?;
        let timestamp = self.sign_timestamp(version, snapshot, now)?;
        self.keep(tx, &mut all, timestamp).await?;
        sql::metadata_prune(tx, &self.tenant, now - KEPT_S).await?;
        self.verify_walks(tx, before, &all, now).await
    }

    /// Online versions are max(stored + 1, highest that a device trusts + 1, Unix seconds): a restored backup
    /// neither freezes devices nor looks like a rollback.
    async fn next_version(
        &self,
        tx: &mut Tx,
        stored: Option<&Stored>,
        role: &str,
        now: i64,
    ) -> Result<u64, Refusal> {
        let seen = sql::seen(tx, &self.tenant, role).await?;
        let stored = stored.map_or(0, |stored| stored.version);
        Ok((stored + 1).max(seen + 1).max(now.max(1) as u64))
    }

    async fn keep(&self, tx: &mut Tx, all: &mut Newest, signed: Stored) -> Result<(), Refusal> {
        sql::metadata_put(tx, &self.tenant, &signed).await?;
        all.insert(signed.role.clone(), signed);
        Ok(())
    }

    /// The newest metadata of every role.
    pub(crate) async fn newest(&self, tx: &mut Tx) -> Result<Newest, Refusal> {
        let all = sql::metadata_newest(tx, &self.tenant).await?;
        Ok(all.into_iter().map(|stored| (stored.role.clone(), stored)).collect())
    }

    /// Remembers the versions that a device trusts; true if a role's went above what is published.
    pub(crate) async fn note_seen(&self, tx: &mut Tx, role: &str, version: u64) -> Result<bool, Refusal> {
        if sql::seen(tx, &self.tenant, role).await? >= version {
            return Ok(false);
        }
        sql::seen_raise(tx, &self.tenant, role, version).await?;
        let published = sql::metadata_version(tx, &self.tenant, role).await?;
        Ok(published.is_some_and(|published| published < version))
    }
}

/// True once less than a third of its life is left.
pub(crate) fn renew_soon(stored: &Stored, now: i64) -> bool {
    (stored.expires_at - now) * 3 < stored.expires_at - stored.published_at
}

/// How long superseded snapshots, timestamps and deltas stay: longer than any walk, and than a timestamp lives.
const KEPT_S: i64 = 14 * 86_400;

/// What a publish offers, read and bounded.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) metadata: Vec<Stored>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Offered {
    /// # Errors
    /// When a role is not the desk's, a document has no version or expiry, or something is too large.
    pub(crate) fn read(body: &PublishTuf) -> Result<Self, Refusal> {
        Ok(Self { metadata: read_offered(body)?, files: read_files(body)? })
    }
}

fn read_offered(body: &PublishTuf) -> Result<Vec<Stored>, Refusal> {
    if body.metadata.is_empty() || body.metadata.len() + body.files.len() > FILES_MAX {
        return Err(Refusal::invalid("publish-size", format!("a publish holds 1 to {FILES_MAX} files")));
    }
    // Only root is walked version by version: of any other role nobody would verify the one that is superseded here.
    let mut roles = BTreeSet::new();
    let again = body.metadata.iter().find(|one| one.role != "root" && !roles.insert(one.role.as_str()));
    if let Some(again) = again {
        let text = format!("{}: a publish brings one version of it", audit::printable(&again.role));
        return Err(Refusal::invalid("metadata-malformed", text));
    }
    body.metadata
        .iter()
        .map(|metadata| {
            let role = &metadata.role;
            let wrong = |what: &str| {
                Refusal::invalid("metadata-malformed", format!("{}: {what}", audit::printable(role)))
            };
            if !is_offline(role) || !holdfast_proto::id::is_segment(role) {
                return Err(wrong("the desk signs root, targets, product-<hardware> and channel-<name>"));
            }
            let document: Value = serde_json::from_slice(&metadata.bytes).map_err(|_| wrong("not JSON"))?;
            let version = document["signed"]["version"]
                .as_u64()
                .filter(|v| *v > 0)
                .ok_or_else(|| wrong("no version"))?;
            let expires = document["signed"]["expires"].as_str().ok_or_else(|| wrong("no expiry"))?;
            let form = time::format_description::well_known::Rfc3339;
            let expires_at =
                time::OffsetDateTime::parse(expires, &form).map_err(|_| wrong("the expiry is no time"))?;
            Ok(Stored {
                role: role.clone(),
                version,
                bytes: metadata.bytes.0.clone(),
                expires_at: expires_at.unix_timestamp(),
                published_at: 0,
            })
        })
        .collect()
}

fn read_files(body: &PublishTuf) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let mut files = BTreeMap::new();
    for file in &body.files {
        let good_path = file.path.split('/').all(holdfast_proto::id::is_segment) && file.path.contains('/');
        if !good_path || file.bytes.len() > TARGET_FILE_MAX_BYTES {
            let detail = format!(
                "{}: a target path has two or more segments, its file at most {TARGET_FILE_MAX_BYTES} bytes",
                audit::printable(&file.path)
            );
            return Err(Refusal::invalid("target-file-malformed", detail));
        }
        files.insert(file.path.clone(), file.bytes.0.clone());
    }
    Ok(files)
}

/// Refuses a file that no role of the desk lists by these bytes: it would take its path's room for nothing.
pub(crate) fn check_listed(offered: &Offered, all: &Newest) -> Result<(), Refusal> {
    let mut listed = BTreeSet::new();
    for stored in all.values().filter(|stored| stored.role != "root" && is_offline(&stored.role)) {
        listed.extend(targets_of(stored)?);
    }
    let stray =
        offered.files.iter().find(|(path, bytes)| !listed.contains(&((*path).clone(), sha256(bytes))));
    let Some((path, _)) = stray else { return Ok(()) };
    let text =
        format!("{path}: no role lists this file with these bytes; publish it with the role that lists it");
    Err(Refusal::invalid("file-unlisted", text))
}

fn check_successor(there: Option<&Stored>, offered: &Stored) -> Result<(), Refusal> {
    let wanted = there.map_or(1, |there| there.version + 1);
    if offered.version == wanted {
        return Ok(());
    }
    let detail = format!(
        "{} has version {}, version {wanted} comes next: draft it over what is published",
        offered.role, offered.version
    );
    Err(Refusal::conflict("metadata-version", detail))
}

/// The targets that a role lists: path and SHA-256.
pub(crate) fn targets_of(stored: &Stored) -> Result<Vec<(String, Digest)>, Refusal> {
    let malformed =
        || Refusal::invalid("metadata-malformed", format!("{}: its targets are malformed", stored.role));
    let document: Value = serde_json::from_slice(&stored.bytes).map_err(|_| malformed())?;
    let targets = document["signed"]["targets"].as_object().ok_or_else(malformed)?;
    targets
        .iter()
        .map(|(path, target)| {
            let digest = target["hashes"]["sha256"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(malformed)?;
            Ok((path.clone(), digest))
        })
        .collect()
}
