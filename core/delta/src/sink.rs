//! Where a frame's output goes: the medium at its offset, and the frame's hash beside it.

use std::io::{Read, Seek, SeekFrom, Write};

use sha2::{Digest as _, Sha256};

use crate::container::Frame;
use crate::digest::Digest;
use crate::error::DeltaError;

/// The output: written, and read back to resume and to be believed.
pub trait Medium: Read + Write + Seek {}
impl<T: Read + Write + Seek + ?Sized> Medium for T {}

pub(crate) struct FrameSink<'a> {
    medium: &'a mut dyn Medium,
    hash: Sha256,
    frame: Frame,
    written: u64,
}

impl<'a> FrameSink<'a> {
    pub(crate) fn new(medium: &'a mut dyn Medium, frame: Frame) -> Result<Self, DeltaError> {
        medium.seek(SeekFrom::Start(frame.output_offset)).map_err(DeltaError::io("seek in the output"))?;
        Ok(Self { medium, hash: Sha256::new(), frame, written: 0 })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DeltaError> {
        self.written += bytes.len() as u64;
        // The codecs count too; this is the fence that no codec can forget.
        if self.written > u64::from(self.frame.output_len) {
            return Err(DeltaError::InflatedMore { frame: self.frame.index });
        }
        self.hash.update(bytes);
        self.medium.write_all(bytes).map_err(DeltaError::io("write the output"))
    }

    /// Holds length and hash against the frame table.
    pub(crate) fn finish(self) -> Result<(), DeltaError> {
        let (frame, expected) = (self.frame.index, u64::from(self.frame.output_len));
        if self.written != expected {
            return Err(DeltaError::FrameShort { frame, found: self.written, expected });
        }
        let found = Digest(self.hash.finalize().into());
        if found != self.frame.output_sha256 {
            return Err(DeltaError::FrameDigest { frame, found, expected: self.frame.output_sha256 });
        }
        self.medium.flush().map_err(DeltaError::io("flush the output"))
    }
}
