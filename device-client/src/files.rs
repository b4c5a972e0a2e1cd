//! Files that survive a power cut: written beside, synced, renamed, their folder synced.

use crate::error::DeviceError;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A file of the device's state is smaller.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a bounded file; none when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, DeviceError> {
    read_at_most(MAX_BYTES, path)
}

/// As [`read`], with a cap of its own.
pub(crate) fn read_at_most(max_bytes: u64, path: &Path) -> Result<Option<Vec<u8>>, DeviceError> {
    let failed = |source| DeviceError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(DeviceError::Malformed {
            path: path.to_owned(),
            why: format!("it is above {max_bytes} bytes"),
        });
    }
    Ok(Some(bytes))
}

/// Writes whole or not at all, readable by this user alone.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), DeviceError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| {
        // Half a file must not take the space that the next try needs.
        let _ = std::fs::remove_file(&beside);
        DeviceError::Write { path: path.to_owned(), source }
    })
}

/// Reads JSON; none when the file is not there.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, DeviceError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| DeviceError::Malformed { path: path.to_owned(), why: error.to_string() })
}

/// Writes JSON whole or not at all.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), DeviceError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(DeviceError::unusable)?;
    write(path, &bytes)
}

/// Takes a lock that the system gives back when this program ends, however it ends.
///
/// # Errors
/// When another holds it.
pub(crate) fn lock(path: &Path) -> Result<File, DeviceError> {
    let failed = |source| DeviceError::Write { path: path.to_owned(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(DeviceError::unusable("an agent of this device runs already"))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
