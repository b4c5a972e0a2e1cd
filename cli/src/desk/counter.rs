//! Security counters: which one a release has when nobody says, and when one is out of proportion.
//!
//! Invariant: no counter is taken from the service's word. A device that commits a release refuses everything below its
//! counter for ever, so a false one, once signed, cannot be taken back.

use super::Desk;
use super::draft::target;
use anyhow::{Context as _, ensure};
use holdfast_proto::manifest::Manifest;
use serde_json::{Map, Value};

/// A rise above this is called out: counters rise by one when older releases are shut out.
const RISE_MAX: u64 = 1000;

/// The highest counter of `released` (targets of a product role that was checked), read from the manifests that this desk keeps; 1 if there is none.
///
/// # Errors
/// When a manifest is not kept here: then only a person can say.
pub(crate) fn highest(desk: &Desk, released: &Map<String, Value>) -> anyhow::Result<u64> {
    let mut highest = 1;
    for (path, described) in released {
        let manifest = manifest(desk, path, described)?.with_context(|| {
            format!(
                "the security counter of {path} is not known: this desk does not keep that manifest. Give \
                 --security-counter, or copy published/files from the desk that published it"
            )
        })?;
        highest = highest.max(manifest.security_counter);
    }
    Ok(highest)
}

/// What a person should know of a counter before it is signed, if anything.
pub(crate) fn warning(counter: u64, highest: u64) -> Option<String> {
    (counter > highest).then(|| {
        let call = if counter - highest > RISE_MAX { "WARNING, a large jump: " } else { "" };
        format!(
            "{call}security counter {counter} is above {highest}, the highest so far: a device that keeps this release \
             never again installs one below {counter}"
        )
    })
}

/// A manifest as the desk keeps it, drafted or published, if its bytes are those that `described` tells.
pub(crate) fn manifest(desk: &Desk, path: &str, described: &Value) -> anyhow::Result<Option<Manifest>> {
    let Some(bytes) = kept_file(desk, path, described)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{path} is no manifest"))
}

/// A small target file as the desk keeps it, if its bytes are those that `described` tells.
pub(crate) fn kept_file(desk: &Desk, path: &str, described: &Value) -> anyhow::Result<Option<Vec<u8>>> {
    let good = path.split('/').all(holdfast_proto::id::is_segment);
    ensure!(good, "{} is no target path", path.escape_default());
    let fits = |bytes: &Vec<u8>| {
        let found = target(bytes);
        found["length"] == described["length"] && found["hashes"]["sha256"] == described["hashes"]["sha256"]
    };
    let folders = [desk.files(), desk.published().join("files")];
    Ok(folders.iter().filter_map(|folder| std::fs::read(folder.join(path)).ok()).find(fits))
}
