//! From two images to controls: cut runs, sort suffixes, scan, and put the runs back.

use super::controls::{Control, Controls};
use super::runs::Squeezed;
use super::scan::{Match, Scanner};
use super::{Budget, EncodeError};
use crate::codec::Codec;
use crate::limits;

/// Suffix positions are 32-bit.
const MAX_BASE_LEN: u64 = i32::MAX as u64;
/// Bytes of RAM per byte of base: the suffix array.
const SUFFIX_LEN: u64 = 4;

pub(crate) fn controls(base: &[u8], target: &[u8], budget: &Budget<'_>) -> Result<Vec<Control>, EncodeError> {
    let (old, new) = (Squeezed::new(base), Squeezed::new(target));
    let copies: u64 = [&old, &new]
        .iter()
        .filter(|image| !image.cuts.is_empty())
        .map(|image| image.bytes.len() as u64)
        .sum();
    check_memory(old.bytes.len() as u64, copies, budget)?;
    (budget.keep_going)()?;
    let (_, suffixes) = divsufsort::sort(&old.bytes).into_parts();
    let mut scanner = Scanner::new(&old.bytes, &new.bytes, &suffixes, budget);
    let mut expander = Expander::new(&old, &new);
    let limit = limits::max_controls(target.len() as u64);
    while let Some(found) = scanner.next_match()? {
        expander.push(&found);
        if expander.controls.len() > limit {
            return Err(EncodeError::TooManyControls { found: expander.controls.len(), limit });
        }
    }
    Ok(expander.finish())
}

fn check_memory(old_len: u64, copies: u64, budget: &Budget<'_>) -> Result<(), EncodeError> {
    let codec = Codec::Bsdiff;
    if old_len > MAX_BASE_LEN {
        return Err(EncodeError::TooLong { codec, len: old_len, limit: MAX_BASE_LEN });
    }
    let needed = old_len * SUFFIX_LEN + copies;
    if needed > budget.memory_bytes {
        return Err(EncodeError::OverMemory { codec, needed, allowed: budget.memory_bytes });
    }
    Ok(())
}

/// Turns matches between squeezed images into controls between the images.
struct Expander<'a> {
    old: &'a Squeezed<'a>,
    new: &'a Squeezed<'a>,
    controls: Controls,
    /// Next cut of the target that has not been put back.
    new_cut: usize,
}

impl<'a> Expander<'a> {
    fn new(old: &'a Squeezed<'a>, new: &'a Squeezed<'a>) -> Self {
        Self { old, new, controls: Controls::default(), new_cut: 0 }
    }

    fn push(&mut self, found: &Match) {
        let new_add_end = found.new + found.add_len;
        self.add(found.old, found.new, found.add_len);
        self.copy(new_add_end, found.end);
    }

    /// An add, split wherever either image has a cut; a cut in both becomes an add through both runs.
    fn add(&mut self, old_start: usize, new_start: usize, len: usize) {
        let mut old_cut = self.old.next_cut(old_start + 1);
        let mut image_old = self.old.in_image(old_start);
        let mut done = 0;
        loop {
            let to_new = self.new_cut_at().map_or(usize::MAX, |at| at - new_start);
            let to_old = self.old.cuts.get(old_cut).map_or(usize::MAX, |cut| cut.at - old_start);
            let step = to_new.min(to_old).min(len);
            self.controls.add(image_old, (step - done) as u64);
            image_old += (step - done) as u64;
            done = step;
            // A cut of the base at the very end matters only if the target has one there too.
            if to_new > step && (to_old > step || step == len) {
                return;
            }
            let old = self.old.cuts.get(old_cut).filter(|_| to_old == step && step > 0).copied();
            let new = self.new.cuts.get(self.new_cut).filter(|_| to_new == step).copied();
            let both = match (old, new) {
                (Some(old), Some(new)) if old.byte == new.byte => old.len.min(new.len),
                _ => 0,
            };
            self.controls.add(image_old, both);
            if let Some(old) = old {
                image_old += old.len;
                old_cut += 1;
            }
            if let Some(new) = new {
                self.controls.copy(new.len - both);
                self.new_cut += 1;
            }
        }
    }

    fn copy(&mut self, from: usize, to: usize) {
        let mut done = from;
        while let Some(cut) = self.new.cuts.get(self.new_cut).filter(|cut| cut.at <= to) {
            self.controls.copy((cut.at - done) as u64 + cut.len);
            done = cut.at;
            self.new_cut += 1;
        }
        self.controls.copy((to - done) as u64);
    }

    fn new_cut_at(&self) -> Option<usize> {
        self.new.cuts.get(self.new_cut).map(|cut| cut.at)
    }

    fn finish(self) -> Vec<Control> {
        self.controls.finish()
    }
}
