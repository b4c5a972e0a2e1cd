//! The container's bytes: a fixed header, the frame table, then the frames' compressed bytes.
//!
//! All integers little-endian. Header, [`HEADER_LEN`] bytes:
//! ```text
//!   0  8  magic "HFDELTA\0"          40 32  base SHA-256 (of the first base_len bytes)
//!   8  2  format version, 1          72 32  output SHA-256
//!  10  1  codec: 1 full, 2 bsdiff,  104  8  length of the whole patch file
//!         3 zstd_patch              112  -  frame table
//!  11  1  window log
//!  12  4  frame count
//!  16  8  RAM needed, bytes
//!  24  8  base length
//!  32  8  output length
//! ```
//! A frame's entry, [`FRAME_LEN`] bytes:
//! ```text
//!   0  8  output offset              24  4  controls (bsdiff; otherwise 0)
//!   8  8  base position              28  4  zero
//!  16  4  output length              32 32  SHA-256 of the frame's output
//!  20  4  compressed length
//! ```
//! `full` has base length 0 and the SHA-256 of nothing. The table stands in front so that a device can
//! tell its progress and ask for the byte range of the frame where it goes on.

use std::io::Read;

use crate::codec::{CONTROL_LEN, Codec};
use crate::digest::Digest;
use crate::error::DeltaError;
use crate::limits::{self, Limits};

/// First bytes of a patch.
pub const MAGIC: [u8; 8] = *b"HFDELTA\0";
/// The only format version.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of the fixed header.
pub const HEADER_LEN: u64 = 112;
/// Bytes of one entry of the frame table.
pub const FRAME_LEN: u64 = 64;

/// The fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How frames are coded.
    pub codec: Codec,
    /// log2 of the largest zstd window in any frame.
    pub window_log: u8,
    /// Frames in the table.
    pub frame_count: u32,
    /// RAM that applying takes, bytes.
    pub ram_bytes: u64,
    /// Bytes of the base that count.
    pub base_len: u64,
    /// Bytes of the output.
    pub output_len: u64,
    /// SHA-256 of the base's first `base_len` bytes.
    pub base_sha256: Digest,
    /// SHA-256 of the output.
    pub output_sha256: Digest,
    /// Bytes of the whole patch file.
    pub patch_len: u64,
}

/// One frame: a stretch of output that is rebuilt, checked and restarted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Number, from 0.
    pub index: u32,
    /// Where its compressed bytes begin in the patch file (not stored: the sum of those before).
    pub patch_offset: u64,
    /// Where its output begins.
    pub output_offset: u64,
    /// Base position at its first control.
    pub base_position: u64,
    /// Bytes that it rebuilds.
    pub output_len: u32,
    /// Compressed bytes.
    pub compressed_len: u32,
    /// Controls in it.
    pub controls: u32,
    /// SHA-256 of its output.
    pub output_sha256: Digest,
}

impl Header {
    /// Parses the fixed header and holds it against the limits.
    pub fn parse(bytes: &[u8; HEADER_LEN as usize], limits: &Limits) -> Result<Self, DeltaError> {
        let mut at = Fields(bytes);
        let magic: [u8; 8] = at.take();
        if magic != MAGIC {
            return Err(DeltaError::Magic { found: magic });
        }
        let found = u16::from_le_bytes(at.take());
        if found != FORMAT_VERSION {
            return Err(DeltaError::Version { found, known: FORMAT_VERSION });
        }
        let [codec] = at.take();
        let [window_log] = at.take();
        let header = Self {
            codec: Codec::from_id(codec)?,
            window_log,
            frame_count: u32::from_le_bytes(at.take()),
            ram_bytes: u64::from_le_bytes(at.take()),
            base_len: u64::from_le_bytes(at.take()),
            output_len: u64::from_le_bytes(at.take()),
            base_sha256: Digest(at.take()),
            output_sha256: Digest(at.take()),
            patch_len: u64::from_le_bytes(at.take()),
        };
        header.check(limits)?;
        Ok(header)
    }

    /// Bytes in front of the first frame.
    pub fn head_len(&self) -> u64 {
        HEADER_LEN + u64::from(self.frame_count) * FRAME_LEN
    }

