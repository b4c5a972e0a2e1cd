//! The server's half: making patches. Never compiled into a device.
//!
//! [`encode`] makes one patch with one codec; [`crate::plan`] costs them all. There is no clock here:
//! what a build may cost is counted in bytes and steps ([`Budget`]), and whoever has a clock cancels
//! through `keep_going`.

mod compress;
mod controls;
mod frames;
mod matches;
mod runs;
mod scan;

use std::io;

use crate::codec::Codec;
use crate::container::Header;
use crate::limits;

pub use controls::StreamError;

/// Window log of `bsdiff` frames unless the budget says otherwise: 128 KiB keeps the applier small.
pub const BSDIFF_WINDOW_LOG: u8 = 17;
/// Window log of `full` frames: the largest that every device takes.
pub const FULL_WINDOW_LOG: u8 = 20;

/// What one build may cost.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Bytes of RAM beside base and target.
    pub memory_bytes: u64,
    /// Steps: about one per byte compared or indexed.
    pub work: u64,
    /// Window log for `bsdiff`, 10 to 20.
    pub window_log: u8,
    /// Asked every few milliseconds of work, but not during a suffix sort (n log n of the base).
    pub keep_going: &'a dyn Fn() -> Result<(), Cancelled>,
}

impl Budget<'static> {
    /// Eight times the larger image in all (base and target included), at least 96 MiB; 2000 steps a
    /// byte; never cancelled.
    pub fn for_images(base_len: u64, target_len: u64) -> Self {
        let image = base_len.max(target_len);
        Self {
            memory_bytes: image.saturating_mul(6).max(96 << 20),
            work: (base_len + target_len).saturating_mul(2000).max(1 << 30),
            window_log: BSDIFF_WINDOW_LOG,
            keep_going: &|| Ok(()),
        }
    }
}

/// The caller wants the build to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the build was cancelled")]
pub struct Cancelled;

/// Why a patch could not be made. All but `Cancelled` and `Compress` mean: try another codec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The caller stopped the build.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The build would take more memory than it may.
    #[error("{codec} takes {needed} bytes of memory for this pair, the budget is {allowed}")]
    OverMemory {
        /// Codec.
        codec: Codec,
        /// Estimated need, bytes.
        needed: u64,
        /// Budget, bytes.
        allowed: u64,
    },
    /// The build took more steps than it may.
    #[error("{codec} takes more than the {allowed} steps of the budget")]
    OverWork {
        /// Codec.
        codec: Codec,
        /// Budget, steps.
        allowed: u64,
    },
    /// An image that this codec cannot index.
    #[error("{codec} cannot take an image of {len} bytes, at most {limit}")]
    TooLong {
        /// Codec.
        codec: Codec,
        /// Length, bytes.
        len: u64,
        /// Limit, bytes.
        limit: u64,
    },
    /// The images have so little in common that the applier would refuse the controls.
    #[error("{found} controls are needed, an applier takes {limit}")]
    TooManyControls {
        /// Controls.
        found: u64,
        /// Limit.
        limit: u64,
    },
    /// More frames than an applier takes.
    #[error("{found} frames are needed, an applier takes {limit}")]
    TooManyFrames {
        /// Frames.
        found: u64,
        /// Limit.
        limit: u64,
    },
    /// A window log outside what appliers take.
    #[error("window log {found} is outside {min} to {max}")]
    WindowLog {
        /// Asked for.
        found: u8,
        /// Smallest.
        min: u8,
        /// Largest.
        max: u8,
    },
    /// A public BSDIFF43 stream that does not rebuild the target.
    #[error("the stream is not a BSDIFF43 stream for this pair")]
    Stream(#[from] StreamError),
    /// zstd failed.
    #[error("zstd could not compress")]
    Compress(#[source] io::Error),
}

/// A finished patch.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The patch file.
    pub bytes: Vec<u8>,
    /// Its header.
    pub header: Header,
}

/// Makes a patch from `base` to `target`.
pub fn encode(codec: Codec, base: &[u8], target: &[u8], budget: &Budget<'_>) -> Result<Encoded, EncodeError> {
    let (min, max) = (limits::MIN_WINDOW_LOG, FULL_WINDOW_LOG);
    if !(min..=max).contains(&budget.window_log) {
        return Err(EncodeError::WindowLog { found: budget.window_log, min, max });
    }
    match codec {
        Codec::Full => frames::full(target, budget),
        Codec::ZstdPatch => frames::zstd_patch(base, target, budget),
        Codec::Bsdiff => frames::bsdiff(base, target, &matches::controls(base, target, budget)?, budget),
    }
}

/// The raw public stream (no header): what crate `bsdiff` and other BSDIFF43 programs apply.
pub fn bsdiff43_stream(base: &[u8], target: &[u8], budget: &Budget<'_>) -> Result<Vec<u8>, EncodeError> {
    Ok(controls::to_stream(&matches::controls(base, target, budget)?, base, target))
}

/// Puts a raw public stream made by another program into our container, after checking that it rebuilds
/// `target`.
pub fn wrap_bsdiff43(
    base: &[u8],
    target: &[u8],
    stream: &[u8],
    budget: &Budget<'_>,
) -> Result<Encoded, EncodeError> {
    let controls = controls::from_stream(stream, base, target)?;
    frames::bsdiff(base, target, &controls, budget)
}
