//! `full`: the output inside zstd. What was rebuilt before the frame (at most
//! [`crate::limits::FULL_HISTORY_LEN`] bytes, read back from the medium) is the frame's prefix, so that
//! frames share a window and each can still be restarted.

use crate::container::Frame;
use crate::error::DeltaError;
use crate::inflate::Inflater;
use crate::sink::FrameSink;

pub(super) fn apply(
    frame: &Frame,
    input: &mut Inflater<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<u64, DeltaError> {
    copy_inflated(u64::from(frame.output_len), input, sink)?;
    Ok(0)
}

/// Moves exactly `len` inflated bytes into the output.
pub(super) fn copy_inflated(
    len: u64,
    input: &mut Inflater<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<(), DeltaError> {
    let mut buffer = [0_u8; 16 << 10];
    let mut left = len;
    while left > 0 {
        let step = left.min(buffer.len() as u64) as usize;
        // Unwrap safety: `step` is at most the buffer's length.
        let chunk = &mut buffer[..step];
        input.read_exact(chunk)?;
        sink.write(chunk)?;
        left -= step as u64;
    }
    Ok(())
}
