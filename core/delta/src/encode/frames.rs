//! Cutting a target into frames: each is closed at 4 MiB of output or 192 KiB compressed, whichever
//! comes first, and can be rebuilt without the one before it.

use zstd::zstd_safe::CParameter;

use super::compress::Compressor;
use super::controls::{Control, seek_to_next, write_control};
use super::{Budget, EncodeError, Encoded, FULL_WINDOW_LOG};
use crate::codec::Codec;
use crate::container::{FORMAT_VERSION, FRAME_LEN, Frame, HEADER_LEN, Header};
use crate::digest::Digest;
use crate::limits::{self, Limits};

/// A frame closes when it rebuilds so many bytes.
const FRAME_OUTPUT_LEN: u64 = 4 << 20;
/// A frame closes when it has so many compressed bytes.
const FRAME_COMPRESSED_LEN: u64 = 192 << 10;
/// Longest stretch between two looks at the compressed length; longer adds and copies are split.
const PIECE_LEN: u64 = 128 << 10;
/// zstd holds back at most one block.
const HELD_BACK: u64 = 128 << 10;

pub(super) fn bsdiff(
    base: &[u8],
    target: &[u8],
    controls: &[Control],
    budget: &Budget<'_>,
) -> Result<Encoded, EncodeError> {
    let pieces = split(controls);
    let limit = limits::max_controls(target.len() as u64);
    if pieces.len() as u64 > limit {
        return Err(EncodeError::TooManyControls { found: pieces.len() as u64, limit });
    }
    let parameters = plain_parameters(22, budget.window_log);
    let mut patch = Builder::new(Codec::Bsdiff, target);
    let mut next = 0;
    let mut piece = Vec::new();
    while let Some(first) = pieces.get(next) {
        (budget.keep_going)()?;
        let mut frame = Compressor::new(&parameters, &[])?;
        let (mut len, begin) = (0, next);
        while let Some(control) = pieces.get(next) {
            if len > 0 && len + control.add + control.copy > FRAME_OUTPUT_LEN {
                break;
            }
            piece.clear();
            write_control(control, seek_to_next(&pieces, next), base, target, &mut piece);
            frame.push(&piece)?;
            len += control.add + control.copy;
            next += 1;
            if frame.estimate(HELD_BACK) >= FRAME_COMPRESSED_LEN {
                break;
            }
        }
        patch.push(len, first.old, (next - begin) as u32, &frame.finish()?)?;
    }
    Ok(patch.finish(budget.window_log, base))
}

/// Adds and copies above `PIECE_LEN` in several controls: the stream stays a public one.
fn split(controls: &[Control]) -> Vec<Control> {
    let mut pieces = Vec::with_capacity(controls.len());
    for control in controls {
        let (mut old, mut new, mut add, mut copy) = (control.old, control.new, control.add, control.copy);
        while add + copy > PIECE_LEN {
            let step_add = add.min(PIECE_LEN);
            let step_copy = copy.min(PIECE_LEN - step_add);
            pieces.push(Control { old, new, add: step_add, copy: step_copy });
            old += step_add;
            new += step_add + step_copy;
            (add, copy) = (add - step_add, copy - step_copy);
        }
        pieces.push(Control { old, new, add, copy });
    }
    pieces.retain(|piece| piece.add + piece.copy > 0);
    pieces
}

pub(super) fn full(target: &[u8], budget: &Budget<'_>) -> Result<Encoded, EncodeError> {
    let parameters = plain_parameters(19, FULL_WINDOW_LOG);
    let mut patch = Builder::new(Codec::Full, target);
    while let Some(rest) = patch.rest() {
        // Unwrap safety: the output so far is a prefix of the target.
        let done = target.len() - rest.len();
        let history = &target[done.saturating_sub(limits::FULL_HISTORY_LEN as usize)..done];
        plain_frame(&mut patch, rest, history, &parameters, budget)?;
    }
    Ok(patch.finish(FULL_WINDOW_LOG, &[]))
}

pub(super) fn zstd_patch(base: &[u8], target: &[u8], budget: &Budget<'_>) -> Result<Encoded, EncodeError> {
    let codec = Codec::ZstdPatch;
    let window_log = log2_ceil((target.len() as u64).min(FRAME_OUTPUT_LEN)).max(limits::MIN_WINDOW_LOG);
    let (parameters, needed) = patch_parameters(base.len() as u64, window_log);
    if needed > budget.memory_bytes {
        return Err(EncodeError::OverMemory { codec, needed, allowed: budget.memory_bytes });
    }
    let mut patch = Builder::new(codec, target);
    let mut work = 0;
    while let Some(rest) = patch.rest() {
        // Each frame indexes the whole base again.
        work += (base.len() as u64 + FRAME_OUTPUT_LEN) * 8;
        if work > budget.work {
            return Err(EncodeError::OverWork { codec, allowed: budget.work });
        }
        plain_frame(&mut patch, rest, base, &parameters, budget)?;
    }
    Ok(patch.finish(window_log, base))
}

