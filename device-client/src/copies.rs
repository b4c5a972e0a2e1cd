//! Two copies of one small record: what a power cut tears is repaired from the other.
//!
//! A copy is `magic (8) | sequence (8) | length (4) | SHA-256 of all of it but itself (32) | body`, integers
//! big-endian. The older copy is written first, so that the newest record or the one before it is whole at every
//! instant; each is written beside, synced, renamed, its folder synced. Invariant: bytes that do not hash are never
//! read as a record, and that something was there is never forgotten.

use crate::aside;
use crate::error::DeviceError;
use crate::files;
use crate::survey::in_words;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

const FIELDS_BYTES: usize = 8 + 8 + 4;
const HEAD_BYTES: usize = FIELDS_BYTES + 32;

/// What two copies held when they were opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// No copy was ever written.
    Nothing,
    Body(Vec<u8>),
    /// Something is there, and neither copy is whole.
    Unreadable,
}

/// Sequence and body.
type Newest = Option<(u64, Vec<u8>)>;

/// The two files of a record.
#[derive(Debug)]
pub(crate) struct Copies {
    paths: [PathBuf; 2],
    magic: [u8; 8],
    /// Sequence of each copy; 0: torn or absent.
    sequences: [u64; 2],
}

impl Copies {
    /// Reads both; where they differ, the newer whole one is written over the other.
    ///
    /// # Errors
    /// When a file cannot be repaired.
    pub(crate) fn open(folder: &Path, name: &str, magic: [u8; 8]) -> Result<(Self, Found), DeviceError> {
        let (mut copies, newest, any) = Self::read(folder, name, magic);
        let Some((sequence, body)) = newest else {
            return Ok((copies, if any { Found::Unreadable } else { Found::Nothing }));
        };
        if copies.sequences != [sequence; 2] {
            copies.put(sequence, &body)?;
        }
        Ok((copies, Found::Body(body)))
    }

    /// What the newer whole one holds; nothing is repaired.
    pub(crate) fn peek(folder: &Path, name: &str, magic: [u8; 8]) -> Found {
        match Self::read(folder, name, magic) {
            (_, Some((_, body)), _) => Found::Body(body),
            (_, None, true) => Found::Unreadable,
            (_, None, false) => Found::Nothing,
        }
    }

    /// Both files, the newest whole record, and whether there was anything.
    fn read(folder: &Path, name: &str, magic: [u8; 8]) -> (Self, Newest, bool) {
        let paths = ["a", "b"].map(|copy| folder.join(format!("{name}.{copy}")));
        let mut copies = Self { paths, magic, sequences: [0; 2] };
        let (mut newest, mut any): (Newest, bool) = (None, false);
        for (path, held) in copies.paths.iter().zip(&mut copies.sequences) {
            let Some(bytes) = read(path) else { continue };
            any = true;
            if let Some((sequence, body)) = decode(magic, &bytes) {
                *held = sequence;
                if newest.as_ref().is_none_or(|(other, _)| sequence > *other) {
                    newest = Some((sequence, body));
                }
            }
        }
        (copies, newest, any)
    }

    /// Makes the record durable. Durable on one copy is durable.
    ///
    /// # Errors
    /// When it is not, or is on one copy alone.
    pub(crate) fn write(&mut self, body: &[u8]) -> Result<(), DeviceError> {
        // Unwrap safety: an array of two.
        let sequence = self.sequences[0].max(self.sequences[1]) + 1;
        self.put(sequence, body)
    }

    fn put(&mut self, sequence: u64, body: &[u8]) -> Result<(), DeviceError> {
        let bytes = encode(self.magic, sequence, body);
        let mut order = [(self.sequences[0], 0), (self.sequences[1], 1)];
        order.sort_unstable();
        for (held, at) in order {
            if held != sequence {
                // Unwrap safety: `at` is 0 or 1.
                aside::clear(&self.paths[at]);
                files::write(&self.paths[at], &bytes)?;
                self.sequences[at] = sequence;
            }
        }
        Ok(())
    }
}

/// A copy that cannot be read, whatever the reason, is as good as a torn one: the other may be whole, and the next
/// write replaces it. Only its absence is "nothing".
fn read(path: &Path) -> Option<Vec<u8>> {
    files::read(path).unwrap_or_else(|error| {
        eprintln!("holdfast-device: a copy counts as torn: {}", in_words(&error));
        Some(Vec::new())
    })
}

