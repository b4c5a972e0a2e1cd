//! The applier: a step machine that a device drives frame by frame, and [`apply`] that drives it all.
//!
//! A killed apply asks [`Applier::progress`], which reads the output back from the medium, and goes on at
//! the frame it names: the patch is then wanted from that frame's byte offset on.

use std::io::Read;

use crate::base::{self, BaseReader, Hashed, ReadSeek};
use crate::codec::{self, Codec};
use crate::container::{Frame, Header, Table};
use crate::digest::Digest;
use crate::error::DeltaError;
use crate::inflate::Inflater;
use crate::limits::{self, Limits};
use crate::sink::{FrameSink, Medium};

/// What the signed plan says that the patch must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// SHA-256 of the base; `None` takes only `full`, which needs no base.
    pub base_sha256: Option<Digest>,
    /// SHA-256 of the output.
    pub output_sha256: Digest,
    /// Bytes of the output.
    pub output_len: u64,
}

/// How far an output on its medium is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The first frame that must (again) be applied; the number of frames if none.
    pub next_frame: u32,
    /// Where that frame begins in the patch file: `Range: bytes=<patch_offset>-`.
    pub patch_offset: u64,
    /// Good bytes at the beginning of the output.
    pub output_offset: u64,
}

/// Where [`apply`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first frame, whatever the output holds.
    Beginning,
    /// At the first frame whose output on the medium is not good.
    Resume,
    /// At this frame; those before it are not looked at until the output's digest is read back.
    Frame(u32),
}

/// What a finished apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// SHA-256 of the output, read back from the medium.
    pub output_sha256: Digest,
    /// Bytes of the output.
    pub output_len: u64,
    /// Codec of the patch.
    pub codec: Codec,
    /// Frames rebuilt in this run.
    pub frames_applied: u32,
    /// Frames found good on the medium.
    pub frames_kept: u32,
}

/// An opened patch: header and table are checked, no frame is read.
pub struct Applier {
    table: Table,
    /// `zstd_patch`: the base. Other codecs: empty.
    held_base: Vec<u8>,
    /// The frame that would follow the last one applied, and the base position it must begin at.
    reached: Option<(u32, u64)>,
}

impl Applier {
    /// Reads header and frame table from the beginning of a patch (exactly [`Header::head_len`] bytes),
    /// holds them against the limits and against what the plan expects.
    pub fn open(patch: &mut dyn Read, expected: &Expected, limits: &Limits) -> Result<Self, DeltaError> {
        let table = Table::read(patch, limits)?;
        let header = &table.header;
        if header.codec != Codec::Full {
            let wanted = expected.base_sha256.unwrap_or(Digest::of(b""));
            if header.base_sha256 != wanted {
                return Err(DeltaError::BaseDeclared { declared: header.base_sha256, expected: wanted });
            }
        }
        if header.output_len != expected.output_len {
            return Err(DeltaError::OutputLen { declared: header.output_len, expected: expected.output_len });
        }
        if header.output_sha256 != expected.output_sha256 {
            let (declared, expected) = (header.output_sha256, expected.output_sha256);
            return Err(DeltaError::OutputDeclared { declared, expected });
        }
        Ok(Self { table, held_base: Vec::new(), reached: None })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.table.header
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Frame] {
        self.table.frames()
    }

    /// Hashes the base's first `base_len` bytes (what follows them on the medium does not count). Call it
    /// once before the first frame; for `full` it does nothing.
    pub fn check_base(&self, base: &mut dyn ReadSeek) -> Result<(), DeltaError> {
        let (len, expected) = (self.header().base_len, self.header().base_sha256);
        if self.header().codec == Codec::Full {
            return Ok(());
        }
        match base::hash_range(base, 0, len, "read the base")? {
            Hashed::Short(found) => Err(DeltaError::BaseShort { found, expected: len }),
            Hashed::Whole(found) if found != expected => Err(DeltaError::BaseDigest { found, expected }),
            Hashed::Whole(_) => Ok(()),
        }
    }

    /// Reads the output back and finds the first frame that is not good on the medium.
    pub fn progress(&self, out: &mut dyn ReadSeek) -> Result<Progress, DeltaError> {
        for frame in self.frames() {
            let hashed = base::hash_range(
                out,
                frame.output_offset,
                u64::from(frame.output_len),
                "read the output back",
            )?;
            match hashed {
                Hashed::Whole(digest) if digest == frame.output_sha256 => {}
                _ => return self.progress_at(frame.index),
            }
        }
        self.progress_at(self.header().frame_count)
    }

    /// Offsets of frame `next_frame`; the number of frames stands for the end.
    pub fn progress_at(&self, next_frame: u32) -> Result<Progress, DeltaError> {
        let (header, count) = (self.header(), self.header().frame_count);
        match self.table.frame(next_frame) {
            Some(frame) => Ok(Progress {
                next_frame,
                patch_offset: frame.patch_offset,
                output_offset: frame.output_offset,
            }),
            None if next_frame == count => {
                Ok(Progress { next_frame, patch_offset: header.patch_len, output_offset: header.output_len })
            }
            None => Err(DeltaError::NoSuchFrame { frame: next_frame, count }),
        }
    }

