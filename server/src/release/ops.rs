//! What can be done with releases: publish them, look them up, queue and withdraw deltas.

use super::sql;
pub use super::sql::ReleaseRow;
use crate::audit;
use crate::db::{Error, Tx};
use crate::refusal::Refusal;
use crate::repo::publish::{Offered, check_listed, renew_soon, targets_of};
use crate::repo::sign::{AssignedManifest, DeltaTarget};
use crate::repo::{Listed, Repo, Stored};
use crate::tx;
use holdfast_proto::Digest;
use holdfast_proto::api::release::{BuildDeltas, Delta, Release};
use holdfast_proto::api::tuf::{PublishTuf, TufStatus};
use holdfast_proto::manifest::Manifest;
use std::collections::BTreeMap;

/// A delta that so many devices (each counts once) report bad is no longer offered.
const BAD_REPORTS_MAX: i64 = 3;

/// Takes what the desk signed: whole or not at all, loaded by the device's own client before it counts.
pub async fn publish(
    repo: &Repo,
    actor: &audit::Actor<'_>,
    body: &PublishTuf,
    now: i64,
) -> Result<TufStatus, Refusal> {
    let offered = Offered::read(body)?;
    let new_releases = tx!(repo.db, "release.publish", |tx| {
        let before = repo.newest(tx).await?;
        let all = repo.place(tx, &offered, now).await?;
        let new = take_releases(repo, tx, &all, now).await?;
        let deltas = deltas_offered(tx, &repo.tenant).await?;
        repo.resign(tx, &before, Some(&deltas), now).await?;
        verify_listed(repo, tx, now).await?;
        check_listed(&offered, &all)?;
        let names: Vec<&str> = offered.metadata.iter().map(|stored| stored.role.as_str()).collect();
        note(repo, tx, actor, "tuf.publish", "tuf", &names.join(" "), now).await?;
        Ok::<_, Refusal>(new)
    })?;
    Ok(TufStatus { new_releases, ..repo.status(now).await? })
}

/// Every release that a channel lists now, held against what a device of that channel would accept.
async fn verify_listed(repo: &Repo, tx: &mut Tx, now: i64) -> Result<(), Refusal> {
    let mut rows = Vec::new();
    for (channel, hardware, name) in sql::channels_all(tx, &repo.tenant).await? {
        let row = sql::release_row(tx, &repo.tenant, &hardware, &name).await?.ok_or_else(|| {
            let text = format!("the channel {channel} lists {hardware}/{name}, which no product role names");
            Refusal::invalid("not-signed", text)
        })?;
        rows.push((channel, row));
    }
    let listed: Vec<Listed<'_>> = rows
        .iter()
        .map(|(channel, row)| Listed {
            channel,
            manifest: row.assigned(),
            floor: row.manifest.allow_downgrade_from.unwrap_or(row.manifest.security_counter),
        })
        .collect();
    let all = repo.newest(tx).await?;
    repo.verify_releases(tx, &all, &listed, now).await
}

/// Signs snapshot and timestamp anew, and the deltas role where it nears its end or `Renew::Everything` says so.
pub async fn renew(repo: &Repo, what: Renew, now: i64) -> Result<(), Refusal> {
    tx!(repo.db, "release.renew", |tx| {
        let all = repo.newest(tx).await?;
        if !all.contains_key("timestamp") {
            return Ok(());
        }
        let soon = ["snapshot", "deltas"]
            .iter()
            .any(|role| all.get(*role).is_some_and(|stored| renew_soon(stored, now)));
        if what == Renew::Everything || soon {
            let deltas = deltas_offered(tx, &repo.tenant).await?;
            repo.resign(tx, &all, Some(&deltas), now).await
        } else {
            repo.resign_timestamp(tx, &all, all.clone(), now).await
        }
    })
}

/// How much is signed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renew {
    /// The timestamp, and what nears its end.
    Timestamp,
    /// All online roles: after a restart, which may be one on a restored backup.
    Everything,
}

/// What must have booted for the level *booted*: the digest of the first artefact, which the boot chain measures.
pub async fn booted_digest(
    tx: &mut Tx,
    tenant: &str,
    hardware: &str,
    name: &str,
) -> Result<Option<Digest>, Error> {
    let row = sql::release_row(tx, tenant, hardware, name).await?;
    Ok(row.and_then(|row| row.manifest.artefacts.first().map(|artefact| artefact.sha256)))
}

