//! The install record of a slot: what was written there and read back whole.

use crate::aside;
use crate::error::DeviceError;
use crate::files;
use crate::survey::in_words;
use holdfast_decide::device::{Installed, Slot};
use holdfast_proto::manifest::Manifest;
use holdfast_proto::{Digest, ReleaseName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotRecord {
    pub(crate) release: ReleaseName,
    /// SHA-256 of the manifest's bytes.
    pub(crate) manifest: Digest,
    pub(crate) security_counter: u64,
    pub(crate) artefacts: BTreeMap<String, Placed>,
}

/// An artefact in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placed {
    /// Bytes.
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
}

impl SlotRecord {
    pub(crate) fn of(manifest: &Manifest, digest: Digest) -> Self {
        let placed = |a: &holdfast_proto::manifest::Artefact| Placed { length: a.length, sha256: a.sha256 };
        Self {
            release: manifest.release.clone(),
            manifest: digest,
            security_counter: manifest.security_counter,
            artefacts: manifest.artefacts.iter().map(|a| (a.name.clone(), placed(a))).collect(),
        }
    }

    /// As the machine knows it.
    pub(crate) fn installed(&self) -> Installed {
        Installed {
            release: Some(self.release.clone()),
            manifest: Some(self.manifest),
            security_counter: self.security_counter,
            artefacts: self.artefacts.iter().map(|(name, placed)| (name.clone(), placed.sha256)).collect(),
        }
    }
}

fn path(folder: &Path, slot: Slot) -> PathBuf {
    folder.join(format!("{}.json", slot.as_str()))
}

/// A record that cannot be read, whatever the reason, is none: then nothing is said of the slot.
pub(super) fn read(folder: &Path, slot: Slot) -> Option<SlotRecord> {
    files::read_json(&path(folder, slot)).unwrap_or_else(|error| {
        eprintln!("holdfast-device: an install record counts as absent: {}", in_words(&error));
        None
    })
}

pub(super) fn write(folder: &Path, slot: Slot, record: &SlotRecord) -> Result<(), DeviceError> {
    let path = path(folder, slot);
    aside::clear(&path);
    files::write_json(&path, record)
}

pub(super) fn remove(folder: &Path, slot: Slot) -> Result<(), DeviceError> {
    let path = path(folder, slot);
    aside::clear(&path);
    let removed = match std::fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(()) => std::fs::File::open(folder).and_then(|folder| folder.sync_all()),
    };
    removed.map_err(|source| DeviceError::Write { path, source })
}
