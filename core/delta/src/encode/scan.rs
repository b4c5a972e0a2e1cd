//! The matching of bsdiff (Percival 2003) over a suffix array: approximate matches, chosen where an
//! exact match is clearly better than going on at the last offset.
//!
//! Departure: where a long exact match is no better than the last offset, it is followed for half its
//! length before the array is asked again. Without that, repetitive images cost the square of their
//! length and no budget is ever asked; with it, n log n.

use super::{Budget, EncodeError};
use crate::codec::Codec;

/// `add_len` target bytes at `new` resemble base bytes at `old`; up to `end` follow new bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) old: usize,
    pub(crate) new: usize,
    pub(crate) add_len: usize,
    pub(crate) end: usize,
}

/// An exact match must be better than the last offset by this many bytes.
const CLEARLY_BETTER: usize = 8;
/// From this length on a match is followed before the array is asked again.
const FOLLOW_LEN: usize = 64;
/// Steps between two looks at `keep_going`.
const STEPS_PER_LOOK: u64 = 1 << 20;

pub(crate) struct Scanner<'a> {
    old: &'a [u8],
    new: &'a [u8],
    suffixes: &'a [i32],
    budget: &'a Budget<'a>,
    work: u64,
    next_look: u64,
    scan: usize,
    position: usize,
    len: usize,
    last_scan: usize,
    last_position: usize,
    last_offset: i64,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(old: &'a [u8], new: &'a [u8], suffixes: &'a [i32], budget: &'a Budget<'a>) -> Self {
        Self {
            old,
            new,
            suffixes,
            budget,
            work: 0,
            next_look: 0,
            scan: 0,
            position: 0,
            len: 0,
            last_scan: 0,
            last_position: 0,
            last_offset: 0,
        }
    }

    /// The next match in target order; `None` once the target is covered.
    pub(crate) fn next_match(&mut self) -> Result<Option<Match>, EncodeError> {
        while self.scan < self.new.len() {
            let old_score = self.advance()?;
            if self.len != old_score || self.scan == self.new.len() {
                return Ok(Some(self.close()));
            }
        }
        Ok(None)
    }

    /// Moves `scan` to the next place where an exact match is clearly better than the last offset (or
    /// equal to it); returns how many bytes of that match the last offset gets right.
    fn advance(&mut self) -> Result<usize, EncodeError> {
        self.scan += self.len;
        let (mut scored, mut old_score) = (self.scan, 0_usize);
        let mut follow_to = self.scan;
        while self.scan < self.new.len() {
            if self.scan < follow_to {
                self.position += 1;
                self.len -= 1;
            } else {
                self.spend(self.len as u64)?;
                (self.position, self.len) = self.longest_match();
                if self.len >= FOLLOW_LEN {
                    follow_to = self.scan + self.len / 2;
                }
            }
            while scored < self.scan + self.len {
                old_score += usize::from(self.last_offset_agrees(scored));
                scored += 1;
            }
            if (self.len == old_score && self.len != 0) || self.len > old_score + CLEARLY_BETTER {
                break;
            }
            if self.scan < scored && self.last_offset_agrees(self.scan) {
                old_score -= 1;
            }
            self.scan += 1;
            scored = scored.max(self.scan);
        }
        Ok(old_score)
    }

    fn last_offset_agrees(&self, at: usize) -> bool {
        let old = usize::try_from(at as i64 + self.last_offset).ok().and_then(|at| self.old.get(at));
        old.is_some_and(|old| self.new.get(at) == Some(old))
    }

    /// Extends the last match forwards and the new one backwards, shares out their overlap, and emits
    /// the last one.
    fn close(&mut self) -> Match {
        let mut forward = self.extend_forward();
        let mut backward = if self.scan < self.new.len() { self.extend_backward() } else { 0 };
        let overlap = (self.last_scan + forward).saturating_sub(self.scan - backward);
        if overlap > 0 {
            let kept = self.share(forward, backward, overlap);
            forward = forward + kept - overlap;
            backward -= kept;
        }
        let end = self.scan - backward;
        let found = Match { old: self.last_position, new: self.last_scan, add_len: forward, end };
        self.last_scan = end;
        self.last_position = self.position - backward;
        self.last_offset = self.position as i64 - self.scan as i64;
        found
    }

    fn extend_forward(&self) -> usize {
        let room = (self.scan - self.last_scan).min(self.old.len() - self.last_position);
        let pairs = (0..room).map(|i| self.old[self.last_position + i] == self.new[self.last_scan + i]);
        best_extent(pairs)
    }

    fn extend_backward(&self) -> usize {
        let room = (self.scan - self.last_scan).min(self.position);
        let pairs = (1..=room).map(|i| self.old[self.position - i] == self.new[self.scan - i]);
        best_extent(pairs)
    }

    /// Of `overlap` bytes claimed by both, how many the last match keeps.
    fn share(&self, forward: usize, backward: usize, overlap: usize) -> usize {
        let (mut score, mut best, mut kept) = (0_i64, 0_i64, 0);
        for i in 0..overlap {
            // Unwrap safety: both matches cover the overlap.
            let new = self.new[self.last_scan + forward - overlap + i];
            score += i64::from(new == self.old[self.last_position + forward - overlap + i]);
            score -= i64::from(new == self.old[self.position - backward + i]);
            if score > best {
                (best, kept) = (score, i + 1);
            }
        }
        kept
    }

    /// Longest match of the target at `scan` anywhere in the base: binary search in the suffix array.
    fn longest_match(&self) -> (usize, usize) {
        // Unwrap safety: suffixes are positions inside the base, `scan` is inside the target.
        let needle = &self.new[self.scan..];
        let suffix = |index: usize| self.suffixes[index] as usize;
        let (mut low, mut high) = (0, self.suffixes.len());
        while high - low > 2 {
            let middle = low + (high - low) / 2;
            if needle > &self.old[suffix(middle)..] {
                low = middle;
            } else {
                high = middle + 1;
            }
        }
        (low..high)
            .map(|index| (suffix(index), common_prefix(&self.old[suffix(index)..], needle)))
            .max_by_key(|(_, len)| *len)
            .unwrap_or((0, 0))
    }

    fn spend(&mut self, bytes: u64) -> Result<(), EncodeError> {
        self.work += 32 + bytes;
        if self.work >= self.next_look {
            self.next_look = self.work + STEPS_PER_LOOK;
            (self.budget.keep_going)()?;
            if self.work > self.budget.work {
                return Err(EncodeError::OverWork { codec: Codec::Bsdiff, allowed: self.budget.work });
            }
        }
        Ok(())
    }
}

/// The length at which "twice the agreeing bytes minus the length" is largest.
fn best_extent(agreeing: impl Iterator<Item = bool>) -> usize {
    let (mut agreed, mut best, mut extent) = (0_i64, 0_i64, 0);
    for (index, agrees) in agreeing.enumerate() {
        agreed += i64::from(agrees);
        let score = agreed * 2 - (index as i64 + 1);
        if score > best {
            (best, extent) = (score, index + 1);
        }
    }
    extent
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(16).zip(b.chunks_exact(16)).take_while(|(a, b)| a == b).count() * 16;
    // Unwrap safety: `words` bytes were compared in both.
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}
