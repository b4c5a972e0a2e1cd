//! Why a patch was refused: one variant per cause, with the values compared.

use std::io;

use crate::codec::Codec;
use crate::digest::Digest;

/// Why a patch could not be opened or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The first eight bytes are not the container's.
    #[error("not a Holdfast patch: magic is {found:02x?}")]
    Magic {
        /// Bytes found.
        found: [u8; 8],
    },
    /// A format version that this program does not know.
    #[error("patch format version {found} is not {known}")]
    Version {
        /// Version found.
        found: u16,
        /// The only version known.
        known: u16,
    },
    /// A codec id that this program does not know.
    #[error("codec id {found} is unknown")]
    UnknownCodec {
        /// Id found.
        found: u8,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes at {at} are not zero")]
    Reserved {
        /// Patch offset, bytes.
        at: u64,
    },
    /// The patch was made for another base.
    #[error("patch is for base {declared}, the plan names {expected}")]
    BaseDeclared {
        /// Digest in the patch.
        declared: Digest,
        /// Digest expected.
        expected: Digest,
    },
    /// The patch rebuilds another output than the signed one.
    #[error("patch rebuilds {declared}, the plan names {expected}")]
    OutputDeclared {
        /// Digest in the patch.
        declared: Digest,
        /// Digest expected.
        expected: Digest,
    },
    /// The patch rebuilds another length than the signed one.
    #[error("patch rebuilds {declared} bytes, the plan names {expected}")]
    OutputLen {
        /// Length in the patch.
        declared: u64,
        /// Length expected.
        expected: u64,
    },
    /// The bytes of the base on the medium are not those that the patch needs.
    #[error("base on the medium hashes to {found}, the patch needs {expected}")]
    BaseDigest {
        /// Digest of the medium.
        found: Digest,
        /// Digest needed.
        expected: Digest,
    },
    /// The base on the medium ends too early.
    #[error("base ends at {found} bytes, the patch needs {expected}")]
    BaseShort {
        /// Length reached.
        found: u64,
        /// Length needed.
        expected: u64,
    },
    /// An image is longer than the limit.
    #[error("{what} of {len} bytes is above the limit of {limit}")]
    ImageTooLong {
        /// `base` or `output`.
        what: &'static str,
        /// Length declared.
        len: u64,
        /// Limit.
        limit: u64,
    },
    /// More frames than the limit, or than the output can hold.
    #[error("{found} frames are more than {limit}")]
    TooManyFrames {
        /// Frames declared.
        found: u32,
        /// Limit.
        limit: u32,
    },
    /// A frame does not begin where the one before it ended (a gap or an overlap).
    #[error("frame {frame} begins at {found}, the one before it ended at {expected}")]
    FrameNotContiguous {
        /// Frame number.
        frame: u32,
        /// Output offset declared.
        found: u64,
        /// Output offset due.
        expected: u64,
    },
    /// The frames together do not make the output.
    #[error("frames rebuild {found} bytes, the output has {expected}")]
    FramesLen {
        /// Sum over frames.
        found: u64,
        /// Declared output.
        expected: u64,
    },
    /// Frames and header together are not the patch's declared length.
    #[error("header and frames make {found} bytes, the patch declares {expected}")]
    PatchLen {
        /// Sum.
        found: u64,
        /// Declared.
        expected: u64,
    },
    /// A frame rebuilds nothing or more than a frame may.
    #[error("frame {frame} rebuilds {len} bytes, allowed are 1 to {limit}")]
    FrameOutputLen {
        /// Frame number.
        frame: u32,
        /// Length declared.
        len: u32,
        /// Limit.
        limit: u32,
    },
    /// A frame's compressed length is zero or above the limit.
    #[error("frame {frame} has {len} compressed bytes, allowed are 1 to {limit}")]
    FrameCompressedLen {
        /// Frame number.
        frame: u32,
        /// Length declared.
        len: u32,
        /// Limit.
        limit: u32,
    },
    /// A frame's old position is outside the base (or not zero for a codec that has none).
    #[error("frame {frame} begins at base position {position}, allowed is 0 to {limit}")]
    FrameBasePosition {
        /// Frame number.
        frame: u32,
        /// Position declared.
        position: u64,
        /// Largest allowed.
        limit: u64,
    },
    /// A frame's old position is not where the frame before it left off.
    #[error("frame {frame} begins at base position {declared}, the one before it ended at {reached}")]
    FrameBaseJump {
        /// Frame number.
        frame: u32,
        /// Position declared.
        declared: u64,
        /// Position reached.
        reached: u64,
    },
    /// More controls than `output / 32 + 1024`, or controls for a codec that has none.
    #[error("{found} controls are more than {limit}")]
    TooManyControls {
        /// Controls declared.
        found: u64,
        /// Limit.
        limit: u64,
    },
    /// The inflated patch would be above twice the output.
    #[error("patch inflates to {found} bytes, allowed are {limit}")]
    InflatedTooLong {
        /// Sum declared.
        found: u64,
        /// Limit.
        limit: u64,
    },
    /// The declared window is outside what this codec may use.
    #[error("{codec} declares window log {found}, allowed is {min} to {max}")]
    WindowDeclared {
        /// Codec.
        codec: Codec,
        /// Declared.
        found: u8,
        /// Smallest allowed.
        min: u8,
        /// Largest allowed.
        max: u8,
    },
    /// A zstd frame asks for a larger window than the header declared.
    #[error("frame {frame} asks for a larger window than the declared 2^{declared}")]
    WindowUsed {
        /// Frame number.
        frame: u32,
        /// Declared window log.
        declared: u8,
    },
    /// The patch states less RAM than its own parameters take.
    #[error("patch states {stated} bytes of RAM, its parameters take {needed}")]
    RamUnderstated {
        /// Stated.
        stated: u64,
        /// Computed.
        needed: u64,
    },
    /// The patch needs more RAM than the device gives.
    #[error("patch needs {needed} bytes of RAM, the device gives {limit}")]
    RamAboveLimit {
        /// Needed.
        needed: u64,
        /// Given.
        limit: u64,
    },
    /// The patch ended before it was complete.
    #[error("patch is truncated: {missing} more bytes were due at offset {at}")]
    Truncated {
        /// Patch offset reached.
        at: u64,
        /// Bytes still due.
        missing: u64,
    },
    /// Bytes follow the last frame.
    #[error("bytes follow the end of the patch at offset {at}")]
    TrailingBytes {
        /// Where the patch should have ended.
        at: u64,
    },
    /// zstd refused the bytes.
    #[error("frame {frame} does not inflate: {reason}")]
    Corrupt {
        /// Frame number.
        frame: u32,
        /// zstd's word for it.
        reason: &'static str,
    },
    /// A frame's zstd stream ended before the bytes that were due.
    #[error("frame {frame} inflates to fewer bytes than it declares")]
    InflatedShort {
        /// Frame number.
        frame: u32,
    },
    /// A frame's zstd stream goes on after the bytes that were due (the bomb's first byte is not kept).
    #[error("frame {frame} inflates to more bytes than it declares")]
    InflatedMore {
        /// Frame number.
        frame: u32,
    },
    /// A frame's zstd stream ended before its compressed bytes did.
    #[error("frame {frame} has {unused} compressed bytes after its stream's end")]
    CompressedUnused {
        /// Frame number.
        frame: u32,
        /// Bytes unused.
        unused: u64,
    },
    /// A control neither adds nor copies.
    #[error("frame {frame}, control {control}: adds and copies nothing")]
    EmptyControl {
        /// Frame number.
        frame: u32,
        /// Control number within the frame.
        control: u32,
    },
    /// A control's length has its sign bit set.
    #[error("frame {frame}, control {control}: negative length")]
    NegativeLength {
        /// Frame number.
        frame: u32,
        /// Control number within the frame.
        control: u32,
    },
    /// A control rebuilds more than is left of its frame.
    #[error("frame {frame}, control {control}: rebuilds {len} bytes, {left} are left")]
    ControlOverrun {
        /// Frame number.
        frame: u32,
        /// Control number within the frame.
        control: u32,
        /// Bytes that the control rebuilds.
        len: u64,
        /// Bytes left of the frame.
        left: u64,
    },
    /// A control reads past the end of the base.
    #[error("frame {frame}, control {control}: adds {len} bytes at {position} of a base of {base_len}")]
    AddOutsideBase {
        /// Frame number.
        frame: u32,
        /// Control number within the frame.
        control: u32,
        /// Base position.
        position: u64,
        /// Bytes to add.
        len: u64,
        /// Length of the base.
        base_len: u64,
    },
    /// A control seeks outside the base.
    #[error("frame {frame}, control {control}: seeks by {seek} from {position} of a base of {base_len}")]
    SeekOutsideBase {
        /// Frame number.
        frame: u32,
        /// Control number within the frame.
        control: u32,
        /// Position before the seek.
        position: u64,
        /// Seek, bytes.
        seek: i64,
        /// Length of the base.
        base_len: u64,
    },
    /// The controls of a frame rebuild less than the frame.
    #[error("frame {frame}: its controls rebuild {found} bytes, the frame has {expected}")]
    FrameShort {
        /// Frame number.
        frame: u32,
        /// Rebuilt.
        found: u64,
        /// Declared.
        expected: u64,
    },
    /// A frame's output is not what the table says.
    #[error("frame {frame} rebuilt to {found}, the table says {expected}")]
    FrameDigest {
        /// Frame number.
        frame: u32,
        /// Digest rebuilt.
        found: Digest,
        /// Digest declared.
        expected: Digest,
    },
    /// The output read back from the medium is not the expected one.
    #[error("output on the medium hashes to {found}, expected {expected}")]
    OutputDigest {
        /// Digest read back.
        found: Digest,
        /// Digest expected.
        expected: Digest,
    },
    /// A frame number past the end of the table.
    #[error("frame {frame} asked for, the patch has {count}")]
    NoSuchFrame {
        /// Frame asked for.
        frame: u32,
        /// Frames in the patch.
        count: u32,
    },
    /// zstd could not get its memory.
    #[error("no memory for the decoder")]
    OutOfMemory,
    /// The medium or the stream failed.
    #[error("could not {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The medium's word for it.
        #[source]
        source: io::Error,
    },
}

impl DeltaError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether fetching the same patch again can help: the stream or the medium failed, not the patch.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Truncated { .. } | Self::OutOfMemory)
    }
}
