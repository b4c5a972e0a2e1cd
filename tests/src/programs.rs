//! Our own programs, as they were built beside the running test.
//!
//! Lives here: where cargo put them. Must not live here: how they are configured.

use std::path::{Path, PathBuf};

/// A program of ours was not built.
#[derive(Debug, thiserror::Error)]
#[error("{name} was not built into {}: run `cargo build --workspace --bins` (`make test` and `make demo` do)", directory.display())]
pub struct NotBuilt {
    /// Which.
    pub name: String,
    /// Where it should be.
    pub directory: PathBuf,
}

/// `holdfastd`, `holdfast-device`, `holdfast`, ..: the one built with the profile of whoever asks.
pub fn program(name: &str) -> Result<PathBuf, NotBuilt> {
    let directory = directory();
    let path = directory.join(name);
    if path.is_file() { Ok(path) } else { Err(NotBuilt { name: name.to_owned(), directory }) }
}

/// Tests run from `target/PROFILE/deps/`, programs from `target/PROFILE/`.
fn directory() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("."));
    if beside.ends_with("deps") || beside.ends_with("examples") {
        beside.parent().unwrap_or(beside).to_owned()
    } else {
        beside.to_owned()
    }
}
