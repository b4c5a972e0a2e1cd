//! What a draft may be built upon: a document of the right type, signed by the threshold that this desk knows for its
//! role, and no older than what this desk has published.
//!
//! Here: who may sign a role, and the check. Not here: what a draft holds.
//! Invariant: no [`Predecessor`] exists whose content the role's offline keys did not sign. The service holds online
//! keys only; without this check it would choose what the desk signs next.

use super::Desk;
use super::draft::Plan;
use super::envelope::Envelope;
use super::keys;
use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};
use std::path::Path;
use tough::schema::key::Key;

/// A document that was checked; the next version follows it.
#[derive(Debug)]
pub(crate) struct Predecessor(Envelope);

impl Predecessor {
    /// Checks what the service shows for `role`. None only if the role was never published, here either.
    pub(crate) fn shown(desk: &Desk, role: &str, shown: Option<&[u8]>) -> anyhow::Result<Option<Self>> {
        let Some(bytes) = shown else {
            if let Some(kept) = published(desk, role)? {
                bail!(
                    "the service shows no {role}, this desk published version {}: nothing was drafted. The service \
                     withholds it or was set back; look into that, publish again what it lost, then draft",
                    kept.version()?
                );
            }
            return Ok(None);
        };
        Self::check(desk, role, bytes, "the service").map(Some)
    }

    /// Checks a file that a person gave as the version before.
    pub(crate) fn file(desk: &Desk, role: &str, bytes: &[u8], file: &Path) -> anyhow::Result<Self> {
        Self::check(desk, role, bytes, &file.display().to_string())
    }

    fn check(desk: &Desk, role: &str, bytes: &[u8], from: &str) -> anyhow::Result<Self> {
        let envelope = Envelope::read(bytes)
            .with_context(|| format!("{from} shows no metadata for {role}: nothing was drafted"))?;
        let (wanted, found) = (kind(role), envelope.kind());
        ensure!(
            found == wanted,
            "{from} shows metadata of type {found} for {role}, {wanted} is due: nothing was drafted"
        );
        signers(desk, role)?.check(&envelope, role, from)?;
        if role == "root" {
            // TUF 5.3.4: a root is signed by the keys of the root before and by its own.
            let own = Signers::named_in(&envelope, role, from).context("the root names no root keys")?;
            own.check(&envelope, role, from)?;
        }
        if let Some(kept) = published(desk, role)? {
            not_older(&envelope, &kept, role, from)?;
        }
        Ok(Self(envelope))
    }

    /// The version of the draft that follows.
    pub(crate) fn next_version(&self) -> anyhow::Result<u64> {
        let version = self.0.version()?;
        version.checked_add(1).with_context(|| {
            format!(
                "version {version} is the last that there can be: retire the keys that signed it with a new root or \
                 targets, then begin the role anew"
            )
        })
    }

    pub(crate) fn targets(&self) -> Map<String, Value> {
        self.0.targets()
    }
}

/// The version that follows `previous`, or the first.
pub(crate) fn next_version(previous: Option<&Predecessor>) -> anyhow::Result<u64> {
    previous.map_or(Ok(1), Predecessor::next_version)
}

/// The `_type` of a role's metadata.
pub(crate) fn kind(role: &str) -> &'static str {
    if role == "root" { "root" } else { "targets" }
}

/// What this desk has published for a role, if anything.
pub(crate) fn published(desk: &Desk, role: &str) -> anyhow::Result<Option<Envelope>> {
    let path = desk.published().join(format!("{role}.json"));
    match std::fs::read(&path) {
        Ok(bytes) => Envelope::read(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged: put a good copy in its place", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// The keys that may sign a role, how many must, and who says so.
struct Signers {
    keys: Vec<(String, Key)>,
    threshold: u64,
    named_by: String,
}

impl Signers {
    /// What `namer` (a root, or the top-level targets) says of `role`.
    fn named_in(namer: &Envelope, role: &str, named_by: &str) -> Option<Self> {
        let signed = &namer.signed;
        let (keys, entry) = if namer.kind() == "root" {
            (&signed["keys"], signed["roles"].get(role)?)
        } else {
            let mut roles = signed["delegations"]["roles"].as_array()?.iter();
            (&signed["delegations"]["keys"], roles.find(|entry| entry["name"] == role)?)
        };
        let key = |id: &Value| {
            let id = id.as_str()?;
            Some((id.to_owned(), serde_json::from_value(keys.get(id)?.clone()).ok()?))
        };
        let keys = entry["keyids"].as_array()?.iter().filter_map(key).collect();
        Some(Self { keys, threshold: entry["threshold"].as_u64()?, named_by: named_by.to_owned() })
    }

    fn check(&self, envelope: &Envelope, role: &str, from: &str) -> anyhow::Result<()> {
        let signed = envelope.valid_signatures(&self.keys)? as u64;
        let (threshold, named_by) = (self.threshold, &self.named_by);
        ensure!(
            threshold > 0 && signed >= threshold,
            "{from} shows a {role} with {signed} valid signatures, {threshold} of the keys that {named_by} names for it \
             are needed: nothing was drafted. Either somebody changed it and what it lists must not be signed, or \
             another desk changed the keys: then copy root.json and targets.json from that desk's published folder \
             into this desk's and draft again"
        );
        Ok(())
    }
}

/// The published root names the keys of root and targets, the published targets those of every other role. A desk that
/// has published neither goes by its own keys and its plan.
fn signers(desk: &Desk, role: &str) -> anyhow::Result<Signers> {
    let namer = if matches!(role, "root" | "targets") { "root" } else { "targets" };
    let Some(document) = published(desk, namer)? else { return own_keys(desk, role) };
    let path = desk.published().join(format!("{namer}.json")).display().to_string();
    ensure!(document.kind() == namer, "{path} holds metadata of type {}, not {namer}", document.kind());
    if namer == "targets" {
        signers(desk, "targets")?.check(&document, "targets", &path)?;
    }
    Signers::named_in(&document, role, &path).with_context(|| {
        format!(
            "{path} names no keys for {role}, yet it is published: nothing was drafted. Copy root.json and targets.json \
             from the published folder of the desk that named them, then draft again"
        )
    })
}

fn own_keys(desk: &Desk, role: &str) -> anyhow::Result<Signers> {
    let files = keys::publics(desk, role)?;
    Ok(Signers {
        keys: files.into_iter().map(|file| (file.key_id, file.key)).collect(),
        threshold: Plan::read(desk)?.threshold(role),
        named_by: desk.keys().display().to_string(),
    })
}

fn not_older(shown: &Envelope, kept: &Envelope, role: &str, from: &str) -> anyhow::Result<()> {
    let (version, published) = (shown.version()?, kept.version()?);
    ensure!(
        version >= published,
        "{from} shows version {version} of {role}, this desk published version {published}: nothing was drafted. The \
         newer one is withheld or was lost in a restore; look into that, publish again what was lost, then draft"
    );
    ensure!(
        version > published || shown.canonical()? == kept.canonical()?,
        "{from} shows another version {version} of {role} than this desk published: nothing was drafted. Two documents \
         of one version were signed; find out which one devices have, and put it into the desk's published folder"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