/// zstd's parameters for a window: the level's own tables would be for inputs of 128 MiB, whatever comes.
fn plain_parameters(level: i32, window_log: u8) -> [CParameter; 4] {
    let window_log = u32::from(window_log);
    [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window_log),
        // A binary tree has two links a byte.
        CParameter::ChainLog(window_log + 1),
        CParameter::HashLog(window_log),
    ]
}

/// zstd's parameters for a prefix of `base_len`, and the bytes that its tables take: level 19, with a
/// tree over as much of the base as four times its length in memory allows, and long-distance matching
/// for what the tree does not hold.
fn patch_parameters(base_len: u64, window_log: u8) -> (Vec<CParameter>, u64) {
    let all = base_len + (1 << window_log);
    let chain_log = u32::from(log2_ceil(all)).clamp(16, 25);
    let hash_log = u32::from(log2_ceil(all)).clamp(15, 23) - 1;
    let mut parameters = vec![
        CParameter::CompressionLevel(19),
        CParameter::WindowLog(u32::from(window_log)),
        CParameter::ChainLog(chain_log),
        CParameter::HashLog(hash_log),
    ];
    if all > 1 << (chain_log - 1) {
        parameters.push(CParameter::EnableLongDistanceMatching(true));
        parameters.push(CParameter::LdmHashLog(u32::from(log2_ceil(all)).clamp(10, 24) - 4));
    }
    (parameters, (4 << chain_log) + (4 << hash_log) + (16 << 20))
}

/// One frame of `full` or `zstd_patch`: target bytes as they are, behind a prefix.
fn plain_frame(
    patch: &mut Builder<'_>,
    rest: &[u8],
    prefix: &[u8],
    parameters: &[CParameter],
    budget: &Budget<'_>,
) -> Result<(), EncodeError> {
    let mut frame = Compressor::new(parameters, prefix)?;
    let mut len = 0;
    // Unwrap safety: FRAME_OUTPUT_LEN is cut to the length of `rest`.
    for piece in rest[..rest.len().min(FRAME_OUTPUT_LEN as usize)].chunks(PIECE_LEN as usize / 2) {
        (budget.keep_going)()?;
        frame.push(piece)?;
        len += piece.len() as u64;
        if frame.estimate(HELD_BACK) >= FRAME_COMPRESSED_LEN {
            break;
        }
    }
    let compressed = frame.finish()?;
    patch.push(len, 0, 0, &compressed)
}

/// Collects frames and writes the container around them.
struct Builder<'a> {
    codec: Codec,
    target: &'a [u8],
    done: u64,
    frames: Vec<Frame>,
    body: Vec<u8>,
}

impl<'a> Builder<'a> {
    fn new(codec: Codec, target: &'a [u8]) -> Self {
        Self { codec, target, done: 0, frames: Vec::new(), body: Vec::new() }
    }

    /// What of the target has no frame yet.
    fn rest(&self) -> Option<&'a [u8]> {
        self.target.get(self.done as usize..).filter(|rest| !rest.is_empty())
    }

    fn push(
        &mut self,
        output_len: u64,
        base_position: u64,
        controls: u32,
        compressed: &[u8],
    ) -> Result<(), EncodeError> {
        let limit = u64::from(Limits::default().frames);
        if self.frames.len() as u64 >= limit {
            return Err(EncodeError::TooManyFrames { found: limit + 1, limit });
        }
        let end = self.done + output_len;
        self.frames.push(Frame {
            index: self.frames.len() as u32,
            patch_offset: 0,
            output_offset: self.done,
            base_position,
            output_len: output_len as u32,
            compressed_len: compressed.len() as u32,
            controls,
            // Unwrap safety: frames cover the target in order.
            output_sha256: Digest::of(&self.target[self.done as usize..end as usize]),
        });
        self.body.extend_from_slice(compressed);
        self.done = end;
        Ok(())
    }

    fn finish(self, window_log: u8, base: &[u8]) -> Encoded {
        let table_len = self.frames.len() as u64 * FRAME_LEN;
        let header = Header {
            codec: self.codec,
            window_log,
            frame_count: self.frames.len() as u32,
            ram_bytes: self.codec.ram_need(window_log, base.len() as u64, table_len),
            base_len: base.len() as u64,
            output_len: self.target.len() as u64,
            base_sha256: Digest::of(base),
            output_sha256: Digest::of(self.target),
            patch_len: HEADER_LEN + table_len + self.body.len() as u64,
        };
        let mut bytes = Vec::with_capacity(header.patch_len as usize);
        bytes.extend_from_slice(&header.to_bytes());
        self.frames.iter().for_each(|frame| bytes.extend_from_slice(&frame.to_bytes()));
        bytes.extend_from_slice(&self.body);
        Encoded { bytes, header }
    }
}

fn log2_ceil(len: u64) -> u8 {
    len.max(1).next_power_of_two().trailing_zeros() as u8
}

const _: () = assert!(FORMAT_VERSION == 1, "a new format version needs its own builder");