    fn check(&self, limits: &Limits) -> Result<(), DeltaError> {
        for (what, len) in [("base", self.base_len), ("output", self.output_len)] {
            if len > limits.image_len {
                return Err(DeltaError::ImageTooLong { what, len, limit: limits.image_len });
            }
        }
        let min_frames = self.output_len.div_ceil(u64::from(limits.frame_output_len).max(1));
        let most = u64::from(limits.frames).min(self.output_len) as u32;
        if self.frame_count > most {
            return Err(DeltaError::TooManyFrames { found: self.frame_count, limit: most });
        }
        if u64::from(self.frame_count) < min_frames {
            let found = u64::from(self.frame_count) * u64::from(limits.frame_output_len);
            return Err(DeltaError::FramesLen { found, expected: self.output_len });
        }
        let (min, max) = (limits::MIN_WINDOW_LOG, self.codec.max_window_log(limits));
        if !(min..=max).contains(&self.window_log) {
            return Err(DeltaError::WindowDeclared { codec: self.codec, found: self.window_log, min, max });
        }
        if self.codec == Codec::Full {
            self.check_no_base()?;
        }
        let table_len = u64::from(self.frame_count) * FRAME_LEN;
        let needed = self.codec.ram_need(self.window_log, self.base_len, table_len);
        if self.ram_bytes < needed {
            return Err(DeltaError::RamUnderstated { stated: self.ram_bytes, needed });
        }
        if self.ram_bytes > limits.ram_bytes {
            return Err(DeltaError::RamAboveLimit { needed: self.ram_bytes, limit: limits.ram_bytes });
        }
        Ok(())
    }

    fn check_no_base(&self) -> Result<(), DeltaError> {
        let nothing = Digest::of(b"");
        if self.base_len != 0 {
            return Err(DeltaError::ImageTooLong { what: "base", len: self.base_len, limit: 0 });
        }
        if self.base_sha256 != nothing {
            return Err(DeltaError::BaseDeclared { declared: self.base_sha256, expected: nothing });
        }
        Ok(())
    }

    /// The header's bytes.
    #[cfg(feature = "encode")]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.codec.id(), self.window_log]);
        bytes.extend_from_slice(&self.frame_count.to_le_bytes());
        for word in [self.ram_bytes, self.base_len, self.output_len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.base_sha256.0);
        bytes.extend_from_slice(&self.output_sha256.0);
        bytes.extend_from_slice(&self.patch_len.to_le_bytes());
        // Unwrap safety: the fields above are HEADER_LEN bytes whatever their values.
        bytes.try_into().expect("the header is as long as its fields")
    }
}

impl Frame {
    fn parse(bytes: &[u8; FRAME_LEN as usize], index: u32, patch_offset: u64) -> Result<Self, DeltaError> {
        let mut at = Fields(bytes);
        let output_offset = u64::from_le_bytes(at.take());
        let base_position = u64::from_le_bytes(at.take());
        let output_len = u32::from_le_bytes(at.take());
        let compressed_len = u32::from_le_bytes(at.take());
        let controls = u32::from_le_bytes(at.take());
        if at.take() != [0; 4] {
            return Err(DeltaError::Reserved { at: HEADER_LEN + u64::from(index) * FRAME_LEN + 28 });
        }
        let output_sha256 = Digest(at.take());
        Ok(Self {
            index,
            patch_offset,
            output_offset,
            base_position,
            output_len,
            compressed_len,
            controls,
            output_sha256,
        })
    }

    /// The entry's bytes.
    #[cfg(feature = "encode")]
    pub fn to_bytes(&self) -> [u8; FRAME_LEN as usize] {
        let mut bytes = [0; FRAME_LEN as usize];
        // Unwrap safety: constant ranges inside a constant length.
        bytes[0..8].copy_from_slice(&self.output_offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.base_position.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.output_len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.compressed_len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.controls.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.output_sha256.0);
        bytes
    }
}

/// A parsed and checked header with its frame table; the table stays in its compact wire form plus the
/// offsets, 72 bytes a frame.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) header: Header,
    frames: Vec<Frame>,
}

