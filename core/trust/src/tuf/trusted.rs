//! Metadata that is trusted now: who names what, where its bytes lie, and whether bytes are what was named.

use super::TufError;
use super::limits::SMALL_TARGET_MAX_BYTES;
use super::search::{Found, Search};
use super::step::{Source, Store, drive};
use super::walk::malformed;
use jiff::Timestamp as Instant;
use sha2::Digest as _;
use sigstore_tuf::{Metadata, Root, TargetFile, Timestamp, TrustedMetadataSet};
use sigstore_types::SignatureBytes;

/// The end of a walk. Expiries were held against one time, [`Trusted::now`]: walk again rather than keep it.
#[derive(Debug)]
pub struct Trusted {
    pub(super) set: TrustedMetadataSet,
    pub(super) now: Instant,
    timestamp_signers: Vec<String>,
}

impl Trusted {
    pub(super) fn new(set: TrustedMetadataSet, now: Instant, timestamp: Option<&[u8]>) -> Self {
        let timestamp_signers = timestamp.map(|bytes| signers(set.root(), bytes)).unwrap_or_default();
        Self { set, now, timestamp_signers }
    }

    pub fn root(&self) -> &Root {
        self.set.root()
    }

    /// The newest timestamp.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.set.timestamp()
    }

    /// Ids of the root's timestamp keys that signed it.
    pub fn timestamp_signers(&self) -> &[String] {
        &self.timestamp_signers
    }

    /// Version of a role that the snapshot pins.
    pub fn pinned_version(&self, role: &str) -> Option<u64> {
        let snapshot = self.set.snapshot()?;
        snapshot.meta.get(&format!("{role}.json")).map(|pin| pin.version)
    }

    /// Every role that the snapshot pins, with its version.
    pub fn pinned(&self) -> Vec<(String, u64)> {
        let Some(snapshot) = self.set.snapshot() else { return Vec::new() };
        let role = |name: &String| name.strip_suffix(".json").unwrap_or(name).to_owned();
        snapshot.meta.iter().map(|(name, pin)| (role(name), pin.version)).collect()
    }

    /// Snapshot's version.
    pub fn snapshot_version(&self) -> u64 {
        self.set.snapshot().map_or(0, |snapshot| snapshot.version)
    }

    /// The time that expiries were held against, Unix seconds.
    pub fn now(&self) -> i64 {
        self.now.as_second()
    }

    /// Finds who names `path`; see [`Search`].
    ///
    /// # Errors
    /// When a role on the way is refused. None: nobody who may does.
    pub fn find(
        &mut self,
        path: &str,
        store: &mut dyn Store,
        source: &mut dyn Source,
    ) -> Result<Found, TufError> {
        let mut search = Search::start(self, path)?;
        drive(&mut search, store, source)?;
        search.finish()
    }

    /// Fetches a small target file that [`Trusted::find`] described.
    ///
    /// # Errors
    /// When it is absent, too long, or other bytes.
    pub fn fetch(
        &self,
        path: &str,
        target: &TargetFile,
        source: &mut dyn Source,
    ) -> Result<Vec<u8>, TufError> {
        if target.length > SMALL_TARGET_MAX_BYTES {
            return Err(TufError::TooLong {
                name: path.into(),
                actual: target.length,
                limit: SMALL_TARGET_MAX_BYTES,
            });
        }
        let name = self.target_name(path, target)?;
        let bytes = source
            .target(&name, target.length)
            .map_err(|source| TufError::Source { name: name.clone(), source })?;
        let bytes = bytes.ok_or(TufError::Absent { name })?;
        check_target(path, target, &bytes)?;
        Ok(bytes)
    }

    /// Where a target's bytes lie: under consistent snapshots the hash stands before the file name (TUF 5.7.3).
    ///
    /// # Errors
    /// When the target has no hash that we know.
    pub fn target_name(&self, path: &str, target: &TargetFile) -> Result<String, TufError> {
        let hash = ["sha256", "sha512"].iter().find_map(|alg| target.hashes.get(*alg));
        let hash = hash.ok_or_else(|| malformed(path, NO_HASH))?;
        if !self.set.root().consistent_snapshot {
            return Ok(path.to_owned());
        }
        Ok(match path.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{hash}.{file}"),
            None => format!("{hash}.{path}"),
        })
    }
}

/// Holds a target's bytes against length and every hash that is known; at least one must be.
///
/// # Errors
/// When the length or a hash differs.
pub fn check_target(path: &str, target: &TargetFile, bytes: &[u8]) -> Result<(), TufError> {
    let differs = |what, expected: String, actual: String| TufError::Differs {
        path: path.into(),
        what,
        expected,
        actual,
    };
    if bytes.len() as u64 != target.length {
        return Err(differs("its length", target.length.to_string(), bytes.len().to_string()));
    }
    let mut known = false;
    for (alg, expected) in &target.hashes {
        let actual = match alg.as_str() {
            "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
            "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
            _ => continue,
        };
        known = true;
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(differs("a hash", expected.clone(), actual));
        }
    }
    if known { Ok(()) } else { Err(malformed(path, NO_HASH)) }
}

/// A role's name as a file name: everything but RFC 3986's unreserved characters is escaped.
pub fn escaped(role: &str) -> String {
    use std::fmt::Write as _;
    role.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Which of the root's timestamp keys signed these bytes.
fn signers(root: &Root, bytes: &[u8]) -> Vec<String> {
    let Ok(timestamp) = Metadata::<Timestamp>::from_slice(bytes) else { return Vec::new() };
    let ids = root.role("timestamp").map(|role| role.keyids.as_slice()).unwrap_or_default();
    let signed_by = |id: &&String| {
        let signature = timestamp.signatures().iter().find(|signature| signature.keyid == **id);
        let raw = signature.and_then(|signature| hex::decode(&signature.sig).ok());
        let key = root.keys.get(*id);
        key.zip(raw).is_some_and(|(key, raw)| {
            key.verify(timestamp.signed_canonical(), &SignatureBytes::new(raw)).is_ok()
        })
    };
    ids.iter().filter(signed_by).cloned().collect()
}

const NO_HASH: &str = "it has no hash that is known here";
