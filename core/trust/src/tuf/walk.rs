//! The client workflow of the TUF specification (5.3 to 5.6) as a machine: root by root, then timestamp, snapshot
//! and the top-level targets. Every file is asked to be stored as soon as it is trusted.

use super::keys;
use super::limits::{ROOT_MAX_BYTES, SNAPSHOT_MAX_BYTES, TARGETS_MAX_BYTES, TIMESTAMP_MAX_BYTES};
use super::step::{Absent, Machine, Step, bounded, drive, out_of_turn};
use super::{TufError, crypto};
use jiff::Timestamp as Instant;
use sigstore_tuf::{Error as CoreError, Metadata, Root, Snapshot, Timestamp, TrustedMetadataSet};
use std::collections::BTreeMap;

pub use super::step::{Source, SourceError, Store};
pub use super::trusted::{Trusted, check_target, escaped};

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

/// What rests from the walk before. Only the root is trusted as it is; the rest is verified again.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    pub root: Vec<u8>,
    pub timestamp: Option<Vec<u8>>,
    pub snapshot: Option<Vec<u8>>,
    pub targets: Option<Vec<u8>>,
}

/// Walks from the stored root to the newest metadata.
///
/// # Errors
/// When anything is refused; what was trusted before stays trusted.
pub fn refresh(
    store: &mut dyn Store,
    source: &mut dyn Source,
    clock: &dyn Clock,
) -> Result<Trusted, TufError> {
    let root = store.load("root.json").ok_or_else(|| TufError::Absent { name: "root.json".into() })?;
    let [timestamp, snapshot, targets] =
        ["timestamp.json", "snapshot.json", "targets.json"].map(|name| store.load(name));
    let mut walk = Refresh::start(Stored { root, timestamp, snapshot, targets }, clock)?;
    drive(&mut walk, store, source)?;
    walk.finish()
}

/// A walk under way.
pub struct Refresh<'c> {
    clock: &'c dyn Clock,
    stored: Stored,
    set: TrustedMetadataSet,
    /// Version of every role that the stored snapshot pins.
    floors: BTreeMap<String, u64>,
    stage: Stage,
    to_store: Option<(&'static str, Vec<u8>)>,
    now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Root,
    Timestamp,
    Snapshot,
    Targets,
    Done,
}

impl<'c> Refresh<'c> {
    /// # Errors
    /// When no provider is installed, or the stored root is none.
    pub fn start(stored: Stored, clock: &'c dyn Clock) -> Result<Self, TufError> {
        crypto::ready()?;
        // TUF 5.2: the root that the device was made with, or the last one that it walked to.
        let set = TrustedMetadataSet::from_root(&stored.root).map_err(refused("root.json"))?;
        keys::check_root(set.root())?;
        Ok(Self {
            clock,
            stored,
            set,
            floors: BTreeMap::new(),
            stage: Stage::Root,
            to_store: None,
            now: Instant::MIN,
        })
    }

    /// What is trusted at the end of the walk.
    ///
    /// # Errors
    /// When it has not ended.
    pub fn finish(self) -> Result<Trusted, TufError> {
        match self.step() {
            Step::Done => Ok(Trusted::new(self.set, self.now, self.stored.timestamp.as_deref())),
            other => Err(out_of_turn("the end", &other)),
        }
    }

    /// TUF 5.3.3 to 5.3.8: version N+1, signed by the threshold of root N and by its own. It is stored before the
    /// next one is asked for; the specification lets an intermediate root be expired.
    fn root(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
        let Some(bytes) = bytes else { return self.end_of_roots() };
        let mut next = self.set.clone();
        next.update_root(&bytes).map_err(refused(&self.wanted().0))?;
        keys::check_root(next.root())?;
        self.set = next;
        self.to_store = Some(("root.json", bytes));
        Ok(())
    }

    fn end_of_roots(&mut self) -> Result<(), TufError> {
        // TUF 5.3.10: the last root must not be expired (freeze).
        let now = instant(self.clock.before(self.set.root())?)?;
        self.set.check_root_expired(now).map_err(refused("root.json"))?;
        self.seed_floors();
        self.stage = Stage::Timestamp;
        Ok(())
    }

