//! Every cap of this crate: default, unit, and the attack or accident that it answers.

/// Bytes of one label selector. Answers: a proposal that makes every decision slow.
pub const SELECTOR_MAX_BYTES: usize = 1024;
/// Requirements in one selector, and values in one `in (..)`. Answers: the same.
pub const SELECTOR_MAX_TERMS: usize = 32;
/// Bytes of a label value or of a label key's name (Kubernetes' own cap).
pub const LABEL_MAX_BYTES: usize = 63;
/// Bytes of a label key with its prefix (Kubernetes: 253 + 1 + 63).
pub const LABEL_KEY_MAX_BYTES: usize = 317;
/// Labels on one device. Answers: a device record that makes every decision slow.
pub const LABELS_MAX: usize = 64;
/// Bytes of a secret path or of a pattern.
pub const PATH_MAX_BYTES: usize = 512;
/// Segments of a secret path or of a pattern. Answers: deep paths that make the index deep.
pub const PATH_MAX_SEGMENTS: usize = 16;
/// Grants of one tenant. Answers: an author who fills the memory of every replica.
pub const GRANTS_MAX: usize = 100_000;
/// Versions listed by one grant.
pub const GRANT_VERSIONS_MAX: usize = 64;
/// Bindings of one operator or token.
pub const BINDINGS_MAX: usize = 256;
/// Near misses that an explanation lists. Answers: an explanation of 10,000 rows.
pub const EXPLAIN_NEAR_MISSES_MAX: usize = 20;
/// Phases of one rollout.
pub const PHASES_MAX: usize = 32;
