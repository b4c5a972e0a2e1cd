//! Drafts of a release: its manifest, the next product metadata and the next channel metadata.

use super::draft::{SPEC_VERSION, expires, target};
use super::envelope::Envelope;
use super::predecessor::{Predecessor, next_version};
use super::{Desk, Privacy, write_file};
use anyhow::{bail, ensure};
use holdfast_proto::manifest::Manifest;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// What is published now for each role, if anything.
pub(crate) struct Published {
    pub(crate) product: Option<Predecessor>,
    pub(crate) channel: Option<Predecessor>,
}

const PRODUCT_DAYS: i64 = 180;
const CHANNEL_DAYS: i64 = 30;

/// Writes the manifest and both drafts; returns their paths.
pub(crate) fn draft(
    desk: &Desk,
    hardware: &str,
    channel: &str,
    manifest: &Manifest,
    published: &Published,
    now: i64,
) -> anyhow::Result<Vec<PathBuf>> {
    let file = format!("{hardware}/{}.json", manifest.release);
    let bytes = serde_json::to_vec(manifest)?;
    let manifest_path = desk.files().join(format!("products/{file}"));
    let described = target(&bytes);

    let product = with_target(
        published.product.as_ref(),
        &format!("products/{file}"),
        &described,
        NewTarget::Only,
        expires(now, PRODUCT_DAYS)?,
    )?;
    let channel_doc = with_target(
        published.channel.as_ref(),
        &format!("channels/{channel}/{file}"),
        &described,
        NewTarget::OrSame,
        expires(now, CHANNEL_DAYS)?,
    )?;
    let product_path = desk.out().join(format!("product-{hardware}.json"));
    let channel_path = desk.out().join(format!("channel-{channel}.json"));
    write_file(&manifest_path, &bytes, Privacy::Public)?;
    write_file(&product_path, &product.to_bytes()?, Privacy::Public)?;
    write_file(&channel_path, &channel_doc.to_bytes()?, Privacy::Public)?;
    Ok(vec![manifest_path, product_path, channel_path])
}

/// `release yank`: the next channel metadata without this release.
pub(crate) fn yank(
    desk: &Desk,
    hardware: &str,
    channel: &str,
    release: &str,
    published: &Predecessor,
    now: i64,
) -> anyhow::Result<PathBuf> {
    let mut targets = published.targets();
    let path = format!("channels/{channel}/{hardware}/{release}.json");
    ensure!(targets.remove(&path).is_some(), "the channel {channel} does not list {release} for {hardware}");
    let draft = document(published.next_version()?, targets, expires(now, CHANNEL_DAYS)?)?;
    let out = desk.out().join(format!("channel-{channel}.json"));
    write_file(&out, &draft.to_bytes()?, Privacy::Public)?;
    Ok(out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewTarget {
    /// The path must be new: a release is never edited.
    Only,
    /// The path may stand there already with the same content.
    OrSame,
}

fn with_target(
    published: Option<&Predecessor>,
    path: &str,
    described: &Value,
    rule: NewTarget,
    expires: String,
) -> anyhow::Result<Envelope> {
    let mut targets = published.map(Predecessor::targets).unwrap_or_default();
    if let Some(there) = targets.get(path)
        && (rule == NewTarget::Only || there != described)
    {
        bail!("{path} is published already: a release is never edited, give the new one another name");
    }
    targets.insert(path.to_owned(), described.clone());
    document(next_version(published)?, targets, expires)
}

fn document(version: u64, targets: Map<String, Value>, expires: String) -> anyhow::Result<Envelope> {
    Envelope::draft(json!({
        "_type": "targets", "spec_version": SPEC_VERSION, "version": version, "expires": expires, "targets": targets,
    }))
}
