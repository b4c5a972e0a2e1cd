//! What of the repository is read: metadata, target files, where a blob lies.

use super::{BlobRow, Repo, Stored, sql};
use crate::db::{Error, Tx};
use crate::refusal::Refusal;
use holdfast_proto::Digest;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Jumps above what devices trust are this far apart.
const JUMP_APART_S: i64 = 600;

impl Repo {
    /// A role's metadata: this version, or the newest.
    pub(crate) async fn metadata(&self, role: &str, version: Option<u64>) -> Result<Option<Stored>, Error> {
        sql::metadata_at(&mut self.db.read().await?, &self.tenant, role, version).await
    }

    /// The newest timestamp, as the state answer brings it.
    pub(crate) async fn timestamp(&self, tx: &mut Tx) -> Result<Option<Vec<u8>>, Error> {
        Ok(sql::metadata_at(tx, &self.tenant, "timestamp", None).await?.map(|stored| stored.bytes))
    }

    /// True if some device trusts newer metadata than is published: the database was restored from a backup.
    async fn is_behind(&self) -> Result<bool, Error> {
        let mut tx = self.db.read().await?;
        for role in ["timestamp", "snapshot"] {
            let published = sql::metadata_version(&mut tx, &self.tenant, role).await?;
            if published.is_some_and(|published| published > 0)
                && sql::seen(&mut tx, &self.tenant, role).await? > published.unwrap_or(0)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As [`Self::is_behind`], but not again in [`JUMP_APART_S`] after a jump: a restored database needs one, and a
    /// device that reports a version above ours after each would have everything signed without end.
    pub(crate) async fn must_jump(&self, now: i64) -> Result<bool, Error> {
        let last = self.jumped_at.load(Ordering::Relaxed);
        Ok(now.saturating_sub(last) >= JUMP_APART_S && self.is_behind().await?)
    }

    /// The versions jumped now.
    pub(crate) fn jumped(&self, now: i64) {
        self.jumped_at.store(now, Ordering::Relaxed);
    }

    /// Its version alone, for the ETag of a poll.
    pub(crate) async fn timestamp_version(&self, tx: &mut Tx) -> Result<Option<u64>, Error> {
        sql::metadata_version(tx, &self.tenant, "timestamp").await
    }

    /// The newest root, as a device carries it from the line.
    pub(crate) async fn newest_root(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.metadata("root", None).await?.map(|stored| stored.bytes))
    }

    /// A small target file under its path and digest.
    pub(crate) async fn target_file(&self, path: &str, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        sql::target_at(&mut self.db.read().await?, &self.tenant, path, digest).await
    }

    /// As [`Self::target_file`], within a transaction.
    pub(crate) async fn target(
        &self,
        tx: &mut Tx,
        path: &str,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, Error> {
        sql::target_at(tx, &self.tenant, path, digest).await
    }

    /// A blob that is stored.
    pub(crate) async fn blob(&self, tx: &mut Tx, digest: Digest) -> Result<Option<BlobRow>, Error> {
        sql::blob_row(tx, &self.tenant, digest).await
    }

    /// Notes a blob that the store holds.
    pub(crate) async fn blob_note(&self, tx: &mut Tx, blob: &BlobRow, now: i64) -> Result<(), Error> {
        sql::blob_put(tx, &self.tenant, blob, now).await
    }

    /// Where a blob or a block list lies, if this tenant has it.
    pub(crate) async fn blob_path(&self, digest: Digest) -> Result<PathBuf, Refusal> {
        let mut tx = self.db.read().await?;
        let known = sql::blob_row(&mut tx, &self.tenant, digest).await?.is_some()
            || sql::is_block_list(&mut tx, &self.tenant, digest).await?;
        let path = self.blobs.path(digest).filter(|_| known);
        path.ok_or_else(|| Refusal::not_found(format_args!("blob {digest}")))
    }
}
