//! Structures of the TPM, pure. Every parser takes exactly its structure and refuses what is left over.

pub mod attest;
#[cfg(feature = "make-credential")]
pub mod credential;
mod der;
pub mod hash;
pub mod pcr;
pub mod public;
pub mod signature;
pub mod template;

pub use attest::{Attest, Attested, ClockInfo};
pub use pcr::PcrSelection;
pub use public::{Curve, Key, Public, Scheme};
pub use signature::Signature;

/// No structure that we take is larger (TPM2B_PUBLIC with RSA-4096 is under 700 bytes).
pub const STRUCTURE_MAX_BYTES: usize = 4096;

/// Why bytes are not the structure that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{structure}: {actual} bytes are above the cap of {STRUCTURE_MAX_BYTES}")]
    TooLong { structure: &'static str, actual: usize },
    #[error("{structure}: malformed ({why})")]
    Malformed { structure: &'static str, why: String },
    #[error("{structure}: {left} bytes left over")]
    Trailing { structure: &'static str, left: usize },
    #[error("{structure}: {what} is not one that we take")]
    Unsupported { structure: &'static str, what: String },
    #[error("the magic is {0:#010x}, not TPM_GENERATED_VALUE")]
    WrongMagic(u32),
}

/// Reads one structure and demands that nothing is left.
fn exact<T: tpm2_protocol::TpmUnmarshal>(structure: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > STRUCTURE_MAX_BYTES {
        return Err(WireError::TooLong { structure, actual: bytes.len() });
    }
    let (value, rest) =
        T::unmarshal(bytes).map_err(|why| WireError::Malformed { structure, why: format!("{why:?}") })?;
    if rest.is_empty() { Ok(value) } else { Err(WireError::Trailing { structure, left: rest.len() }) }
}

/// The content of a TPM2B: two bytes of length, then exactly so many.
pub fn unwrap_2b<'a>(structure: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
    let Some((size, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(WireError::Malformed { structure, why: "no length".into() });
    };
    let size = usize::from(u16::from_be_bytes(*size));
    if rest.len() < size {
        return Err(WireError::Malformed { structure, why: format!("{size} bytes announced, {} there", rest.len()) });
    }
    if rest.len() > size {
        return Err(WireError::Trailing { structure, left: rest.len() - size });
    }
    Ok(rest)
}

/// A TPM2B around `bytes`.
pub fn wrap_2b(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
