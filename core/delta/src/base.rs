//! The old image, read through Read + Seek with one small buffer.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::DeltaError;

/// Read and Seek in one object: the base image, or the output while it is read back.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek + ?Sized> ReadSeek for T {}

const BUFFER_LEN: usize = 64 << 10;

/// Random access to `[0, len)` of the base; neighbouring reads cost one system call per 64 KiB.
pub(crate) struct BaseReader<'a> {
    medium: &'a mut dyn ReadSeek,
    len: u64,
    buffer: Vec<u8>,
    at: u64,
}

impl<'a> BaseReader<'a> {
    pub(crate) fn new(medium: &'a mut dyn ReadSeek, len: u64) -> Self {
        Self { medium, len, buffer: Vec::new(), at: 0 }
    }

    /// Fills `out` from `position`; the caller has checked the range against the base's length.
    pub(crate) fn read_exact_at(&mut self, mut position: u64, mut out: &mut [u8]) -> Result<(), DeltaError> {
        while !out.is_empty() {
            let buffered = position
                .checked_sub(self.at)
                .and_then(|skip| self.buffer.get(usize::try_from(skip).ok()?..))
                .filter(|bytes| !bytes.is_empty());
            let Some(bytes) = buffered else {
                self.fill(position)?;
                continue;
            };
            let step = bytes.len().min(out.len());
            let (head, rest) = out.split_at_mut(step);
            // Unwrap safety: `step` is at most `bytes.len()`.
            head.copy_from_slice(&bytes[..step]);
            out = rest;
            position += step as u64;
        }
        Ok(())
    }

    fn fill(&mut self, position: u64) -> Result<(), DeltaError> {
        let want = self.len.saturating_sub(position).min(BUFFER_LEN as u64) as usize;
        let short = DeltaError::BaseShort { found: position, expected: self.len };
        if want == 0 {
            return Err(short);
        }
        self.buffer.resize(want, 0);
        self.at = position;
        let read = self
            .medium
            .seek(SeekFrom::Start(position))
            .and_then(|_| self.medium.read_exact(&mut self.buffer));
        read.map_err(|source| {
            self.buffer.clear();
            if source.kind() == ErrorKind::UnexpectedEof {
                short
            } else {
                DeltaError::io("read the base")(source)
            }
        })
    }
}

/// What hashing a stretch of a medium came to.
pub(crate) enum Hashed {
    Whole(Digest),
    /// The medium ended after so many bytes.
    Short(u64),
}

/// SHA-256 of `[offset, offset + len)` of a medium.
pub(crate) fn hash_range(
    medium: &mut dyn ReadSeek,
    offset: u64,
    len: u64,
    doing: &'static str,
) -> Result<Hashed, DeltaError> {
    medium.seek(SeekFrom::Start(offset)).map_err(DeltaError::io(doing))?;
    let mut buffer = vec![0_u8; BUFFER_LEN];
    let mut hash = Sha256::new();
    let mut done = 0;
    while done < len {
        let step = (len - done).min(BUFFER_LEN as u64) as usize;
        // Unwrap safety: `step` is at most the buffer's length, and `read` at most `step`.
        match medium.read(&mut buffer[..step]) {
            Ok(0) => return Ok(Hashed::Short(done)),
            Ok(read) => {
                hash.update(&buffer[..read]);
                done += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(DeltaError::io(doing)(error)),
        }
    }
    Ok(Hashed::Whole(Digest(hash.finalize().into())))
}
