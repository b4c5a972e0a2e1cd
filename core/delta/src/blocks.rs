//! Block lists: so that a block is verified before it is used and a download resumes from the last
//! verified one. Used alike for artefacts and for patch files.
//!
//! Shape. A file is cut into blocks of [`BLOCK_LEN`] bytes, the last one as long as what is left. The
//! *list* (the sidecar) is the 32-byte SHA-256 of each block, in order, and nothing else; an empty file
//! has an empty list. The *root* is SHA-256 over the list. The root does not fix the file's length:
//! length and root are signed together, and [`BlockList::parse`] wants both.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Bytes in a block: 256 KiB.
pub const BLOCK_LEN: u64 = 256 << 10;
const HASH_LEN: usize = 32;

/// Why a block list or a block was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The list is not as long as the file's length asks.
    #[error("block list has {found} bytes, a file of {file_len} bytes has {expected}")]
    ListLen {
        /// Bytes found.
        found: u64,
        /// Bytes due.
        expected: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// The list does not hash to the signed root.
    #[error("block list hashes to {found}, the signed root is {expected}")]
    Root {
        /// Root computed.
        found: Digest,
        /// Root signed.
        expected: Digest,
    },
    /// A block number past the end.
    #[error("block {index} asked for, the file has {count}")]
    NoSuchBlock {
        /// Block asked for.
        index: u64,
        /// Blocks in the file.
        count: u64,
    },
    /// A block of the wrong length.
    #[error("block {index} has {found} bytes, {expected} are due")]
    BlockLen {
        /// Block number.
        index: u64,
        /// Bytes found.
        found: u64,
        /// Bytes due.
        expected: u64,
    },
    /// A block that does not hash to its entry.
    #[error("block {index} hashes to {found}, the list says {expected}")]
    BlockDigest {
        /// Block number.
        index: u64,
        /// Digest of the bytes.
        found: Digest,
        /// Digest in the list.
        expected: Digest,
    },
    /// The reader failed.
    #[error("could not read the file")]
    Io(#[from] io::Error),
}

/// The verified or computed hashes of a file's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    file_len: u64,
    /// `count * 32` bytes, kept flat: 60 MB of image are 7 KiB of list.
    hashes: Vec<u8>,
}

impl BlockList {
    /// Hashes a whole file; holds one block in memory.
    pub fn from_reader(reader: &mut dyn Read) -> io::Result<Self> {
        let mut list = Self { file_len: 0, hashes: Vec::new() };
        let mut block = Vec::new();
        loop {
            block.clear();
            let read = (&mut *reader).take(BLOCK_LEN).read_to_end(&mut block)?;
            if read == 0 {
                return Ok(list);
            }
            list.file_len += read as u64;
            list.hashes.extend_from_slice(&Sha256::digest(&block));
        }
    }

    /// Reads a sidecar list for a file of `file_len` bytes and holds it against the signed root.
    pub fn parse(list: &[u8], file_len: u64, root: Digest) -> Result<Self, BlockError> {
        let expected = file_len.div_ceil(BLOCK_LEN).saturating_mul(HASH_LEN as u64);
        if list.len() as u64 != expected {
            return Err(BlockError::ListLen { found: list.len() as u64, expected, file_len });
        }
        let parsed = Self { file_len, hashes: list.to_vec() };
        if parsed.root() != root {
            return Err(BlockError::Root { found: parsed.root(), expected: root });
        }
        Ok(parsed)
    }

    /// SHA-256 over the list.
    pub fn root(&self) -> Digest {
        Digest::of(&self.hashes)
    }

