//! `bsdiff`: the public BSDIFF43 stream. Each control is three 8-byte sign-magnitude little-endian
//! integers (add, copy, seek), followed by `add` diff bytes and `copy` extra bytes. The frames'
//! inflated streams one after another are again such a stream (see `encode::bsdiff43_stream`).
//!
//! Departures from bspatch, all refusals: a control that adds and copies nothing, reads or seeks
//! outside the base, rebuilds past its frame, a count of controls other than the declared one.

use super::full::copy_inflated;
use crate::base::BaseReader;
use crate::container::Frame;
use crate::error::DeltaError;
use crate::inflate::Inflater;
use crate::sink::FrameSink;

/// Bytes of one control.
pub(crate) const CONTROL_LEN: u64 = 24;
const SIGN: u64 = 1 << 63;
const CHUNK: usize = 16 << 10;

struct Control {
    add: u64,
    copy: u64,
    seek: i64,
}

pub(super) fn apply(
    base_len: u64,
    frame: &Frame,
    input: &mut Inflater<'_>,
    base: &mut BaseReader<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<u64, DeltaError> {
    let mut position = frame.base_position;
    let mut left = u64::from(frame.output_len);
    for number in 0..frame.controls {
        let control = read_control(frame.index, number, input)?;
        check(&control, frame.index, number, position, left, base_len)?;
        add(position, control.add, input, base, sink)?;
        copy_inflated(control.copy, input, sink)?;
        left -= control.add + control.copy;
        position = seek(&control, frame.index, number, position + control.add, base_len)?;
    }
    if left > 0 {
        let expected = u64::from(frame.output_len);
        return Err(DeltaError::FrameShort { frame: frame.index, found: expected - left, expected });
    }
    Ok(position)
}

fn read_control(frame: u32, control: u32, input: &mut Inflater<'_>) -> Result<Control, DeltaError> {
    let mut words = [[0_u8; 8]; 3];
    for word in &mut words {
        input.read_exact(word)?;
    }
    let [add, copy, seek] = words.map(u64::from_le_bytes);
    if (add | copy) & SIGN != 0 {
        return Err(DeltaError::NegativeLength { frame, control });
    }
    let magnitude = (seek & !SIGN) as i64;
    Ok(Control { add, copy, seek: if seek & SIGN == 0 { magnitude } else { -magnitude } })
}

/// Lengths against the frame and the base, before a byte is moved.
fn check(
    c: &Control,
    frame: u32,
    control: u32,
    position: u64,
    left: u64,
    base_len: u64,
) -> Result<(), DeltaError> {
    // Both are below 2^63, so the sum cannot overflow.
    let len = c.add + c.copy;
    if len == 0 {
        return Err(DeltaError::EmptyControl { frame, control });
    }
    if len > left {
        return Err(DeltaError::ControlOverrun { frame, control, len, left });
    }
    if position.checked_add(c.add).is_none_or(|end| end > base_len) {
        return Err(DeltaError::AddOutsideBase { frame, control, position, len: c.add, base_len });
    }
    Ok(())
}

fn seek(c: &Control, frame: u32, control: u32, position: u64, base_len: u64) -> Result<u64, DeltaError> {
    position.checked_add_signed(c.seek).filter(|to| *to <= base_len).ok_or(DeltaError::SeekOutsideBase {
        frame,
        control,
        position,
        seek: c.seek,
        base_len,
    })
}

fn add(
    position: u64,
    len: u64,
    input: &mut Inflater<'_>,
    base: &mut BaseReader<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<(), DeltaError> {
    let (mut diff, mut old) = ([0_u8; CHUNK], [0_u8; CHUNK]);
    let mut done = 0;
    while done < len {
        let step = (len - done).min(CHUNK as u64) as usize;
        // Unwrap safety: `step` is at most CHUNK.
        let (diff, old) = (&mut diff[..step], &mut old[..step]);
        input.read_exact(diff)?;
        base.read_exact_at(position + done, old)?;
        for (new, old) in diff.iter_mut().zip(old) {
            *new = new.wrapping_add(*old);
        }
        sink.write(diff)?;
        done += step as u64;
    }
    Ok(())
}