    /// What was trusted before is the floor of what comes, however long ago it expired. TUF 5.3.11: what the new
    /// root's keys did not sign is no floor; that is how a fast-forward attack is recovered from.
    fn seed_floors(&mut self) {
        if let Some(bytes) = self.stored.timestamp.take() {
            if self.set.update_timestamp(&bytes, Instant::MIN).is_err() {
                return;
            }
            self.stored.timestamp = Some(bytes);
        }
        let Some(bytes) = &self.stored.snapshot else { return };
        // A power cut may have left a timestamp that pins another snapshot than the stored one: then this is no
        // snapshot to use, but it still is a floor.
        self.floors = signed_pins(self.set.root(), bytes).unwrap_or_default();
        let _ = self.set.update_snapshot(bytes, Instant::MIN);
    }

    /// TUF 5.4. Signature and version come first and expiry last: the newest signed time is part of the time.
    fn timestamp(&mut self, bytes: Vec<u8>) -> Result<(), TufError> {
        let name = "timestamp.json";
        let mut next = self.set.clone();
        let is_new = match next.update_timestamp(&bytes, Instant::MIN) {
            Ok(()) => true,
            // TUF 5.4.3.1: the same version again is no news, whatever it says; ours stays.
            Err(CoreError::EqualVersion { .. }) => false,
            Err(error) => return Err(refused(name)(error)),
        };
        let timestamp = next.timestamp().ok_or_else(|| TufError::Absent { name: name.into() })?;
        // Without it the next timestamp could pin an older snapshot than the last one did.
        if timestamp.snapshot_meta().is_none() {
            return Err(malformed(name, "it pins no snapshot"));
        }
        let now = instant(self.clock.with(next.root(), timestamp)?)?;
        next.check_root_expired(now).map_err(refused("root.json"))?;
        // TUF 5.4.4: not expired; also when it is the one that we had.
        next.check_timestamp_expired(now).map_err(refused(name))?;
        self.set = next;
        self.now = now;
        self.stage = Stage::Snapshot;
        if is_new {
            self.stored.timestamp = Some(bytes.clone());
            self.to_store = Some((name, bytes));
        } else {
            self.skip_known();
        }
        Ok(())
    }

    /// TUF 5.5: what the timestamp pins, signed, not expired, and no role in it gone or older than before.
    fn snapshot(&mut self, bytes: Vec<u8>) -> Result<(), TufError> {
        let mut next = self.set.clone();
        next.update_snapshot(&bytes, self.now).map_err(refused("snapshot.json"))?;
        let pins = next.snapshot().map(|snapshot| &snapshot.meta);
        // TUF 5.5.5, also where the core could not seed the stored snapshot.
        for (role, &trusted) in &self.floors {
            let offered = pins.and_then(|pins| pins.get(role)).map_or(0, |pin| pin.version);
            if offered < trusted {
                return Err(TufError::Rollback { role: role.clone(), trusted, offered });
            }
        }
        self.set = next;
        self.stage = Stage::Targets;
        self.to_store = Some(("snapshot.json", bytes));
        Ok(())
    }

    /// TUF 5.6: what the snapshot pins, signed by the root's targets role, not expired.
    fn targets(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        let mut next = self.set.clone();
        let targets = next.update_targets(bytes, self.now).map_err(refused("targets.json"))?;
        keys::check_targets(targets)?;
        self.set = next;
        self.stage = Stage::Done;
        Ok(())
    }

    /// Passes over what we hold already: the pinned snapshot, the pinned targets.
    fn skip_known(&mut self) {
        // Stored bytes that are not what is pinned now are as good as none.
        if self.stage == Stage::Snapshot
            && let Some(bytes) = &self.stored.snapshot
        {
            let mut next = self.set.clone();
            if next.update_snapshot(bytes, self.now).is_ok() {
                self.set = next;
                self.stage = Stage::Targets;
            }
        }
        if self.stage == Stage::Targets
            && let Some(bytes) = self.stored.targets.take()
        {
            let _ = self.targets(&bytes);
        }
    }

