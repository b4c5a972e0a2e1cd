//! The client workflow of the TUF specification (5.3 to 5.7), over bytes that a [`Source`] gives.

use super::crypto;
use super::keys;
use super::limits::{DELEGATIONS_MAX, ROOT_MAX_BYTES, SMALL_TARGET_MAX_BYTES, SNAPSHOT_MAX_BYTES, TARGETS_MAX_BYTES, TIMESTAMP_MAX_BYTES};
use super::TufError;
use jiff::Timestamp as Instant;
use sha2::Digest as _;
use sigstore_tuf::{Error as CoreError, Metadata, Root, TargetFile, Targets, Timestamp, TrustedMetadataSet};
use std::collections::BTreeSet;

/// Why bytes did not come, or were not kept: the caller's own error.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where metadata and small target files come from: a server, a medium, a test.
pub trait Source {
    /// `name` is relative to the metadata's base (`5.root.json`); none: it is not there (404, 403).
    ///
    /// # Errors
    /// When the source cannot be reached, or gives more than `max_bytes`.
    fn metadata(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError>;

    /// `path` is relative to the targets' base, its file name carrying the hash under consistent snapshots.
    ///
    /// # Errors
    /// As [`Source::metadata`].
    fn target(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Where trusted metadata rests: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, `<role>.json`.
pub trait Store {
    fn load(&self, name: &str) -> Option<Vec<u8>>;

    /// Durable when it returns.
    ///
    /// # Errors
    /// When it is not; the walk ends then.
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SourceError>;
}

/// The time that expiries are held against, once the newest timestamp's signature was verified.
pub trait Clock {
    /// Before there is a timestamp (TUF 5.3.10): Unix seconds.
    ///
    /// # Errors
    /// When no time can be believed.
    fn before(&self, root: &Root) -> Result<i64, TufError>;

    /// With the newest timestamp.
    ///
    /// # Errors
    /// When the clock is ahead of every signed time.
    fn with(&self, root: &Root, timestamp: &Timestamp) -> Result<i64, TufError>;
}

/// A clock that simply is right: the plain TUF workflow.
#[derive(Debug, Clone, Copy)]
pub struct At(pub i64);

impl Clock for At {
    fn before(&self, _: &Root) -> Result<i64, TufError> {
        Ok(self.0)
    }

    fn with(&self, _: &Root, _: &Timestamp) -> Result<i64, TufError> {
        Ok(self.0)
    }
}

/// Metadata that is trusted now.
#[derive(Debug)]
pub struct Trusted {
    set: TrustedMetadataSet,
    now: Instant,
}

/// Walks from the stored root to the newest metadata; every file is stored as soon as it is trusted.
///
/// # Errors
/// When anything is refused; what was trusted before stays trusted.
pub fn refresh(store: &mut dyn Store, source: &mut dyn Source, clock: &dyn Clock) -> Result<Trusted, TufError> {
    if !crypto::is_installed() {
        return Err(TufError::NoProvider);
    }
    let root = store.load("root.json").ok_or_else(|| TufError::Absent { name: "root.json".into() })?;
    let mut set = TrustedMetadataSet::from_root(&root).map_err(refused("root.json"))?;
    keys::check_root(set.root())?;
    walk_roots(&mut set, store, source)?;
    // TUF 5.3.10: the final root must not be expired.
    set.check_root_expired(instant(clock.before(set.root())?)?).map_err(refused("root.json"))?;
    seed_floors(&mut set, store);
    let now = newest_timestamp(&mut set, store, source, clock)?;
    newest_snapshot(&mut set, store, source, now)?;
    newest_targets(&mut set, store, source, now)?;
    Ok(Trusted { set, now })
}

/// TUF 5.3: one root after another, each signed by the one before and by itself, until there is no next.
fn walk_roots(set: &mut TrustedMetadataSet, store: &mut dyn Store, source: &mut dyn Source) -> Result<(), TufError> {
    loop {
        let name = format!("{}.root.json", set.root().version + 1);
        let Some(bytes) = fetch(source, &name, ROOT_MAX_BYTES)? else { return Ok(()) };
        set.update_root(&bytes).map_err(refused(&name))?;
        keys::check_root(set.root())?;
        save(store, "root.json", &bytes)?;
    }
}

/// What was trusted before is the floor of what comes, however long ago it expired. What the new root's keys did
/// not sign is no floor: that is the recovery from a fast-forward attack (TUF 5.3.11).
fn seed_floors(set: &mut TrustedMetadataSet, store: &dyn Store) {
    if let Some(bytes) = store.load("timestamp.json") {
        let _ = set.update_timestamp(&bytes, Instant::MIN);
    }
    if let Some(bytes) = store.load("snapshot.json") {
        let _ = set.update_snapshot(&bytes, Instant::MIN);
    }
}

/// TUF 5.4.
fn newest_timestamp(
    set: &mut TrustedMetadataSet,
    store: &mut dyn Store,
    source: &mut dyn Source,
    clock: &dyn Clock,
) -> Result<Instant, TufError> {
    let name = "timestamp.json";
    let bytes = fetch(source, name, TIMESTAMP_MAX_BYTES)?.ok_or_else(|| TufError::Absent { name: name.into() })?;
    // Signature and version first, expiry once the time is known: its own signed time is part of that.
    let mut probe = set.clone();
    let is_new = match probe.update_timestamp(&bytes, Instant::MIN) {
        Ok(()) => true,
        Err(CoreError::EqualVersion { .. }) => false,
        Err(error) => return Err(refused(name)(error)),
    };
    let timestamp = probe.timestamp().ok_or_else(|| TufError::Absent { name: name.into() })?;
    let now = instant(clock.with(set.root(), timestamp)?)?;
    set.check_root_expired(now).map_err(refused("root.json"))?;
    if is_new {
        set.update_timestamp(&bytes, now).map_err(refused(name))?;
        save(store, name, &bytes)?;
    }
    set.check_timestamp_expired(now).map_err(refused(name))?;
    Ok(now)
}

/// TUF 5.5.
fn newest_snapshot(set: &mut TrustedMetadataSet, store: &mut dyn Store, source: &mut dyn Source, now: Instant) -> Result<(), TufError> {
    let pin = set.timestamp().and_then(Timestamp::snapshot_meta);
    let (version, length) =
        pin.map(|pin| (pin.version, pin.length)).ok_or_else(|| malformed("timestamp.json", "it pins no snapshot"))?;
    if set.snapshot().is_some_and(|snapshot| snapshot.version == version) && set.check_snapshot_expired(now).is_ok() {
        return Ok(());
    }
    let name = if set.root().consistent_snapshot { format!("{version}.snapshot.json") } else { "snapshot.json".into() };
    let limit = length.unwrap_or(SNAPSHOT_MAX_BYTES).min(SNAPSHOT_MAX_BYTES);
    let bytes = fetch(source, &name, limit)?.ok_or_else(|| TufError::Absent { name: name.clone() })?;
    set.update_snapshot(&bytes, now).map_err(refused(&name))?;
    save(store, "snapshot.json", &bytes)
}

/// TUF 5.6.
fn newest_targets(set: &mut TrustedMetadataSet, store: &mut dyn Store, source: &mut dyn Source, now: Instant) -> Result<(), TufError> {
    let cached = store.load("targets.json");
    let cached = cached.is_some_and(|bytes| set.update_targets(&bytes, now).is_ok());
    if !cached {
        let bytes = fetch_role(set, source, "targets")?;
        set.update_targets(&bytes, now).map_err(refused("targets.json"))?;
        save(store, "targets.json", &bytes)?;
    }
    check_delegations_of(set, "targets")
}

impl Trusted {
    pub fn root(&self) -> &Root {
        self.set.root()
    }

    /// The newest timestamp.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.set.timestamp()
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

    /// Finds who names `path`: pre-order, depth-first, terminating roles end the search (TUF 5.6.7).
    ///
    /// # Errors
    /// When a role on the way is refused. None: nobody who may does.
    pub fn find(&mut self, path: &str, store: &mut dyn Store, source: &mut dyn Source) -> Result<Option<(String, TargetFile)>, TufError> {
        let mut to_visit = vec![("targets".to_owned(), String::new())];
        let mut visited = BTreeSet::new();
        while let Some((role, delegator)) = to_visit.pop() {
            if visited.contains(&role) {
                continue;
            }
            if visited.len() >= DELEGATIONS_MAX {
                return Err(malformed(path, "its search visits too many roles"));
            }
            if role != "targets" && !self.load_role(&role, &delegator, store, source)? {
                continue;
            }
            visited.insert(role.clone());
            let Some(targets) = self.set.targets_role(&role) else { continue };
            if let Some(found) = targets.target(path) {
                return Ok(Some((role, found.clone())));
            }
            let (children, terminating) = children(targets, path)?;
            if terminating {
                to_visit.clear();
            }
            to_visit.extend(children.into_iter().rev().map(|child| (child, role.clone())));
        }
        Ok(None)
    }

    /// Fetches a small target and holds it against its description.
    ///
    /// # Errors
    /// When it is absent, too long, or other bytes.
    pub fn fetch(&self, path: &str, target: &TargetFile, source: &mut dyn Source) -> Result<Vec<u8>, TufError> {
        if target.length > SMALL_TARGET_MAX_BYTES {
            return Err(TufError::TooLong { name: path.into(), actual: target.length, limit: SMALL_TARGET_MAX_BYTES });
        }
        let name = self.target_name(path, target)?;
        let bytes = source.target(&name, target.length).map_err(|source| TufError::Source { name: name.clone(), source })?;
        let bytes = bytes.ok_or(TufError::Absent { name })?;
        check_target(path, target, &bytes)?;
        Ok(bytes)
    }

    /// Where a target's bytes lie: under consistent snapshots the hash stands before the file name (TUF 6.1).
    ///
    /// # Errors
    /// When the target has no hash that we know.
    pub fn target_name(&self, path: &str, target: &TargetFile) -> Result<String, TufError> {
        if !self.set.root().consistent_snapshot {
            return Ok(path.to_owned());
        }
        let hash = ["sha256", "sha512"].iter().find_map(|alg| target.hashes.get(*alg));
        let hash = hash.ok_or_else(|| malformed(path, "it has no hash that is known here"))?;
        Ok(match path.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{hash}.{file}"),
            None => format!("{hash}.{path}"),
        })
    }

    /// Loads a delegated role from the store or the source; false when the snapshot does not pin it.
    fn load_role(&mut self, role: &str, delegator: &str, store: &mut dyn Store, source: &mut dyn Source) -> Result<bool, TufError> {
        if self.set.targets_role(role).is_some() {
            self.set.verify_delegated_targets(role, delegator, self.now).map_err(refused(role))?;
            return Ok(true);
        }
        if self.pinned_version(role).is_none() {
            return Ok(false);
        }
        let file = format!("{}.json", escaped(role));
        let cached = store.load(&file);
        let cached = cached
            .is_some_and(|bytes| self.set.update_delegated_targets(&bytes, role, delegator, self.now).is_ok());
        if !cached {
            let bytes = fetch_role(&self.set, source, role)?;
            self.set.update_delegated_targets(&bytes, role, delegator, self.now).map_err(refused(&file))?;
            save(store, &file, &bytes)?;
        }
        check_delegations_of(&self.set, role)?;
        Ok(true)
    }
}

/// Holds a target's bytes against length and every hash that is known; at least one must be.
///
/// # Errors
/// When the length or a hash differs.
pub fn check_target(path: &str, target: &TargetFile, bytes: &[u8]) -> Result<(), TufError> {
    let differs = |what, expected: String, actual: String| TufError::Differs { path: path.into(), what, expected, actual };
    if bytes.len() as u64 != target.length {
        return Err(differs("its length", target.length.to_string(), bytes.len().to_string()));
    }
    let mut known = 0;
    for (alg, expected) in &target.hashes {
        let actual = match alg.as_str() {
            "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
            "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
            _ => continue,
        };
        known += 1;
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(differs("a hash", expected.clone(), actual));
        }
    }
    if known == 0 { Err(malformed(path, "it has no hash that is known here")) } else { Ok(()) }
}

/// The delegations that match `path`, in order, up to and with the first terminating one.
fn children(targets: &Targets, path: &str) -> Result<(Vec<String>, bool), TufError> {
    let mut names = Vec::new();
    for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        if matches!(child.name.as_str(), "root" | "timestamp" | "snapshot" | "targets") {
            continue;
        }
        if child.matches_path(path).map_err(refused(&child.name))? {
            names.push(child.name.clone());
            if child.terminating {
                return Ok((names, true));
            }
        }
    }
    Ok((names, false))
}

