//! TPM_ALG_IDs of hashes, and hashing by them.

use sha2::Digest as _;

pub const SHA1: u16 = 0x0004;
pub const SHA256: u16 = 0x000B;
pub const SHA384: u16 = 0x000C;
pub const SHA512: u16 = 0x000D;

/// Hashes `parts` one after another; none for a hash that we do not compute (SHA-1 among them).
pub fn digest(alg: u16, parts: &[&[u8]]) -> Option<Vec<u8>> {
    fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
    }
    match alg {
        SHA256 => Some(run::<sha2::Sha256>(parts)),
        SHA384 => Some(run::<sha2::Sha384>(parts)),
        SHA512 => Some(run::<sha2::Sha512>(parts)),
        _ => None,
    }
}

/// SHA-256 of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(sha2::Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// Length of a digest in bytes, SHA-1 included.
pub fn length(alg: u16) -> Option<usize> {
    match alg {
        SHA1 => Some(20),
        SHA256 => Some(32),
        SHA384 => Some(48),
        SHA512 => Some(64),
        _ => None,
    }
}

/// The hash's name for people.
pub fn name(alg: u16) -> &'static str {
    match alg {
        SHA1 => "sha1",
        SHA256 => "sha256",
        SHA384 => "sha384",
        SHA512 => "sha512",
        0x0012 => "sm3_256",
        0x0027 => "sha3_256",
        _ => "unknown",
    }
}
