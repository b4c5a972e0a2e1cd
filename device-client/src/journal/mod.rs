//! The journal: the update machine's record, in two copies that no power cut loses both of.
//!
//! Invariant: a full disk does not stop it. Space for its next write is set aside beforehand and given up only to it.

mod reserve;

pub(crate) use reserve::{RESERVE_BYTES, Reserve};

use crate::copies::{Copies, Found};
use crate::error::DeviceError;
use holdfast_decide::device::{Record, Saved};
use std::path::Path;

const MAGIC: [u8; 8] = *b"HFJOURN1";

/// What the journal holds, read by someone who does not own it.
pub(crate) fn peek(folder: &Path) -> Saved {
    understood(Copies::peek(folder, "journal", MAGIC))
}

fn understood(found: Found) -> Saved {
    match found {
        Found::Nothing => Saved::Nothing,
        Found::Body(body) => match serde_json::from_slice::<Record>(&body) {
            Ok(record) => Saved::Record(Box::new(record)),
            Err(_) => Saved::NotUnderstood,
        },
        Found::Unreadable => Saved::NotUnderstood,
    }
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    copies: Copies,
    reserve: Reserve,
}

impl Journal {
    /// Opens the journal of this folder and tells what it held.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Saved), DeviceError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| DeviceError::Write { path: folder.to_owned(), source })?;
        let reserve = Reserve::of(folder);
        let (copies, found) = reserve.lend(|| Copies::open(folder, "journal", MAGIC))?;
        Ok((Self { copies, reserve }, understood(found)))
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// When it is not: the program must stop then.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), DeviceError> {
        let body = serde_json::to_vec(record).map_err(DeviceError::unusable)?;
        let (reserve, copies) = (&self.reserve, &mut self.copies);
        reserve.lend(|| copies.write(&body))
    }

    /// Space that is set aside for what must be written.
    pub(crate) fn reserve(&self) -> &Reserve {
        &self.reserve
    }
}

#[cfg(test)]
mod tests;
