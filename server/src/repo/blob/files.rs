//! Blobs as files: `<root>/<first two hex digits>/<digest>`; written beside, synced, renamed.

use super::{BlobError, BlobStore, Incoming, StoredBlob};
use holdfast_delta::blocks::BlockList;
use holdfast_proto::Digest;
use sha2::Digest as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A folder of blobs.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Opens the folder; what earlier writes left unfinished is removed.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(root.join("incoming"))?;
        for entry in std::fs::read_dir(root.join("incoming"))? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(Self { root: root.to_owned() })
    }

    fn place(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join(&hex[..2]).join(hex)
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("incoming").join(hex::encode(crate::chance::bytes::<12>()))
    }

    fn settle(&self, file: &File, temporary: &Path, digest: Digest) -> Result<(), BlobError> {
        file.sync_all().map_err(io)?;
        let place = self.place(digest);
        // Unwrap safety: place() joins two segments below the root.
        let folder = place.parent().unwrap();
        std::fs::create_dir_all(folder).map_err(io)?;
        std::fs::rename(temporary, &place).map_err(io)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

impl BlobStore for Files {
    fn begin(&self, announced: Digest, cap: u64) -> Result<Box<dyn Incoming>, BlobError> {
        let temporary = self.temporary();
        let file = File::create_new(&temporary).map_err(io)?;
        Ok(Box::new(Writing {
            store: self.clone(),
            temporary,
            file,
            announced,
            cap,
            length: 0,
            hash: sha2::Sha256::new(),
        }))
    }

    fn path(&self, digest: Digest) -> Option<PathBuf> {
        Some(self.place(digest)).filter(|path| path.is_file())
    }
}

struct Writing {
    store: Files,
    temporary: PathBuf,
    file: File,
    announced: Digest,
    cap: u64,
    length: u64,
    hash: sha2::Sha256,
}

impl Incoming for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.length += bytes.len() as u64;
        if self.length > self.cap {
            return Err(BlobError::TooLong { cap: self.cap });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(io)
    }

    fn finish(mut self: Box<Self>) -> Result<StoredBlob, BlobError> {
        let actual = Digest(std::mem::take(&mut self.hash).finalize().into());
        if actual != self.announced {
            return Err(BlobError::Digest { announced: self.announced, actual });
        }
        let written = std::io::BufReader::with_capacity(1 << 20, File::open(&self.temporary).map_err(io)?);
        let list = BlockList::from_reader(&mut { written }).map_err(io)?;
        let list = list.as_bytes();
        let block_root = Digest(sha2::Sha256::digest(list).into());
        // The list first: a blob that is there always has its list.
        let beside = self.store.temporary();
        let mut file = File::create_new(&beside).map_err(io)?;
        file.write_all(list).map_err(io)?;
        self.store.settle(&file, &beside, block_root)?;
        self.store.settle(&self.file, &self.temporary, actual)?;
        Ok(StoredBlob { sha256: actual, length: self.length, block_root })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Renamed away when it was finished; else nothing of it may stay.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn io(error: std::io::Error) -> BlobError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => BlobError::NoSpace(error),
        _ => BlobError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    #[test]
    fn a_blob_is_there_whole_with_its_block_list_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = Files::open(folder.path()).unwrap();
        let bytes = vec![7; 300 * 1024];
        let mut incoming = store.begin(digest(&bytes), 1 << 20).unwrap();
        bytes.chunks(1000).for_each(|chunk| incoming.write(chunk).unwrap());
        assert!(store.path(digest(&bytes)).is_none());
        let stored = incoming.finish().unwrap();
        assert_eq!((stored.sha256, stored.length), (digest(&bytes), 300 * 1024));
        assert_eq!(std::fs::read(store.path(stored.sha256).unwrap()).unwrap(), bytes);
        let list = std::fs::read(store.path(stored.block_root).unwrap()).unwrap();
        assert_eq!(list.len(), 64);
    }

    #[test]
    fn another_digest_too_many_bytes_and_a_dropped_upload_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Files::open(folder.path()).unwrap();
        let mut incoming = store.begin(digest(b"announced"), 100).unwrap();
        incoming.write(b"other").unwrap();
        assert!(matches!(incoming.finish(), Err(BlobError::Digest { .. })));
        let mut incoming = store.begin(digest(b"x"), 3).unwrap();
        assert!(matches!(incoming.write(b"four"), Err(BlobError::TooLong { cap: 3 })));
        drop(incoming);
        drop(store.begin(digest(b"y"), 3).unwrap());
        assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }
}
