//! Every cap of this folder: default, unit, the attack it answers.

/// Bytes of a root; endless data from a hostile mirror.
pub const ROOT_MAX_BYTES: u64 = 512_000;
/// Bytes of a timestamp; endless data.
pub const TIMESTAMP_MAX_BYTES: u64 = 16_384;
/// Bytes of a snapshot whose length is not pinned; endless data.
pub const SNAPSHOT_MAX_BYTES: u64 = 2_000_000;
/// Bytes of targets metadata; endless data.
pub const TARGETS_MAX_BYTES: u64 = 5_000_000;
/// Bytes of a small target file (manifest, bundle, key list); a device's memory.
pub const SMALL_TARGET_MAX_BYTES: u64 = 256 << 10;
/// Roles visited in one search; a delegation graph without end.
pub const DELEGATIONS_MAX: usize = 64;
/// Bytes of an assignment's envelope; the state answer is 4 KiB.
pub const ASSIGNMENT_MAX_BYTES: usize = 4096;
/// A clock so far beyond the newest signed time (seconds) is wrong, not the repository: a year.
pub const CLOCK_AHEAD_S: i64 = 365 * 86_400;
/// Bytes of metadata that a device keeps beyond root, timestamp, snapshot and targets; an online role that delegates
/// without end.
pub const STORED_FILES_MAX_BYTES: usize = 16 << 20;
/// Bytes of one copy of what a device trusts; a medium that reads less of it takes a whole copy for a torn one. Every
/// file at its cap, in base64, and room for the rest.
pub const COPY_MAX_BYTES: usize = 40 << 20;
