//! The codecs: how one frame becomes output. `apply` is always compiled; encoding is in `encode/`.
//!
//! One file per codec, one line each in [`Codec`] and in `apply_frame`. Ids 4 (`hfdelta`) and
//! 5 (`chunks`) are kept free for their own issue.

mod bsdiff;
mod full;
mod zstd_patch;

use std::fmt;
use std::str::FromStr;

use crate::base::BaseReader;
use crate::container::{Frame, Header};
use crate::error::DeltaError;
use crate::inflate::Inflater;
use crate::limits::{self, Limits};
use crate::sink::FrameSink;

pub(crate) use bsdiff::CONTROL_LEN;

/// How the frames of a patch are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// The output itself inside zstd; needs no base.
    Full,
    /// The public BSDIFF43 stream (control, diff, extra interleaved) inside zstd.
    Bsdiff,
    /// zstd with the whole base as prefix; the base is held in RAM.
    ZstdPatch,
}

impl Codec {
    /// Every codec, cheapest in RAM first.
    pub const ALL: [Self; 3] = [Self::Bsdiff, Self::Full, Self::ZstdPatch];

    /// Name on the wire and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Bsdiff => "bsdiff",
            Self::ZstdPatch => "zstd_patch",
        }
    }

    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Bsdiff => 2,
            Self::ZstdPatch => 3,
        }
    }

    pub(crate) fn from_id(id: u8) -> Result<Self, DeltaError> {
        Self::ALL.into_iter().find(|codec| codec.id() == id).ok_or(DeltaError::UnknownCodec { found: id })
    }

    /// Whether a frame of this codec has controls and an old position.
    pub(crate) const fn has_controls(self) -> bool {
        matches!(self, Self::Bsdiff)
    }

    /// Bytes of RAM that applying takes: decoder, window, prefix and frame table.
    pub const fn ram_need(self, window_log: u8, base_len: u64, table_len: u64) -> u64 {
        let window = 1_u64 << if window_log > 40 { 40 } else { window_log };
        let prefix = match self {
            Self::Full => limits::FULL_HISTORY_LEN,
            Self::Bsdiff => 0,
            Self::ZstdPatch => base_len,
        };
        prefix.saturating_add(window).saturating_add(table_len).saturating_add(limits::DECODER_RAM)
    }

    pub(crate) const fn max_window_log(self, limits: &Limits) -> u8 {
        match self {
            Self::Full | Self::Bsdiff => limits.window_log,
            Self::ZstdPatch => limits::MAX_PATCH_WINDOW_LOG,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodecName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| UnknownCodecName(name.to_owned()))
    }
}

/// A codec name that is none.
#[derive(Debug, thiserror::Error)]
#[error("codec {0:?} is none of full, bsdiff, zstd_patch")]
pub struct UnknownCodecName(pub String);

/// Rebuilds one frame from its inflated stream; returns the base position reached.
pub(crate) fn apply_frame(
    header: &Header,
    frame: &Frame,
    input: &mut Inflater<'_>,
    base: &mut BaseReader<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<u64, DeltaError> {
    match header.codec {
        Codec::Full => full::apply(frame, input, sink),
        Codec::Bsdiff => bsdiff::apply(header.base_len, frame, input, base, sink),
        Codec::ZstdPatch => zstd_patch::apply(frame, input, sink),
    }
}