fn check_delegations_of(set: &TrustedMetadataSet, role: &str) -> Result<(), TufError> {
    match set.targets_role(role).and_then(|targets| targets.delegations.as_ref()) {
        Some(delegations) => keys::check_delegations(delegations),
        None => Ok(()),
    }
}

fn fetch_role(set: &TrustedMetadataSet, source: &mut dyn Source, role: &str) -> Result<Vec<u8>, TufError> {
    let pin = set.snapshot().and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")));
    let pin = pin.ok_or_else(|| malformed("snapshot.json", &format!("it does not pin {role}.json")))?;
    let file = escaped(role);
    let name = if set.root().consistent_snapshot { format!("{}.{file}.json", pin.version) } else { format!("{file}.json") };
    let limit = pin.length.unwrap_or(TARGETS_MAX_BYTES).min(TARGETS_MAX_BYTES);
    fetch(source, &name, limit)?.ok_or(TufError::Absent { name })
}

fn fetch(source: &mut dyn Source, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
    let bytes = source.metadata(name, limit).map_err(|source| TufError::Source { name: name.into(), source })?;
    match bytes {
        Some(bytes) if bytes.len() as u64 > limit => {
            Err(TufError::TooLong { name: name.into(), actual: bytes.len() as u64, limit })
        }
        other => Ok(other),
    }
}

fn save(store: &mut dyn Store, name: &str, bytes: &[u8]) -> Result<(), TufError> {
    store.save(name, bytes).map_err(|source| TufError::Store { name: name.into(), source })
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

pub(super) fn instant(unix_s: i64) -> Result<Instant, TufError> {
    Instant::from_second(unix_s).map_err(|_| malformed("the clock", "it is out of range"))
}

pub(super) fn malformed(name: &str, why: &str) -> TufError {
    TufError::Malformed { name: name.into(), why: why.into() }
}

pub(super) fn refused(name: &str) -> impl FnOnce(CoreError) -> TufError {
    let name = name.to_owned();
    |source| TufError::Metadata { name, source }
}

/// The version of a metadata file, without believing it.
pub fn version_of(bytes: &[u8]) -> Option<u64> {
    Metadata::<Root>::from_slice(bytes).map(|root| root.signed().version).ok()
}
