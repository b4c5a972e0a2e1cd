//! Why bytes are no TPM structure.

/// Why a structure was refused; `what` names the field as TPM 2.0 Part 2 does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends before the field does.
    #[error("{what}: needs {needed} bytes, has {available}")]
    Short { what: &'static str, needed: usize, available: usize },
    /// Bytes follow the structure.
    #[error("{what}: {extra} trailing bytes")]
    Trailing { what: &'static str, extra: usize },
    /// The field or the whole input is larger than the format allows.
    #[error("{what}: {actual} is above the limit of {limit}")]
    TooLong { what: &'static str, limit: usize, actual: usize },
    /// A selector (type, algorithm, curve) that this implementation does not read.
    #[error("{what}: {value:#x} is not supported")]
    Unsupported { what: &'static str, value: u64 },
    /// The value contradicts the format or another field.
    #[error("{what}: {why}")]
    Invalid { what: &'static str, why: &'static str },
}
