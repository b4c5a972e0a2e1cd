//! No boot loader at all: the symlink `current` names the version that runs, and is swapped by rename. `committed`
//! says which one was found good.

use super::{BootFacts, BootLoader};
use crate::error::DeviceError;
use crate::files;
use holdfast_decide::device::{Activation, Slot};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder of the versions.
#[derive(Debug)]
pub(crate) struct Swap {
    folder: PathBuf,
}

impl Swap {
    /// Opens the folder; on first use version `a` is the one that runs.
    pub(crate) fn open(folder: &Path) -> Result<Self, DeviceError> {
        let swap = Self { folder: folder.to_owned() };
        std::fs::create_dir_all(folder)
            .map_err(|source| DeviceError::Write { path: folder.to_owned(), source })?;
        if std::fs::symlink_metadata(swap.link()).is_err() {
            swap.point(swap.committed()?.unwrap_or(Slot::A))?;
        }
        if swap.committed()?.is_none() {
            swap.commit(swap.current()?)?;
        }
        Ok(swap)
    }

    fn link(&self) -> PathBuf {
        self.folder.join("current")
    }

    fn current(&self) -> Result<Slot, DeviceError> {
        let path = self.link();
        let target =
            std::fs::read_link(&path).map_err(|source| DeviceError::Read { path: path.clone(), source })?;
        slot(&target.to_string_lossy())
            .ok_or(DeviceError::Malformed { path, why: "it names neither a nor b".into() })
    }

    fn committed(&self) -> Result<Option<Slot>, DeviceError> {
        let bytes = files::read(&self.folder.join("committed"))?;
        Ok(bytes.and_then(|bytes| slot(String::from_utf8_lossy(&bytes).trim())))
    }

    fn commit(&self, slot: Slot) -> Result<(), DeviceError> {
        files::write(&self.folder.join("committed"), slot.as_str().as_bytes())
    }

    fn point(&self, slot: Slot) -> Result<(), DeviceError> {
        let swap = || -> std::io::Result<()> {
            let beside = self.folder.join("current.new");
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::os::unix::fs::symlink(slot.as_str(), &beside)?;
            std::fs::rename(&beside, self.link())?;
            File::open(&self.folder)?.sync_all()
        };
        swap().map_err(|source| DeviceError::Write { path: self.link(), source })?;
        if self.current()? == slot {
            Ok(())
        } else {
            Err(DeviceError::unusable("the symlink reads back as another"))
        }
    }
}

impl BootLoader for Swap {
    fn activation(&self) -> Activation {
        Activation::Swap
    }

    fn facts(&self) -> Result<BootFacts, DeviceError> {
        let boot_id = files::read(Path::new("/proc/sys/kernel/random/boot_id"))?.unwrap_or_default();
        let slot = self.current()?;
        Ok(BootFacts {
            boot_id: String::from_utf8_lossy(&boot_id).trim().to_owned(),
            slot,
            on_trial: self.committed()? != Some(slot),
            other_tries: None,
        })
    }

    fn mark_bad(&mut self, slot: Slot) -> Result<(), DeviceError> {
        if self.current()? == slot || self.committed()? == Some(slot) {
            return Err(DeviceError::unusable(format!("version {} is the one that runs", slot.as_str())));
        }
        Ok(())
    }

    fn arm(&mut self, _: Slot) -> Result<(), DeviceError> {
        Err(DeviceError::unusable("a version is swapped, not booted"))
    }

    fn activate(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.point(slot)
    }

    fn mark_good(&mut self, slot: Slot) -> Result<(), DeviceError> {
        if self.current()? != slot {
            return Err(DeviceError::unusable("only the running version can be marked good"));
        }
        self.commit(slot)
    }

    fn revert(&mut self, to: Slot) -> Result<(), DeviceError> {
        self.commit(to)?;
        self.point(to)
    }
}

fn slot(text: &str) -> Option<Slot> {
    [Slot::A, Slot::B].into_iter().find(|slot| slot.as_str() == text)
}
