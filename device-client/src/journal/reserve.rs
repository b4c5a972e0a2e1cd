//! Space set aside, so that a disk that others filled still takes the journal and the reports.

use crate::error::DeviceError;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Bytes set aside: the journal's copies, a report and the trust state, each written beside before it is renamed.
pub(crate) const RESERVE_BYTES: u64 = 512 << 10;

/// A file whose only use is to be deleted.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Sets the space aside where that is possible now.
    pub(crate) fn of(folder: &Path) -> Self {
        let reserve = Self { path: folder.join("reserve") };
        reserve.fill();
        reserve
    }

    /// Runs a write; if the disk is full, gives the space up and runs it once more.
    ///
    /// # Errors
    /// Those of the write.
    pub(crate) fn lend<T>(
        &self,
        mut write: impl FnMut() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        match write() {
            Err(error) if is_full(&error) => {
                // Gone already: then there is nothing more to give.
                let _ = std::fs::remove_file(&self.path);
                let ended = write();
                self.fill();
                ended
            }
            ended => {
                self.fill();
                ended
            }
        }
    }

    /// Sets the space aside again; a disk that has none now is asked the next time.
    fn fill(&self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.len() >= RESERVE_BYTES) {
            return;
        }
        let filled = File::create(&self.path).and_then(|mut file| {
            // Written, not only declared: some file systems keep no promise of fallocate(2).
            let block = [0xA5; 4096];
            for _ in 0..RESERVE_BYTES / block.len() as u64 {
                file.write_all(&block)?;
            }
            file.sync_data()
        });
        if filled.is_err() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_full(error: &DeviceError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, DeviceError::Write { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}
