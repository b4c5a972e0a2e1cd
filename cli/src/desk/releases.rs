//! Drafts of a release: its manifest, the next product metadata and the next channel metadata.

use super::draft::{SPEC_VERSION, expires, target};
use super::envelope::Envelope;
use super::{Desk, Privacy, write_file};
use anyhow::{bail, ensure};
use holdfast_proto::manifest::Manifest;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// What is published now for a role, if anything.
pub(crate) struct Published {
    pub(crate) product: Option<Vec<u8>>,
    pub(crate) channel: Option<Vec<u8>>,
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
        published.product.as_deref(),
        &format!("products/{file}"),
        &described,
        NewTarget::Only,
        expires(now, PRODUCT_DAYS)?,
    )?;
    let channel_doc = with_target(
        published.channel.as_deref(),
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
    published: &[u8],
    now: i64,
) -> anyhow::Result<PathBuf> {
    let (next, mut targets) = current(Some(published))?;
    let path = format!("channels/{channel}/{hardware}/{release}.json");
    ensure!(targets.remove(&path).is_some(), "the channel {channel} does not list {release} for {hardware}");
    let draft = document(next, targets, expires(now, CHANNEL_DAYS)?)?;
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
    published: Option<&[u8]>,
    path: &str,
    described: &Value,
    rule: NewTarget,
    expires: String,
) -> anyhow::Result<Envelope> {
    let (next, mut targets) = current(published)?;
    if let Some(there) = targets.get(path)
        && (rule == NewTarget::Only || there != described)
    {
        bail!("{path} is published already: a release is never edited, give the new one another name");
    }
    targets.insert(path.to_owned(), described.clone());
    document(next, targets, expires)
}

/// The version that follows, and the targets that it goes on with.
fn current(published: Option<&[u8]>) -> anyhow::Result<(u64, Map<String, Value>)> {
    let Some(bytes) = published else { return Ok((1, Map::new())) };
    let envelope = Envelope::read(bytes)?;
    let targets = envelope.signed["targets"].as_object().cloned().unwrap_or_default();
    Ok((envelope.next_version()?, targets))
}

fn document(version: u64, targets: Map<String, Value>, expires: String) -> anyhow::Result<Envelope> {
    Envelope::draft(json!({
        "_type": "targets", "spec_version": SPEC_VERSION, "version": version, "expires": expires, "targets": targets,
    }))
}