    /// Rebuilds one frame. `patch` stands at the frame's `patch_offset` and is read to the frame's end,
    /// not further. On an error the frame's stretch of the output is undefined and does not hash to its
    /// entry, so [`Self::progress`] will name it again.
    pub fn apply_frame(
        &mut self,
        index: u32,
        patch: &mut dyn Read,
        base: &mut dyn ReadSeek,
        out: &mut dyn Medium,
    ) -> Result<(), DeltaError> {
        let header = *self.header();
        let count = header.frame_count;
        let frame = *self.table.frame(index).ok_or(DeltaError::NoSuchFrame { frame: index, count })?;
        if let Some((next, reached)) = self.reached.take()
            && next == index
            && reached != frame.base_position
        {
            return Err(DeltaError::FrameBaseJump { frame: index, declared: frame.base_position, reached });
        }
        let history = self.prefix(&header, &frame, base, out)?;
        let prefix = if header.codec == Codec::ZstdPatch { &self.held_base } else { &history };
        let mut input = Inflater::new(&header, &frame, prefix, patch)?;
        let mut base = BaseReader::new(base, header.base_len);
        let mut sink = FrameSink::new(out, frame)?;
        let position = codec::apply_frame(&header, &frame, &mut input, &mut base, &mut sink)?;
        input.finish()?;
        sink.finish()?;
        self.reached = Some((index + 1, position));
        Ok(())
    }

    /// Reads the whole output back from the medium; only this makes it believed.
    pub fn check_output(&self, out: &mut dyn ReadSeek) -> Result<Digest, DeltaError> {
        let (len, expected) = (self.header().output_len, self.header().output_sha256);
        match base::hash_range(out, 0, len, "read the output back")? {
            Hashed::Short(found) => Err(DeltaError::FramesLen { found, expected: len }),
            Hashed::Whole(found) if found != expected => Err(DeltaError::OutputDigest { found, expected }),
            Hashed::Whole(found) => Ok(found),
        }
    }

    /// The patch stream must end here.
    pub fn check_end(&self, patch: &mut dyn Read) -> Result<(), DeltaError> {
        let mut byte = [0];
        loop {
            match patch.read(&mut byte) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(DeltaError::TrailingBytes { at: self.header().patch_len }),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DeltaError::io("read the patch")(error)),
            }
        }
    }

    /// What a frame may refer to: the output before it (`full`), or the base, loaded once (`zstd_patch`).
    fn prefix(
        &mut self,
        header: &Header,
        frame: &Frame,
        base: &mut dyn ReadSeek,
        out: &mut dyn Medium,
    ) -> Result<Vec<u8>, DeltaError> {
        match header.codec {
            Codec::Bsdiff => Ok(Vec::new()),
            Codec::Full => {
                let len = frame.output_offset.min(limits::FULL_HISTORY_LEN);
                let mut history = vec![0; len as usize];
                BaseReader::new(&mut MediumRead(out), frame.output_offset)
                    .read_exact_at(frame.output_offset - len, &mut history)?;
                Ok(history)
            }
            Codec::ZstdPatch => {
                if self.held_base.len() as u64 != header.base_len {
                    // Bounded: `Header::parse` held base_len against `Limits::ram_bytes`.
                    self.held_base = vec![0; header.base_len as usize];
                    BaseReader::new(base, header.base_len).read_exact_at(0, &mut self.held_base)?;
                }
                Ok(Vec::new())
            }
        }
    }
}

/// A medium seen as something to read.
struct MediumRead<'a>(&'a mut dyn Medium);

impl Read for MediumRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Seek for MediumRead<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

/// Applies a whole patch: opens it, checks the base, finds its start, rebuilds every frame that is due,
/// refuses trailing bytes, and reads the output back. `patch` stands at its beginning; the bytes of
/// frames that are kept are read and thrown away (a device that can fetch ranges drives [`Applier`]).
pub fn apply(
    patch: &mut dyn Read,
    base: &mut dyn ReadSeek,
    out: &mut dyn Medium,
    expected: &Expected,
    limits: &Limits,
    start: Start,
) -> Result<Applied, DeltaError> {
    let mut applier = Applier::open(patch, expected, limits)?;
    applier.check_base(base)?;
    let from = match start {
        Start::Beginning => applier.progress_at(0)?,
        Start::Resume => applier.progress(&mut MediumRead(out))?,
        Start::Frame(index) => applier.progress_at(index)?,
    };
    skip(patch, applier.header().head_len(), from.patch_offset)?;
    let count = applier.header().frame_count;
    for index in from.next_frame..count {
        applier.apply_frame(index, patch, base, out)?;
    }
    applier.check_end(patch)?;
    Ok(Applied {
        output_sha256: applier.check_output(&mut MediumRead(out))?,
        output_len: applier.header().output_len,
        codec: applier.header().codec,
        frames_applied: count - from.next_frame,
        frames_kept: from.next_frame,
    })
}

fn skip(patch: &mut dyn Read, from: u64, to: u64) -> Result<(), DeltaError> {
    let due = to.saturating_sub(from);
    let skipped = std::io::copy(&mut patch.take(due), &mut std::io::sink())
        .map_err(DeltaError::io("read the patch"))?;
    if skipped < due {
        return Err(DeltaError::Truncated { at: from + skipped, missing: due - skipped });
    }
    Ok(())
}
