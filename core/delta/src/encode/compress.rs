//! One zstd frame, filled piece by piece so that it can be closed when it is large enough.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::EncodeError;

pub(crate) struct Compressor<'a> {
    context: CCtx<'a>,
    out: Vec<u8>,
    pushed: u64,
}

impl<'a> Compressor<'a> {
    pub(crate) fn new(parameters: &[CParameter], prefix: &'a [u8]) -> Result<Self, EncodeError> {
        let no_memory = || EncodeError::Compress(io::ErrorKind::OutOfMemory.into());
        let mut context = CCtx::try_create().ok_or_else(no_memory)?;
        for parameter in parameters {
            context.set_parameter(*parameter).map_err(refused)?;
        }
        if !prefix.is_empty() {
            context.ref_prefix(prefix).map_err(refused)?;
        }
        Ok(Self { context, out: Vec::new(), pushed: 0 })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.run(&mut input, ZSTD_EndDirective::ZSTD_e_continue)?;
        }
        self.pushed += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        let mut nothing = InBuffer::around(&[]);
        while self.run(&mut nothing, ZSTD_EndDirective::ZSTD_e_end)? > 0 {}
        Ok(self.out)
    }

    /// Compressed bytes so far, guessing those of what zstd still holds back.
    pub(crate) fn estimate(&self, held_back: u64) -> u64 {
        let out = self.out.len() as u64;
        let taken = self.pushed.saturating_sub(held_back).max(1);
        if out == 0 { 0 } else { out + out * held_back.min(self.pushed) / taken }
    }

    fn run(&mut self, input: &mut InBuffer<'_>, end: ZSTD_EndDirective) -> Result<usize, EncodeError> {
        if self.out.capacity() - self.out.len() < zstd_safe::CCtx::out_size() {
            self.out.reserve(zstd_safe::CCtx::out_size());
        }
        let at = self.out.len();
        let mut output = OutBuffer::around_pos(&mut self.out, at);
        self.context.compress_stream2(&mut output, input, end).map_err(refused)
    }
}

fn refused(code: usize) -> EncodeError {
    EncodeError::Compress(io::Error::other(zstd_safe::get_error_name(code)))
}
