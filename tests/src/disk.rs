//! A small file system of a device's own, to be filled. Needs root, as the rest of the suites do.

use crate::process::run;
use anyhow::{Context as _, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of this size (as mount(8) takes it) over a folder, made if need be.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(path: &Path, size: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        let options = format!("size={size}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Fills it to the last byte, as somebody else's log would.
    ///
    /// # Errors
    /// When something else ends the writing.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        let ended = std::io::copy(&mut std::io::repeat(7), &mut filler);
        let error = ended.err().context("an endless write ended well")?;
        ensure!(error.kind() == std::io::ErrorKind::StorageFull, "not full, but {error}");
        Ok(())
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Errors
    /// When it was not filled.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.path)) {
            eprintln!("{error}");
        }
    }
}