fn encode(magic: [u8; 8], sequence: u64, body: &[u8]) -> Vec<u8> {
    let fields = [&magic[..], &sequence.to_be_bytes(), &(body.len() as u32).to_be_bytes()].concat();
    let digest = Sha256::new().chain_update(&fields).chain_update(body).finalize();
    [&fields[..], &digest, body].concat()
}

fn decode(magic: [u8; 8], bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let (fields, digest) = head.split_at_checked(FIELDS_BYTES)?;
    let sequence = u64::from_be_bytes(fields.get(8..16)?.try_into().ok()?);
    let length = u32::from_be_bytes(fields.get(16..20)?.try_into().ok()?) as usize;
    let actual = Sha256::new().chain_update(fields).chain_update(body).finalize();
    let whole =
        fields.starts_with(&magic) && body.len() == length && digest == actual.as_slice() && sequence > 0;
    whole.then(|| (sequence, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"HFTEST01";

    fn open(folder: &Path) -> (Copies, Found) {
        Copies::open(folder, "record", MAGIC).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "the test tears files on purpose")]
    fn tear(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_copy_torn_or_flipped_at_every_byte_is_repaired_from_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let (mut copies, found) = open(folder.path());
        assert_eq!(found, Found::Nothing);
        copies.write(b"the first").unwrap();
        copies.write(b"the second").unwrap();
        let whole = std::fs::read(folder.path().join("record.a")).unwrap();
        assert_eq!(whole, std::fs::read(folder.path().join("record.b")).unwrap());
        for torn in ["record.a", "record.b"] {
            let path = folder.path().join(torn);
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x10;
                for bytes in [whole[..at].to_vec(), flipped] {
                    tear(&path, &bytes);
                    assert_eq!(open(folder.path()).1, Found::Body(b"the second".to_vec()), "{torn} at {at}");
                    assert_eq!(std::fs::read(&path).unwrap(), whole, "{torn} at {at} is repaired");
                }
            }
        }
    }

    #[test]
    fn with_both_torn_nothing_is_made_up_and_nothing_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).0.write(b"record").unwrap();
        tear(&folder.path().join("record.a"), b"");
        tear(&folder.path().join("record.b"), b"HFTEST01 and noise");
        assert_eq!(open(folder.path()).1, Found::Unreadable);
        for copy in ["record.a", "record.b"] {
            std::fs::remove_file(folder.path().join(copy)).unwrap();
            std::fs::create_dir(folder.path().join(copy)).unwrap();
        }
        assert_eq!(open(folder.path()).1, Found::Unreadable, "nor is what cannot be read at all");
        // Another record's file is no record of ours.
        open(folder.path()).0.write(b"record").unwrap();
        assert_eq!(Copies::open(folder.path(), "record", *b"HFOTHER1").unwrap().1, Found::Unreadable);
    }

    #[test]
    fn a_write_that_reached_one_copy_is_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let (mut copies, _) = open(folder.path());
        copies.write(b"before").unwrap();
        let old = std::fs::read(folder.path().join("record.b")).unwrap();
        copies.write(b"after").unwrap();
        tear(&folder.path().join("record.b"), &old);
        let (mut copies, found) = open(folder.path());
        assert_eq!(found, Found::Body(b"after".to_vec()));
        copies.write(b"later").unwrap();
        assert_eq!(open(folder.path()).1, Found::Body(b"later".to_vec()));
    }

    #[test]
    fn a_copy_that_cannot_be_read_at_all_is_replaced_from_the_other() {
        for lost in ["record.a", "record.b"] {
            let folder = tempfile::tempdir().unwrap();
            open(folder.path()).0.write(b"record").unwrap();
            let path = folder.path().join(lost);
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir_all(path.join("something")).unwrap();
            assert_eq!(Copies::peek(folder.path(), "record", MAGIC), Found::Body(b"record".to_vec()));
            assert!(path.is_dir(), "who peeks changes nothing");
            let (mut copies, found) = open(folder.path());
            assert_eq!(found, Found::Body(b"record".to_vec()));
            assert!(path.is_file(), "{lost} is repaired");
            copies.write(b"later").unwrap();
            assert_eq!(open(folder.path()).1, Found::Body(b"later".to_vec()));
        }
    }
}
