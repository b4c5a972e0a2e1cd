//! Controls in the coordinates of both images, and their public byte form.

use crate::codec::CONTROL_LEN;

/// `add` bytes of target at `new` are old bytes at `old` plus a difference; `copy` bytes follow as they
/// are. The seek is not stored: it leads to the next control's `old`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) old: u64,
    pub(crate) new: u64,
    pub(crate) add: u64,
    pub(crate) copy: u64,
}

/// Appends stretches of target in order and keeps the list normal: no empty control, neighbours merged.
#[derive(Default)]
pub(crate) struct Controls {
    list: Vec<Control>,
    new: u64,
}

impl Controls {
    pub(crate) fn add(&mut self, old: u64, len: u64) {
        if len == 0 {
            return;
        }
        match self.list.last_mut() {
            Some(last) if last.copy == 0 && last.old + last.add == old => last.add += len,
            _ => self.list.push(Control { old, new: self.new, add: len, copy: 0 }),
        }
        self.new += len;
    }

    pub(crate) fn copy(&mut self, len: u64) {
        if len == 0 {
            return;
        }
        match self.list.last_mut() {
            Some(last) => last.copy += len,
            None => self.list.push(Control { old: 0, new: 0, add: 0, copy: len }),
        }
        self.new += len;
    }

    pub(crate) fn len(&self) -> u64 {
        self.list.len() as u64
    }

    pub(crate) fn finish(self) -> Vec<Control> {
        self.list
    }
}

/// Sign-magnitude, little-endian.
pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    let sign = if value < 0 { 1 << 63 } else { 0 };
    out.extend_from_slice(&(value.unsigned_abs() | sign).to_le_bytes());
}

/// One control with its diff and extra bytes, as the public stream has them.
pub(crate) fn write_control(control: &Control, seek: i64, base: &[u8], target: &[u8], out: &mut Vec<u8>) {
    write_int(control.add as i64, out);
    write_int(control.copy as i64, out);
    write_int(seek, out);
    let (old, new) = (control.old as usize, control.new as usize);
    let (add, copy) = (control.add as usize, control.copy as usize);
    // Unwrap safety: controls are made from matches inside both images, or checked by `from_stream`.
    let pairs = target[new..new + add].iter().zip(&base[old..old + add]);
    out.extend(pairs.map(|(new, old)| new.wrapping_sub(*old)));
    out.extend_from_slice(&target[new + add..new + add + copy]);
}

/// The whole public stream. A first control that does not begin at 0 is led to by an empty one, which
/// public appliers take (ours has the frame's base position instead, and refuses empty controls).
pub(crate) fn to_stream(controls: &[Control], base: &[u8], target: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(first) = controls.first().filter(|first| first.old > 0) {
        write_int(0, &mut out);
        write_int(0, &mut out);
        write_int(first.old as i64, &mut out);
    }
    for (index, control) in controls.iter().enumerate() {
        write_control(control, seek_to_next(controls, index), base, target, &mut out);
    }
    out
}

/// From the end of control `index`'s add to the beginning of the next one's; 0 for the last.
pub(crate) fn seek_to_next(controls: &[Control], index: usize) -> i64 {
    match (controls.get(index), controls.get(index + 1)) {
        (Some(this), Some(next)) => next.old as i64 - (this.old + this.add) as i64,
        _ => 0,
    }
}

/// Why a public stream was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// It ends inside a control.
    #[error("it ends inside the control at byte {at}")]
    Short {
        /// Offset of the control.
        at: u64,
    },
    /// A control reads outside the base.
    #[error("the control at byte {at} reads outside the base")]
    OutsideBase {
        /// Offset of the control.
        at: u64,
    },
    /// It rebuilds something else than the target.
    #[error("the control at byte {at} does not rebuild the target")]
    OtherTarget {
        /// Offset of the control.
        at: u64,
    },
}

/// Reads a public stream and checks it byte by byte against the pair it claims to be for.
pub(crate) fn from_stream(stream: &[u8], base: &[u8], target: &[u8]) -> Result<Vec<Control>, StreamError> {
    let mut controls = Controls::default();
    let (mut at, mut old, mut new) = (0_usize, 0_u64, 0_usize);
    while at < stream.len() {
        let here = at as u64;
        let short = || StreamError::Short { at: here };
        let words: Vec<u64> = stream
            .get(at..at + CONTROL_LEN as usize)
            .ok_or_else(short)?
            .chunks_exact(8)
            .filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
            .collect();
        let &[add, copy, seek] = &words[..] else { return Err(short()) };
        at += CONTROL_LEN as usize;
        let (add_len, copy_len) =
            (usize::try_from(add).map_err(|_| short())?, usize::try_from(copy).map_err(|_| short())?);
        let extra_at = at.checked_add(add_len).ok_or_else(short)?;
        let end = extra_at.checked_add(copy_len).ok_or_else(short)?;
        let (diff, extra) =
            (stream.get(at..extra_at).ok_or_else(short)?, stream.get(extra_at..end).ok_or_else(short)?);
        let from = usize::try_from(old).ok().filter(|from| *from <= base.len());
        let olds = from
            .and_then(|from| base.get(from..)?.get(..add_len))
            .ok_or(StreamError::OutsideBase { at: here })?;
        let due = target
            .get(new..)
            .and_then(|rest| rest.get(..add_len + copy_len))
            .ok_or(StreamError::OtherTarget { at: here })?;
        let rebuilt =
            olds.iter().zip(diff).map(|(old, diff)| old.wrapping_add(*diff)).chain(extra.iter().copied());
        if !rebuilt.eq(due.iter().copied()) {
            return Err(StreamError::OtherTarget { at: here });
        }
        controls.add(old, add);
        controls.copy(copy);
        new += add_len + copy_len;
        at = end;
        let magnitude = (seek & !(1 << 63)) as i64;
        let seek = if seek >> 63 == 0 { magnitude } else { -magnitude };
        old = (old + add).checked_add_signed(seek).ok_or(StreamError::OutsideBase { at: here })?;
    }
    if new != target.len() {
        return Err(StreamError::Short { at: at as u64 });
    }
    Ok(controls.finish())
}