/// One release.
pub async fn show(tx: &mut Tx, tenant: &str, hardware: &str, name: &str) -> Result<Option<Release>, Error> {
    let Some(row) = sql::release_row(tx, tenant, hardware, name).await? else { return Ok(None) };
    let channels = sql::channels_of(tx, tenant, hardware, name).await?;
    Ok(Some(row.to_api(channels)))
}

/// One release's row, with its manifest.
pub async fn row(tx: &mut Tx, tenant: &str, hardware: &str, name: &str) -> Result<Option<ReleaseRow>, Error> {
    sql::release_row(tx, tenant, hardware, name).await
}

/// Releases by hardware and name.
pub async fn list(
    tx: &mut Tx,
    tenant: &str,
    hardware: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Release>, Error> {
    let mut releases = Vec::new();
    for row in sql::release_list(tx, tenant, hardware, after, limit).await? {
        let channels = sql::channels_of(tx, tenant, &row.hardware, row.manifest.release.as_str()).await?;
        releases.push(row.to_api(channels));
    }
    Ok(releases)
}

/// Deltas by base and output.
pub async fn delta_list(tx: &mut Tx, tenant: &str, after: &str, limit: i64) -> Result<Vec<Delta>, Error> {
    sql::delta_list(tx, tenant, after, limit).await
}

/// Queues the deltas of every artefact that both releases have by the same name.
pub async fn delta_queue(
    repo: &Repo,
    actor: &audit::Actor<'_>,
    body: &BuildDeltas,
    now: i64,
) -> Result<Vec<Delta>, Refusal> {
    tx!(repo.db, "delta.queue", |tx| {
        let (from, to) = (&body.from, &body.to);
        let missing =
            |name: &str| Refusal::not_found(format!("release {}/{name}", audit::printable(&body.hardware)));
        let base = sql::release_row(tx, &repo.tenant, &body.hardware, from.as_str()).await?;
        let base = base.ok_or_else(|| missing(&audit::printable(from.as_str())))?;
        let output = sql::release_row(tx, &repo.tenant, &body.hardware, to.as_str()).await?;
        let output = output.ok_or_else(|| missing(&audit::printable(to.as_str())))?;
        let deltas = queue_between(repo, tx, &base, &output, now).await?;
        let resource = format!("release/{}/{to}", body.hardware);
        note(repo, tx, actor, "delta.queue", &resource, &format!("from {from}"), now).await?;
        Ok(deltas)
    })
}

/// Queues the deltas between two releases, within a transaction.
pub async fn queue_between(
    repo: &Repo,
    tx: &mut Tx,
    base: &ReleaseRow,
    output: &ReleaseRow,
    now: i64,
) -> Result<Vec<Delta>, Refusal> {
    let mut deltas = Vec::new();
    for artefact in &output.manifest.artefacts {
        let Some(old) = base.manifest.artefacts.iter().find(|old| old.name == artefact.name) else {
            continue;
        };
        if old.sha256 == artefact.sha256 {
            continue;
        }
        sql::delta_queue(tx, &repo.tenant, old.sha256, artefact.sha256, artefact.length, now).await?;
        deltas.extend(sql::delta_row(tx, &repo.tenant, old.sha256, artefact.sha256).await?);
    }
    Ok(deltas)
}

/// The deltas that are offered, as the deltas role lists them.
pub(super) async fn deltas_offered(tx: &mut Tx, tenant: &str) -> Result<Vec<DeltaTarget>, Refusal> {
    let offered = sql::delta_offered(tx, tenant).await?;
    let target = |delta: sql::OfferedDelta| DeltaTarget {
        custom: delta.custom,
        patch: delta.patch,
        length: delta.length,
    };
    Ok(offered.into_iter().map(target).collect())
}

/// Signs what is offered now into the deltas role.
pub(super) async fn offer_deltas(repo: &Repo, tx: &mut Tx, now: i64) -> Result<(), Refusal> {
    let before = repo.newest(tx).await?;
    let deltas = deltas_offered(tx, &repo.tenant).await?;
    repo.resign(tx, &before, Some(&deltas), now).await
}

/// A device says that a delta does not give its output: after [`BAD_REPORTS_MAX`] it is withdrawn.
pub async fn delta_reported_bad(
    repo: &Repo,
    tx: &mut Tx,
    (base, output): (Digest, Digest),
    device: &str,
    now: i64,
) -> Result<(), Refusal> {
    let count = sql::delta_reported_bad(tx, &repo.tenant, (base, output), device, now).await?;
    if count >= BAD_REPORTS_MAX {
        let reason = format!("{count} devices report that it does not give its output");
        if sql::delta_withdraw(tx, &repo.tenant, base, output, &reason).await? {
            offer_deltas(repo, tx, now).await?;
            let actor = audit::Actor::Service("checkin");
            note(repo, tx, &actor, "delta.withdraw", &format!("delta/{base}-{output}"), &reason, now).await?;
        }
    }
    Ok(())
}

/// Registers the releases that the product roles name, and what each channel lists now.
async fn take_releases(
    repo: &Repo,
    tx: &mut Tx,
    all: &BTreeMap<String, Stored>,
    now: i64,
) -> Result<Vec<String>, Refusal> {
    let mut new = Vec::new();
    for (role, stored) in all {
        if let Some(hardware) = role.strip_prefix("product-") {
            for (path, digest) in targets_of(stored)? {
                new.extend(take_release(repo, tx, hardware, &path, digest, now).await?);
            }
        } else if let Some(channel) = role.strip_prefix("channel-") {
            let entry = |(path, _): (String, Digest)| channel_entry(channel, &path);
            let listed: Vec<(String, String)> = targets_of(stored)?.into_iter().filter_map(entry).collect();
            sql::channel_set(tx, &repo.tenant, channel, &listed).await?;
        }
    }
    Ok(new)
}

async fn take_release(
    repo: &Repo,
    tx: &mut Tx,
    hardware: &str,
    path: &str,
    digest: Digest,
    now: i64,
) -> Result<Option<String>, Refusal> {
    let bytes = repo.target(tx, path, digest).await?.ok_or_else(|| {
        Refusal::invalid(
            "manifest-missing",
            format!("product-{hardware} names {path}, but its file was not given"),
        )
    })?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::invalid("manifest-malformed", format!("{path} is no manifest: {error}")))?;
    let expected = format!("products/{hardware}/{}.json", manifest.release);
    if path != expected || !manifest.hardware.iter().any(|hw| hw == hardware) {
        let detail = format!("the manifest at {path} says that it is {expected}");
        return Err(Refusal::invalid("manifest-misplaced", detail));
    }
    for artefact in &manifest.artefacts {
        let blob = repo.blob(tx, artefact.sha256).await?.ok_or_else(|| {
            let detail = format!("the artefact {} ({}) was not uploaded", artefact.name, artefact.sha256);
            Refusal::invalid("artifact-missing", detail)
        })?;
        if (blob.length, blob.block_root) != (artefact.length, artefact.block_root) {
            let detail = format!(
                "the artefact {} has another length or block root than the manifest says",
                artefact.name
            );
            return Err(Refusal::invalid("artifact-differs", detail));
        }
    }
    let row = ReleaseRow {
        hardware: hardware.to_owned(),
        manifest_len: bytes.len() as u64,
        manifest,
        manifest_sha256: digest,
        published_at: now,
    };
    let is_new = sql::release_put(tx, &repo.tenant, &row, &bytes).await?;
    if !is_new {
        let there = sql::release_row(tx, &repo.tenant, hardware, row.manifest.release.as_str()).await?;
        if there.is_some_and(|there| there.manifest_sha256 != digest) {
            let text = format!(
                "{path} was published with another content: a release is never edited, give the new one another name"
            );
            return Err(Refusal::conflict("release-edited", text));
        }
    }
    Ok(is_new.then(|| format!("{hardware}/{}", row.manifest.release)))
}

/// `channels/<name>/<hw>/<release>.json` to (hw, release).
fn channel_entry(channel: &str, path: &str) -> Option<(String, String)> {
    let rest = path.strip_prefix("channels/")?.strip_prefix(channel)?.strip_prefix('/')?;
    let (hardware, file) = rest.split_once('/')?;
    Some((hardware.to_owned(), file.strip_suffix(".json")?.to_owned()))
}

pub(super) async fn note(
    repo: &Repo,
    tx: &mut Tx,
    actor: &audit::Actor<'_>,
    action: &str,
    resource: &str,
    reason: &str,
    now: i64,
) -> Result<(), Error> {
    let entry = audit::Entry {
        tenant: &repo.tenant,
        actor: actor.clone(),
        action,
        resource: resource.to_owned(),
        outcome: audit::Outcome::Done,
        reason: reason.to_owned(),
    };
    audit::append(tx, &entry, now).await
}

impl ReleaseRow {
    /// As an assignment names it.
    pub(crate) fn assigned(&self) -> AssignedManifest<'_> {
        AssignedManifest {
            hardware: &self.hardware,
            release: &self.manifest.release,
            sha256: self.manifest_sha256,
            length: self.manifest_len,
        }
    }
}
