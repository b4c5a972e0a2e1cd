//! Directories for one test: short paths, own names, removed at the end.
//!
//! Lives here: where tests may write. Invariant: nothing is written into the checkout; what a killed test left is
//! removed by the next one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test. Dropping it removes it. Its path is absolute and short enough for Unix sockets.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new, empty directory; `label` is seen in its name.
    ///
    /// # Panics
    /// When the system's directory for temporary files cannot be written: no test can run there.
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        let home = home();
        SWEEP.call_once(|| sweep(&home));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = home.join(format!("{}-{number}-{label}", std::process::id()));
        let made = fs::create_dir_all(&path)
            // Other users (PostgreSQL refuses to run as root) need to pass through.
            .and_then(|()| fs::set_permissions(&home, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        assert!(made.is_ok(), "cannot make {}: {made:?}", path.display());
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves the directory where it is (for a person who wants to look into it).
    pub fn keep(self) -> PathBuf {
        let path = self.path.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // `HOLDFAST_KEEP_SCRATCH=1` leaves everything for a look; what cannot be removed is swept by a later run.
        if std::env::var_os("HOLDFAST_KEEP_SCRATCH").is_none() {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

fn home() -> PathBuf {
    std::env::temp_dir().join(format!("holdfast-{}", rustix::process::getuid().as_raw()))
}

/// Removes what processes that are gone have left.
fn sweep(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
