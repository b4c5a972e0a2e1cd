//! Two slots, each with a place per artefact: a block device, or a file that stands for one.

use super::{Installer, Room};
use crate::error::DeviceError;
use holdfast_decide::device::Slot;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// The places.
#[derive(Debug)]
pub(super) struct AbSlot {
    a: BTreeMap<String, PathBuf>,
    b: BTreeMap<String, PathBuf>,
    records: PathBuf,
}

impl AbSlot {
    pub(super) fn new(a: BTreeMap<String, PathBuf>, b: BTreeMap<String, PathBuf>, records: PathBuf) -> Self {
        Self { a, b, records }
    }

    fn places(&self, slot: Slot) -> &BTreeMap<String, PathBuf> {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    fn place(&self, slot: Slot, name: &str) -> Result<&Path, DeviceError> {
        let unknown = || DeviceError::unusable(format!("slot {} has no place for {name}", slot.as_str()));
        self.places(slot).get(name).map(PathBuf::as_path).ok_or_else(unknown)
    }
}

impl Installer for AbSlot {
    fn names(&self, slot: Slot) -> Result<Vec<String>, DeviceError> {
        Ok(self.places(slot).keys().cloned().collect())
    }

    fn room(&self, slot: Slot, name: &str) -> Result<Room, DeviceError> {
        let Some(path) = self.places(slot).get(name) else { return Ok(Room::Unknown) };
        let failed = |source| DeviceError::Read { path: path.clone(), source };
        if !is_device(path) {
            return Ok(Room::Grows);
        }
        let end = File::open(path).and_then(|mut device| device.seek(SeekFrom::End(0)));
        end.map(Room::Bytes).map_err(failed)
    }

    fn path(&self, slot: Slot, name: &str) -> Option<PathBuf> {
        self.places(slot).get(name).cloned()
    }

    fn open(&self, slot: Slot, name: &str) -> Result<Option<File>, DeviceError> {
        let path = self.place(slot, name)?;
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DeviceError::Read { path: path.to_owned(), source }),
        }
    }

    fn open_for_writing(&self, slot: Slot, name: &str) -> Result<File, DeviceError> {
        let path = self.place(slot, name)?;
        let failed = |source| DeviceError::Write { path: path.to_owned(), source };
        // A device is there or is not; only a file that stands for one is made.
        let create = !path.exists() && !path.starts_with("/dev");
        if let (true, Some(folder)) = (create, path.parent()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path).map_err(failed)
    }

    fn clear(&self, _: Slot, _: &[&str]) -> Result<(), DeviceError> {
        // A place holds one artefact, and there is none but for artefacts.
        Ok(())
    }

    fn trim(&self, _: Slot, _: &[(String, u64)]) -> Result<(), DeviceError> {
        // What stands behind the image in a slot is nobody's.
        Ok(())
    }

    fn grows_on(&self) -> Option<PathBuf> {
        let mut places = self.a.values().chain(self.b.values());
        let file = places.find(|path| !is_device(path))?;
        file.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned)
    }

    fn records(&self) -> &Path {
        &self.records
    }
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev")
        || std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}
