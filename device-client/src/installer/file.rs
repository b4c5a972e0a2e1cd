//! Two versions below one folder, `a/` and `b/`, an ordinary file for each artefact; `current` names the one to run.

use super::{Installer, Room};
use crate::error::DeviceError;
use holdfast_decide::device::Slot;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Debug)]
pub(super) struct Versions {
    folder: PathBuf,
    records: PathBuf,
}

impl Versions {
    pub(super) fn new(folder: PathBuf, records: PathBuf) -> Self {
        Self { folder, records }
    }

    fn version(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.as_str())
    }
}

impl Installer for Versions {
    fn names(&self, slot: Slot) -> Result<Vec<String>, DeviceError> {
        let folder = self.version(slot);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(DeviceError::Read { path: folder, source }),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> =
            names.collect::<Result<_, _>>().map_err(|source| DeviceError::Read { path: folder, source })?;
        names.sort_unstable();
        Ok(names)
    }

    fn room(&self, _: Slot, name: &str) -> Result<Room, DeviceError> {
        // Names come from a manifest that core/trust took: one segment each.
        Ok(if holdfast_proto::id::is_segment(name) { Room::Grows } else { Room::Unknown })
    }

    fn path(&self, slot: Slot, name: &str) -> Option<PathBuf> {
        holdfast_proto::id::is_segment(name).then(|| self.version(slot).join(name))
    }

    fn open(&self, slot: Slot, name: &str) -> Result<Option<File>, DeviceError> {
        let Some(path) = self.path(slot, name) else { return Ok(None) };
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DeviceError::Read { path, source }),
        }
    }

    fn open_for_writing(&self, slot: Slot, name: &str) -> Result<File, DeviceError> {
        let path =
            self.path(slot, name).ok_or_else(|| DeviceError::unusable(format!("`{name}` is no name")))?;
        let folder = self.version(slot);
        std::fs::create_dir_all(&folder).map_err(|source| DeviceError::Write { path: folder, source })?;
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        opened.map_err(|source| DeviceError::Write { path, source })
    }

    fn trim(&self, slot: Slot, names: &[(String, u64)]) -> Result<(), DeviceError> {
        for name in self.names(slot)? {
            let path = self.version(slot).join(&name);
            let trimmed = match names.iter().find(|(wanted, _)| *wanted == name) {
                Some((_, length)) => OpenOptions::new().write(true).open(&path).and_then(|file| {
                    file.set_len(*length)?;
                    file.sync_all()
                }),
                None => std::fs::remove_file(&path),
            };
            trimmed.map_err(|source| DeviceError::Write { path, source })?;
        }
        let folder = self.version(slot);
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| DeviceError::Write { path: folder, source })
    }

    fn grows_on(&self) -> Option<PathBuf> {
        self.folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
    }

    fn records(&self) -> &Path {
        &self.records
    }
}