impl Table {
    /// Reads header and table from the beginning of a patch, and nothing after them.
    pub(crate) fn read(patch: &mut dyn Read, limits: &Limits) -> Result<Self, DeltaError> {
        let mut bytes = [0; HEADER_LEN as usize];
        read_exact(patch, &mut bytes, 0)?;
        let header = Header::parse(&bytes, limits)?;
        let mut table = Self { header, frames: Vec::new() };
        let mut sums = Sums { patch: header.head_len(), ..Sums::default() };
        for index in 0..header.frame_count {
            let mut bytes = [0; FRAME_LEN as usize];
            read_exact(patch, &mut bytes, HEADER_LEN + u64::from(index) * FRAME_LEN)?;
            let frame = Frame::parse(&bytes, index, sums.patch)?;
            check_frame(&header, &frame, &sums, limits)?;
            sums.add(&frame, header.codec);
            // Grown by what was read, never by what was declared.
            table.frames.push(frame);
        }
        sums.check(&header)?;
        Ok(table)
    }

    pub(crate) fn frame(&self, index: u32) -> Option<&Frame> {
        self.frames.get(index as usize)
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

/// Running totals over the table. At most 2^32 entries of less than 2^38 each: no sum can overflow.
#[derive(Default)]
struct Sums {
    patch: u64,
    output: u64,
    controls: u64,
    inflated: u64,
}

impl Sums {
    fn add(&mut self, frame: &Frame, codec: Codec) {
        self.patch += u64::from(frame.compressed_len);
        self.output += u64::from(frame.output_len);
        self.controls += u64::from(frame.controls);
        self.inflated += u64::from(frame.output_len);
        if codec.has_controls() {
            self.inflated += u64::from(frame.controls) * CONTROL_LEN;
        }
    }

    fn check(&self, header: &Header) -> Result<(), DeltaError> {
        if self.output != header.output_len {
            return Err(DeltaError::FramesLen { found: self.output, expected: header.output_len });
        }
        let limit = limits::max_inflated(header.output_len);
        if self.inflated > limit {
            return Err(DeltaError::InflatedTooLong { found: self.inflated, limit });
        }
        let limit = if header.codec.has_controls() { limits::max_controls(header.output_len) } else { 0 };
        if self.controls > limit {
            return Err(DeltaError::TooManyControls { found: self.controls, limit });
        }
        if self.patch != header.patch_len {
            return Err(DeltaError::PatchLen { found: self.patch, expected: header.patch_len });
        }
        Ok(())
    }
}

fn check_frame(header: &Header, frame: &Frame, sums: &Sums, limits: &Limits) -> Result<(), DeltaError> {
    let index = frame.index;
    if frame.output_offset != sums.output {
        return Err(DeltaError::FrameNotContiguous {
            frame: index,
            found: frame.output_offset,
            expected: sums.output,
        });
    }
    if !(1..=limits.frame_output_len).contains(&frame.output_len) {
        return Err(DeltaError::FrameOutputLen {
            frame: index,
            len: frame.output_len,
            limit: limits.frame_output_len,
        });
    }
    if !(1..=limits.frame_compressed_len).contains(&frame.compressed_len) {
        return Err(DeltaError::FrameCompressedLen {
            frame: index,
            len: frame.compressed_len,
            limit: limits.frame_compressed_len,
        });
    }
    let limit = if header.codec.has_controls() { header.base_len } else { 0 };
    if frame.base_position > limit {
        return Err(DeltaError::FrameBasePosition { frame: index, position: frame.base_position, limit });
    }
    Ok(())
}

/// Fills `out` or says where the patch ended. `at` is the patch offset of the first byte.
pub(crate) fn read_exact(patch: &mut dyn Read, out: &mut [u8], at: u64) -> Result<(), DeltaError> {
    let mut filled = 0;
    while filled < out.len() {
        // Unwrap safety: `filled` is below the length.
        match patch.read(&mut out[filled..]) {
            Ok(0) => {
                return Err(DeltaError::Truncated {
                    at: at + filled as u64,
                    missing: (out.len() - filled) as u64,
                });
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DeltaError::io("read the patch")(error)),
        }
    }
    Ok(())
}

/// Takes fixed-length fields off the front of a fixed-length record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        // Unwrap safety: the callers' fields add up to their record's constant length.
        let (field, rest) = self.0.split_first_chunk().expect("a field inside a fixed record");
        self.0 = rest;
        *field
    }
}
