//! One frame's zstd stream, inflated no further than it is asked to be: the memory is the declared
//! window, the output is what the codec reads, and the input never goes past the frame.

use std::io::{ErrorKind, Read};

use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_ErrorCode};

use crate::container::{Frame, Header};
use crate::error::DeltaError;

const INPUT_LEN: usize = 16 << 10;

pub(crate) struct Inflater<'a> {
    context: DCtx<'a>,
    patch: &'a mut dyn Read,
    buffer: Vec<u8>,
    used: usize,
    /// Compressed bytes of this frame not yet read from the patch.
    unread: u64,
    frame: u32,
    window_log: u8,
    patch_end: u64,
    ended: bool,
}

impl<'a> Inflater<'a> {
    pub(crate) fn new(
        header: &Header,
        frame: &Frame,
        prefix: &'a [u8],
        patch: &'a mut dyn Read,
    ) -> Result<Self, DeltaError> {
        let mut context = DCtx::try_create().ok_or(DeltaError::OutOfMemory)?;
        let refused =
            |code| DeltaError::Corrupt { frame: frame.index, reason: zstd_safe::get_error_name(code) };
        context.set_parameter(DParameter::WindowLogMax(u32::from(header.window_log))).map_err(refused)?;
        if !prefix.is_empty() {
            context.ref_prefix(prefix).map_err(refused)?;
        }
        Ok(Self {
            context,
            patch,
            buffer: Vec::new(),
            used: 0,
            unread: u64::from(frame.compressed_len),
            frame: frame.index,
            window_log: header.window_log,
            patch_end: frame.patch_offset + u64::from(frame.compressed_len),
            ended: false,
        })
    }

    pub(crate) fn read_exact(&mut self, mut out: &mut [u8]) -> Result<(), DeltaError> {
        while !out.is_empty() {
            let made = self.step(out)?;
            if made == 0 && self.ended {
                return Err(DeltaError::InflatedShort { frame: self.frame });
            }
            out = out.split_at_mut(made).1;
        }
        Ok(())
    }

    /// The stream must end here, and the frame's compressed bytes with it.
    pub(crate) fn finish(mut self) -> Result<(), DeltaError> {
        let mut beyond = [0_u8; 1];
        while !self.ended {
            if self.step(&mut beyond)? > 0 {
                return Err(DeltaError::InflatedMore { frame: self.frame });
            }
        }
        match self.unread + (self.buffer.len() - self.used) as u64 {
            0 => Ok(()),
            unused => Err(DeltaError::CompressedUnused { frame: self.frame, unused }),
        }
    }

    /// Gives zstd some input and room; returns the bytes made, which may be none.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, DeltaError> {
        if self.ended {
            return Ok(0);
        }
        if self.used == self.buffer.len() && self.unread > 0 {
            self.fill()?;
        }
        // Unwrap safety: `used` never passes the buffer's length.
        let mut input = InBuffer::around(&self.buffer[self.used..]);
        let mut output = OutBuffer::around(out);
        let hint = self.context.decompress_stream(&mut output, &mut input);
        let (took, made) = (input.pos(), output.pos());
        self.used += took;
        match hint {
            Ok(0) => self.ended = true,
            // No input is left and zstd makes nothing of what it has: the stream is cut inside the frame.
            Ok(_) if took == 0 && made == 0 && self.unread == 0 => {
                return Err(DeltaError::InflatedShort { frame: self.frame });
            }
            Ok(_) => {}
            Err(code) => return Err(self.refused(code)),
        }
        Ok(made)
    }

    fn fill(&mut self) -> Result<(), DeltaError> {
        let want = self.unread.min(INPUT_LEN as u64) as usize;
        self.buffer.resize(want, 0);
        self.used = 0;
        let read = loop {
            match self.patch.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(DeltaError::io("read the patch"))?,
            }
        };
        self.buffer.truncate(read);
        if read == 0 {
            return Err(DeltaError::Truncated { at: self.patch_end - self.unread, missing: self.unread });
        }
        self.unread -= read as u64;
        Ok(())
    }

    fn refused(&self, code: usize) -> DeltaError {
        let frame = self.frame;
        if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            return DeltaError::WindowUsed { frame, declared: self.window_log };
        }
        DeltaError::Corrupt { frame, reason: zstd_safe::get_error_name(code) }
    }
}
