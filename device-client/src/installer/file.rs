//! Two versions below one folder, `a/` and `b/`, an ordinary file for each artefact; `current` names the one to run.

use super::{Installer, Room};
use crate::error::DeviceError;
use holdfast_decide::device::Slot;
use std::ffi::OsString;
use std::fs::{File, FileType, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
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

    /// Whatever lies in the version's folder, with what it is; links are not followed.
    fn entries(&self, slot: Slot) -> Result<Vec<(OsString, FileType)>, DeviceError> {
        let folder = self.version(slot);
        let read = || -> std::io::Result<Vec<_>> {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                entries.push((entry.file_name(), entry.file_type()?));
            }
            Ok(entries)
        };
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            ended => ended.map_err(|source| DeviceError::Read { path: folder, source }),
        }
    }
}

impl Installer for Versions {
    fn names(&self, slot: Slot) -> Result<Vec<String>, DeviceError> {
        let files = self.entries(slot)?.into_iter().filter(|(_, kind)| kind.is_file());
        // A name that is no text is none of a manifest's.
        let mut names: Vec<String> = files.filter_map(|(name, _)| name.into_string().ok()).collect();
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
        // Nothing but a file is an artefact: to open a FIFO is to wait for who writes into it.
        let opened = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => File::open(&path).map(Some),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
        match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            ended => ended.map_err(|source| DeviceError::Read { path, source }),
        }
    }

    fn open_for_writing(&self, slot: Slot, name: &str) -> Result<File, DeviceError> {
        let path =
            self.path(slot, name).ok_or_else(|| DeviceError::unusable(format!("`{name}` is no name")))?;
        let folder = self.version(slot);
        std::fs::create_dir_all(&folder).map_err(|source| DeviceError::Write { path: folder, source })?;
        let opened = match std::fs::symlink_metadata(&path) {
            // Behind a link may be the version that runs.
            Ok(found) if !found.is_file() => Err(std::io::Error::other("it is no file: remove it")),
            _ => OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path),
        };
        opened.map_err(|source| DeviceError::Write { path, source })
    }

    fn clear(&self, slot: Slot, names: &[&str]) -> Result<(), DeviceError> {
        for (name, _) in self.entries(slot)? {
            let path = self.version(slot).join(&name);
            let listed = name.to_str().is_some_and(|name| names.contains(&name));
            let cleared = std::fs::symlink_metadata(&path).and_then(|found| {
                if found.is_dir() {
                    std::fs::remove_dir_all(&path)
                } else if listed && found.is_file() && found.nlink() == 1 {
                    Ok(())
                } else {
                    // A file with a second name may be the version that runs: a new one is written in its place.
                    std::fs::remove_file(&path)
                }
            });
            match cleared {
                Err(source) if listed => return Err(DeviceError::Write { path, source }),
                // A mount, say: where room is short, writing tells so.
                Err(error) => eprintln!("holdfast-device: {} stays: {error}", path.display()),
                Ok(()) => {}
            }
        }
        Ok(())
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
