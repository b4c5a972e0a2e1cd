//! The signing desk: TUF metadata drafted, signed and merged offline. No socket is opened in this folder.
//!
//! `tough` gives the schema, the key ids and the `Sign` trait; its editors are not used: they cannot sign
//! with part of a threshold and drop delegated roles (docs/decisions/0004).
//! Invariant: what is signed are the bytes that were drafted; a signature is only ever appended.

pub(crate) mod counter;
pub(crate) mod draft;
pub(crate) mod envelope;
pub(crate) mod keys;
pub(crate) mod predecessor;
pub(crate) mod releases;
pub(crate) mod review;
#[cfg(test)]
pub(crate) mod testing;

use std::path::{Path, PathBuf};

/// A desk's folder: `keys/*.json` (sealed private keys), `out/*.json` (drafts and signed metadata),
/// `out/files/**` (small target files), `desk.json` (what the desk is for).
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    root: PathBuf,
}

impl Desk {
    pub(crate) fn at(path: &Path) -> Self {
        Self { root: path.to_owned() }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("out/files")
    }

    /// What was published: moved here from `out/`. What the service shows is held against it.
    pub(crate) fn published(&self) -> PathBuf {
        self.root.join("published")
    }

    pub(crate) fn plan_file(&self) -> PathBuf {
        self.root.join("desk.json")
    }
}

/// Writes whole or not at all: temporary file, fsync, rename, fsync of the folder.
pub(crate) fn write_file(path: &Path, bytes: &[u8], privacy: Privacy) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    // The parent of a bare name is the empty path, which nobody can open.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mode = match privacy {
        Privacy::Secret => 0o600,
        Privacy::Public => 0o644,
    };
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Privacy {
    Secret,
    Public,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_written_into_the_folder_at_hand() {
        let name = format!("bare-name-{}.tmp", std::process::id());
        let written = write_file(Path::new(&name), b"whole", Privacy::Secret);
        let read = std::fs::read(&name);
        let _ = std::fs::remove_file(&name);
        written.unwrap();
        assert_eq!(read.unwrap(), b"whole");
    }
}
