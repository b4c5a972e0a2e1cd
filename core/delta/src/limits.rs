//! Every cap on what a patch may claim or cost, with its default, unit and the attack it answers.

/// Caps that the device sets before it opens a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of RAM that applying may take in all (default 8 MiB). For `zstd_patch` a device puts
    /// here what it declared. Attack: a patch whose window or table exhausts a small device.
    pub ram_bytes: u64,
    /// Length of an output or base image, bytes (default 64 GiB; a device sets its slot's size).
    /// Attack: an image that overruns the slot, and lengths that overflow sums.
    pub image_len: u64,
    /// Frames in one patch (default 32 768: a table of 2 MiB). Attack: a table as a memory bomb.
    pub frames: u32,
    /// Bytes that one frame may rebuild (default 4 MiB). Attack: a frame too long to be lost on a kill.
    pub frame_output_len: u32,
    /// Compressed bytes of one frame (default 512 KiB). Attack: a frame that grows instead of shrinking.
    pub frame_compressed_len: u32,
    /// Largest zstd window, log2 of bytes, for `full` and `bsdiff` (default 20). Attack: a window as a
    /// memory bomb.
    pub window_log: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ram_bytes: 8 << 20,
            image_len: 64 << 30,
            frames: 32_768,
            frame_output_len: 4 << 20,
            frame_compressed_len: 512 << 10,
            window_log: 20,
        }
    }
}

/// Controls allowed in a patch that rebuilds `output_len` bytes: one per 32 bytes and 1024 more.
/// Attack: millions of one-byte controls that seek about a slow medium.
pub const fn max_controls(output_len: u64) -> u64 {
    output_len / 32 + 1024
}

/// Inflated bytes allowed in a patch that rebuilds `output_len` bytes: twice that and 32 KiB.
/// Attack: a zstd bomb.
pub const fn max_inflated(output_len: u64) -> u64 {
    output_len.saturating_mul(2).saturating_add(32 << 10)
}

/// RAM that a decoder takes beside window, prefix and frame table, bytes: buffers, zstd's context.
pub const DECODER_RAM: u64 = 2 << 20;

/// Smallest window log that zstd knows.
pub const MIN_WINDOW_LOG: u8 = 10;
/// Largest window log for `zstd_patch` before the RAM rule is asked: 128 MiB (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`).
pub const MAX_PATCH_WINDOW_LOG: u8 = 27;
/// Output history that a `full` frame may refer to, bytes (a frame is restartable because the
/// history is read back from the medium). Attack: none by itself; it is counted in `ram_bytes`.
pub const FULL_HISTORY_LEN: u64 = 1 << 20;
