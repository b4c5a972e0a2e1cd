//! Where releases are put. One trait, one registry, one conformance suite; bytes come from `crate::fetch`.
//!
//! Invariants: only the slot that does not run is written to; a slot's install record stands while, and only while,
//! the slot holds what it says.

mod ab_slot;
mod file;
mod record;

#[cfg(test)]
use record::Placed;
pub(crate) use record::SlotRecord;

use crate::config::{Config, Slots};
use crate::error::DeviceError;
use ab_slot::AbSlot;
use file::Versions;
use holdfast_decide::device::Slot;
use holdfast_proto::Digest;
use sha2::Digest as _;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes read at once when a medium is hashed.
const BUFFER_BYTES: usize = 64 << 10;

/// What a place can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// No place of this name.
    Unknown,
    /// Preallocated: so many bytes.
    Bytes(u64),
    /// It grows while the file system has space.
    Grows,
}

/// A kind of installer.
pub(crate) trait Installer {
    /// Names of the artefacts that a slot has places for, or holds.
    fn names(&self, slot: Slot) -> Result<Vec<String>, DeviceError>;

    /// What the place takes.
    fn room(&self, slot: Slot, name: &str) -> Result<Room, DeviceError>;

    /// Where it is, for people and health commands.
    fn path(&self, slot: Slot, name: &str) -> Option<PathBuf>;

    /// For reading; none when nothing is there.
    fn open(&self, slot: Slot, name: &str) -> Result<Option<File>, DeviceError>;

    /// For reading and writing; made if it can be.
    fn open_for_writing(&self, slot: Slot, name: &str) -> Result<File, DeviceError>;

    /// Removes what the manifest of these names does not list, where things can lie about: the slot is about to be
    /// written, and its room was counted with all of that.
    fn clear(&self, slot: Slot, names: &[&str]) -> Result<(), DeviceError>;

    /// Cuts off what stands behind the artefact, where the place can end there, and removes what the manifest of
    /// these names does not list.
    fn trim(&self, slot: Slot, names: &[(String, u64)]) -> Result<(), DeviceError>;

    /// The file system that grows with it; none where the places are preallocated.
    fn grows_on(&self) -> Option<PathBuf>;

    /// Where the install records are.
    fn records(&self) -> &Path;

    /// What the slot holds, by its install record.
    fn record(&self, slot: Slot) -> Option<SlotRecord> {
        record::read(self.records(), slot)
    }

    /// Writes the record: the slot was read back and is whole.
    fn put_record(&self, slot: Slot, record: &SlotRecord) -> Result<(), DeviceError> {
        record::write(self.records(), slot, record)
    }

    /// Takes the record away, durably: the slot's content is about to go.
    fn drop_record(&self, slot: Slot) -> Result<(), DeviceError> {
        record::remove(self.records(), slot)
    }
}

/// The one that the configuration names.
///
/// # Errors
/// When it names none.
pub(crate) fn open(config: &Config) -> Result<Box<dyn Installer>, DeviceError> {
    let records = config.state("slots");
    match &config.slots {
        Some(Slots::AbSlot { a, b }) => {
            apart(a.values().chain(b.values()).cloned())?;
            Ok(Box::new(AbSlot::new(a.clone(), b.clone(), records)))
        }
        Some(Slots::File { folder }) => {
            apart([Slot::A, Slot::B].into_iter().map(|slot| folder.join(slot.as_str())))?;
            Ok(Box::new(Versions::new(folder.clone(), records)))
        }
        None => Err(DeviceError::unusable("the configuration has no [slots]: this device is not updated")),
    }
}

/// Refuses two places that are one, whatever they are called: to write the one would be to write over what runs.
fn apart(places: impl Iterator<Item = PathBuf>) -> Result<(), DeviceError> {
    let mut seen: Vec<((bool, u64, u64), PathBuf)> = Vec::new();
    for place in places {
        // What is not there yet is nobody's.
        let Ok(found) = std::fs::metadata(&place) else { continue };
        let of_device = found.file_type().is_block_device();
        // A device may have several nodes: its number tells.
        let it = if of_device { (true, found.rdev(), 0) } else { (false, found.dev(), found.ino()) };
        if let Some((_, other)) = seen.iter().find(|(other, _)| *other == it) {
            return Err(DeviceError::unusable(format!(
                "[slots] {} and {} are the same place: an update would write over what runs; give each its own",
                other.display(),
                place.display()
            )));
        }
        seen.push((it, place));
    }
    Ok(())
}

/// Bytes that a release may take there, what this slot holds already included.
///
/// # Errors
/// When the file system cannot be asked.
pub(crate) fn free_bytes(installer: &dyn Installer, target: Slot) -> Result<Option<u64>, DeviceError> {
    let Some(folder) = installer.grows_on() else { return Ok(None) };
    let failed = |error: rustix::io::Errno| DeviceError::Read { path: folder.clone(), source: error.into() };
    let system = rustix::fs::statvfs(&folder).map_err(failed)?;
    let mut free = system.f_bavail.saturating_mul(system.f_frsize);
    for name in installer.names(target)? {
        if let Some(file) = installer.open(target, &name)? {
            free = free.saturating_add(file.metadata().map_or(0, |metadata| metadata.blocks() * 512));
        }
    }
    Ok(Some(free))
}

/// SHA-256 of the first `length` bytes, or of all where there are fewer.
pub(crate) fn hash_prefix(file: &mut dyn Read, length: u64) -> std::io::Result<Digest> {
    let (mut hash, mut buffer, mut left) = (sha2::Sha256::new(), vec![0; BUFFER_BYTES], length);
    while left > 0 {
        let wanted = left.min(BUFFER_BYTES as u64) as usize;
        // Unwrap safety: `wanted` and what was read are at most the buffer's length.
        match file.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Digest(hash.finalize().into()))
}

/// SHA-256 of what the *medium* holds: written through, and not taken from memory.
pub(crate) fn hash_from_medium(file: &mut File, length: u64) -> std::io::Result<Digest> {
    file.sync_all()?;
    // Advice: where the system does not take it, the bytes are read all the same.
    let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed);
    std::io::Seek::rewind(file)?;
    hash_prefix(file, length)
}

#[cfg(test)]
mod tests;