    /// The list as it is published: 32 bytes per block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.hashes
    }

    /// Number of blocks.
    pub fn count(&self) -> u64 {
        (self.hashes.len() / HASH_LEN) as u64
    }

    /// Length of the file, bytes.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Length of block `index`, bytes; zero past the end.
    pub fn block_len(&self, index: u64) -> u64 {
        let start = index.saturating_mul(BLOCK_LEN).min(self.file_len);
        (self.file_len - start).min(BLOCK_LEN)
    }

    /// Whether `bytes` are exactly block `index`.
    pub fn verify_block(&self, index: u64, bytes: &[u8]) -> Result<(), BlockError> {
        let expected = usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_mul(HASH_LEN))
            .and_then(|at| self.hashes.get(at..at + HASH_LEN))
            .and_then(|hash| <[u8; HASH_LEN]>::try_from(hash).ok())
            .ok_or(BlockError::NoSuchBlock { index, count: self.count() })?;
        let due = self.block_len(index);
        if bytes.len() as u64 != due {
            return Err(BlockError::BlockLen { index, found: bytes.len() as u64, expected: due });
        }
        let (found, expected) = (Digest::of(bytes), Digest(expected));
        if found != expected {
            return Err(BlockError::BlockDigest { index, found, expected });
        }
        Ok(())
    }

    /// Reads a partly downloaded file back and counts the good blocks at its beginning: the next
    /// download starts at byte `count * BLOCK_LEN`.
    pub fn verified_prefix(&self, reader: &mut dyn Read) -> io::Result<u64> {
        let mut block = Vec::new();
        for index in 0..self.count() {
            block.clear();
            (&mut *reader).take(self.block_len(index)).read_to_end(&mut block)?;
            if self.verify_block(index, &block).is_err() {
                return Ok(index);
            }
        }
        Ok(self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 1000) as u8 ^ (i as u8)).collect()
    }

    #[test]
    fn a_list_is_what_its_definition_says() {
        let block = BLOCK_LEN as usize;
        for len in [0, 1, block - 1, block, block + 1, 3 * block, 3 * block + 7] {
            let bytes = file(len);
            let list = BlockList::from_reader(&mut &bytes[..]).unwrap();
            let by_hand: Vec<u8> = bytes.chunks(block).flat_map(|chunk| Digest::of(chunk).0).collect();
            assert_eq!(list.as_bytes(), by_hand, "{len}");
            assert_eq!(list.root(), Digest::of(&by_hand));
            assert_eq!(BlockList::parse(&by_hand, len as u64, list.root()).unwrap(), list);
            for (index, chunk) in bytes.chunks(block).enumerate() {
                list.verify_block(index as u64, chunk).unwrap();
            }
            assert_eq!(list.verified_prefix(&mut &bytes[..]).unwrap(), list.count());
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let bytes = file(BLOCK_LEN as usize + 10);
        let list = BlockList::from_reader(&mut &bytes[..]).unwrap();
        let (sidecar, len, root) = (list.as_bytes().to_vec(), bytes.len() as u64, list.root());
        let short = BlockList::parse(&sidecar[1..], len, root);
        assert!(matches!(short, Err(BlockError::ListLen { found: 63, expected: 64, .. })));
        let long_file = BlockList::parse(&sidecar, len + BLOCK_LEN, root);
        assert!(matches!(long_file, Err(BlockError::ListLen { expected: 96, .. })));
        assert!(matches!(BlockList::parse(&sidecar, u64::MAX, root), Err(BlockError::ListLen { .. })));
        let mut flipped = sidecar.clone();
        flipped[40] ^= 1;
        assert!(matches!(BlockList::parse(&flipped, len, root), Err(BlockError::Root { .. })));

        assert!(matches!(list.verify_block(2, &[]), Err(BlockError::NoSuchBlock { index: 2, count: 2 })));
        assert!(matches!(list.verify_block(u64::MAX, &[]), Err(BlockError::NoSuchBlock { .. })));
        let last = &bytes[BLOCK_LEN as usize..];
        assert!(matches!(
            list.verify_block(1, &last[1..]),
            Err(BlockError::BlockLen { found: 9, expected: 10, .. })
        ));
        let mut torn = last.to_vec();
        torn[3] ^= 0x80;
        assert!(matches!(list.verify_block(1, &torn), Err(BlockError::BlockDigest { index: 1, .. })));
        assert!(list.verify_block(0, last).is_err());
    }

    #[test]
    fn a_torn_download_resumes_from_its_last_good_block() {
        let bytes = file(4 * BLOCK_LEN as usize + 5);
        let list = BlockList::from_reader(&mut &bytes[..]).unwrap();
        for cut in [0, 1, BLOCK_LEN as usize, 2 * BLOCK_LEN as usize + 9, bytes.len() - 1] {
            assert_eq!(list.verified_prefix(&mut &bytes[..cut]).unwrap(), cut as u64 / BLOCK_LEN);
        }
        let mut torn = bytes.clone();
        torn[BLOCK_LEN as usize * 3 + 1] ^= 1;
        assert_eq!(list.verified_prefix(&mut &torn[..]).unwrap(), 3);
    }
}
