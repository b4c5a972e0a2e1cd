//! What lies in a file's place and is none of ours, or cannot be read: put aside for the operator, never in the way.

use std::path::{Path, PathBuf};

/// Renames it to `NAME.unreadable`, in the place of what was put aside before. Where even that fails it stays.
pub(crate) fn put(path: &Path, why: &dyn std::error::Error) {
    eprintln!("holdfast-device: {} is put aside: {}", path.display(), crate::survey::in_words(why));
    let mut aside = path.as_os_str().to_owned();
    aside.push(".unreadable");
    let aside = PathBuf::from(aside);
    // Whatever was there; none is the rule.
    let _ = std::fs::remove_file(&aside).or_else(|_| std::fs::remove_dir_all(&aside));
    if let Err(error) = std::fs::rename(path, &aside) {
        eprintln!("holdfast-device: {} stays: {error}", path.display());
    }
}

/// Makes room for a file that is about to be written: a rename replaces every file, and no folder.
pub(crate) fn clear(path: &Path) {
    if path.is_dir() {
        put(path, &std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
}