    /// Name and limit of the file that this stage needs.
    fn wanted(&self) -> (String, u64) {
        let consistent = self.set.root().consistent_snapshot;
        match self.stage {
            Stage::Root => {
                (format!("{}.root.json", self.set.root().version.saturating_add(1)), ROOT_MAX_BYTES)
            }
            Stage::Timestamp => ("timestamp.json".into(), TIMESTAMP_MAX_BYTES),
            Stage::Snapshot => {
                let pin = self.set.timestamp().and_then(Timestamp::snapshot_meta);
                let (version, length) = pin.map_or((0, None), |pin| (pin.version, pin.length));
                (
                    pinned_name("snapshot", version, consistent),
                    SNAPSHOT_MAX_BYTES.min(length.unwrap_or(u64::MAX)),
                )
            }
            Stage::Targets | Stage::Done => {
                let pin = self.set.snapshot().and_then(|snapshot| snapshot.meta.get("targets.json"));
                let (version, length) = pin.map_or((0, None), |pin| (pin.version, pin.length));
                (
                    pinned_name("targets", version, consistent),
                    TARGETS_MAX_BYTES.min(length.unwrap_or(u64::MAX)),
                )
            }
        }
    }
}

impl Machine for Refresh<'_> {
    fn step(&self) -> Step {
        if let Some((name, bytes)) = &self.to_store {
            return Step::Store { name: (*name).to_owned(), bytes: bytes.clone() };
        }
        if self.stage == Stage::Done {
            return Step::Done;
        }
        let (name, max_bytes) = self.wanted();
        let absent = if self.stage == Stage::Root { Absent::IsAnAnswer } else { Absent::IsRefused };
        Step::Fetch { name, max_bytes, absent }
    }

    fn loaded(&mut self, _: Option<Vec<u8>>) -> Result<(), TufError> {
        Err(out_of_turn("stored bytes", &self.step()))
    }

    fn fetched(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
        if self.to_store.is_some() || self.stage == Stage::Done {
            return Err(out_of_turn("fetched bytes", &self.step()));
        }
        let (name, limit) = self.wanted();
        let bytes = bounded(&name, limit, bytes)?;
        if self.stage == Stage::Root {
            return self.root(bytes);
        }
        let bytes = bytes.ok_or(TufError::Absent { name })?;
        match self.stage {
            Stage::Timestamp => self.timestamp(bytes),
            Stage::Snapshot => self.snapshot(bytes),
            _ => {
                self.targets(&bytes)?;
                self.to_store = Some(("targets.json", bytes));
                Ok(())
            }
        }
    }

    fn stored(&mut self) -> Result<(), TufError> {
        match self.to_store.take() {
            Some(("targets.json", _)) => {}
            Some(_) => self.skip_known(),
            None => return Err(out_of_turn("stored", &self.step())),
        }
        Ok(())
    }
}

/// What a snapshot pins, if the root's snapshot keys signed it.
fn signed_pins(root: &Root, bytes: &[u8]) -> Option<BTreeMap<String, u64>> {
    let snapshot = Metadata::<Snapshot>::from_slice(bytes).ok()?;
    snapshot.verify_threshold(&root.keys, root.role("snapshot")?, "snapshot").ok()?;
    Some(snapshot.signed().meta.iter().map(|(name, pin)| (name.clone(), pin.version)).collect())
}

/// TUF 6.1: under consistent snapshots the version stands before the name.
pub(super) fn pinned_name(role: &str, version: u64, consistent: bool) -> String {
    let file = super::trusted::escaped(role);
    if consistent { format!("{version}.{file}.json") } else { format!("{file}.json") }
}

/// The update's start time. TUF 5.3.10 and after: what expires at that very second has expired; the core lets it
/// live through it, so it is told a nanosecond more.
fn instant(unix_s: i64) -> Result<Instant, TufError> {
    Instant::new(unix_s, 1).map_err(|_| malformed("the clock", "it is out of range"))
}

pub(super) fn malformed(name: &str, why: &str) -> TufError {
    TufError::Malformed { name: name.into(), why: why.into() }
}

pub(super) fn refused(name: &str) -> impl FnOnce(CoreError) -> TufError {
    let name = name.to_owned();
    |source| TufError::Metadata { name, source }
}
