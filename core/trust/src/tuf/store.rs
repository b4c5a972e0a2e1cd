//! What a device trusts, as one record in two copies: a torn one is repaired from the other, and a device that was
//! initialised once never takes the lack of both for a first use.
//!
//! A copy is `magic (8) | sequence (8) | length (4) | SHA-256 of all of it but itself (32) | JSON`, integers
//! big-endian. The older copy is written first, so that at every instant the newest state or the one before it is
//! whole; a record with fields that this version does not know is read all the same (a device may boot its old slot).

use super::TufError;
use super::assignment::{self, Assignment};
use super::limits::{COPY_MAX_BYTES, STORED_FILES_MAX_BYTES};
use super::step::{Source, SourceError, Store};
use super::time::{self, DeviceClock, SignedTime, WallClock};
use super::trusted::Trusted;
use super::walk::{self, malformed};
use crate::Verified;
use holdfast_proto::Bytes;
use holdfast_proto::manifest::{AssignmentKeys, CaBundle};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"HFTRUST1";
const FIELDS_BYTES: usize = 8 + 8 + 4;
const HEAD_BYTES: usize = FIELDS_BYTES + 32;
/// Files that are the floors of the next walk; delegated roles are only spared a download.
const TOP_LEVEL: [&str; 4] = ["root.json", "timestamp.json", "snapshot.json", "targets.json"];

/// Everything that must never go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustState {
    /// Metadata as received: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, `<role>.json`.
    pub files: BTreeMap<String, Bytes>,
    /// Version of every role at the end of the last walk, for the device's reports.
    #[serde(default)]
    pub versions: BTreeMap<String, u64>,
    #[serde(default)]
    pub signed_time: Option<SignedTime>,
    /// The newest assignment that was believed.
    #[serde(default)]
    pub assignment: Option<SeenAssignment>,
    #[serde(default)]
    assignment_keys: Option<AssignmentKeys>,
    #[serde(default)]
    ca_bundle: Option<CaBundle>,
}

impl TrustState {
    /// `keys/assignment.json` as it was verified last.
    pub fn assignment_keys(&self) -> Option<Verified<AssignmentKeys>> {
        self.assignment_keys.clone().map(Verified::after_all_checks)
    }

    /// `trust/ca.json` as it was verified last.
    pub fn ca_bundle(&self) -> Option<Verified<CaBundle>> {
        self.ca_bundle.clone().map(Verified::after_all_checks)
    }
}

/// Epoch and sequence of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeenAssignment {
    pub epoch: u64,
    pub sequence: u64,
}

impl From<&Verified<Assignment>> for SeenAssignment {
    fn from(assignment: &Verified<Assignment>) -> Self {
        Self { epoch: assignment.body.epoch, sequence: assignment.body.sequence }
    }
}

/// The two places of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyName {
    A,
    B,
}

/// A durable medium for two copies.
pub trait Medium {
    /// None: nothing readable is there.
    fn read(&self, copy: CopyName) -> Option<Vec<u8>>;

    /// Durable when it returns.
    ///
    /// # Errors
    /// When it is not.
    fn write(&mut self, copy: CopyName, bytes: &[u8]) -> Result<(), SourceError>;
}

/// A trust state on its medium.
#[derive(Debug)]
pub struct DurableTrust<M> {
    state: TrustState,
    /// Sequence of each copy, A and B; 0: torn or absent.
    sequences: [u64; 2],
    medium: M,
}

impl<M: Medium> DurableTrust<M> {
    /// Begins from the root that the device was made with. Refused when anything is there already.
    ///
    /// # Errors
    /// When the medium holds a state, the root is none, or it cannot be stored.
    pub fn begin(medium: M, root: &[u8]) -> Result<Self, TufError> {
        if medium.read(CopyName::A).is_some() || medium.read(CopyName::B).is_some() {
            return Err(malformed("trust state", "it is there already"));
        }
        walk::Refresh::start(walk::Stored { root: root.to_vec(), ..walk::Stored::default() }, &walk::At(0))?;
        let files = BTreeMap::from([("root.json".to_owned(), Bytes(root.to_vec()))]);
        let mut durable = Self { state: TrustState::default(), sequences: [0; 2], medium };
        durable.put(TrustState { files, ..TrustState::default() })?;
        Ok(durable)
    }

    /// Opens the newer whole copy and writes it over the other where they differ.
    ///
    /// # Errors
    /// [`TufError::StateLost`] when neither copy is whole; then nothing is written.
    pub fn open(mut medium: M) -> Result<Self, TufError> {
        let copies = [CopyName::A, CopyName::B].map(|copy| {
            let bytes = medium.read(copy)?;
            decode(&bytes).map(|(sequence, state)| (sequence, state, bytes))
        });
        let sequences = copies.each_ref().map(|copy| copy.as_ref().map_or(0, |(sequence, ..)| *sequence));
        let newest = copies.into_iter().flatten().max_by_key(|(sequence, ..)| *sequence);
        let (sequence, state, bytes) = newest.ok_or(TufError::StateLost)?;
        for (copy, held) in [CopyName::A, CopyName::B].into_iter().zip(sequences) {
            if held != sequence {
                medium.write(copy, &bytes).map_err(not_stored)?;
            }
        }
        Ok(Self { state, sequences: [sequence; 2], medium })
    }

    pub fn state(&self) -> &TrustState {
        &self.state
    }

    /// The medium back, for tests that cut the power.
    pub fn into_medium(self) -> M {
        self.medium
    }

    /// Walks to the newest metadata; floors and signed time are kept.
    ///
    /// # Errors
    /// When anything is refused or cannot be stored; what was trusted before stays trusted.
    pub fn refresh(
        &mut self,
        source: &mut dyn Source,
        build_time: i64,
        wall: WallClock,
    ) -> Result<Trusted, TufError> {
        let signed = self.state.signed_time.clone();
        let clock = DeviceClock { build_time, wall, signed: signed.as_ref() };
        let trusted = walk::refresh(self, source, &clock)?;
        let mut next = self.state.clone();
        next.versions = trusted.pinned().into_iter().collect();
        next.versions.insert("root".into(), trusted.root().version);
        next.versions.insert("snapshot".into(), trusted.snapshot_version());
        next.versions
            .extend(trusted.timestamp().map(|timestamp| ("timestamp".to_owned(), timestamp.version)));
        next.signed_time = time::signed_time(signed.as_ref(), &trusted);
        self.put(next)?;
        Ok(trusted)
    }

    /// Reads and keeps `keys/assignment.json` and `trust/ca.json`.
    ///
    /// # Errors
    /// When either is not what the targets role signed, or cannot be stored.
    pub fn adopt_documents(
        &mut self,
        trusted: &mut Trusted,
        source: &mut dyn Source,
    ) -> Result<(), TufError> {
        let keys = assignment::assignment_keys(trusted, self, source)?;
        let bundle = assignment::ca_bundle(trusted, self, source)?;
        let documents = (Some(keys.into_inner()), Some(bundle.into_inner()));
        self.put(TrustState { assignment_keys: documents.0, ca_bundle: documents.1, ..self.state.clone() })
    }

    /// Notes an assignment that was believed; an older one changes nothing.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn note_assignment(&mut self, seen: impl Into<SeenAssignment>) -> Result<(), TufError> {
        self.put(TrustState {
            assignment: self.state.assignment.max(Some(seen.into())),
            ..self.state.clone()
        })
    }

    /// Durable on one copy is durable: from then on it is the state, also when the other copy fails.
    fn put(&mut self, next: TrustState) -> Result<(), TufError> {
        if next == self.state && self.sequences[0] == self.sequences[1] {
            return Ok(());
        }
        let sequence = self.sequences[0].max(self.sequences[1]) + 1;
        let bytes = encode(sequence, &next)?;
        if bytes.len() > COPY_MAX_BYTES {
            // Written, it would be taken for torn at the next start.
            return Err(malformed("trust state", "a copy of it would be too long to be read again"));
        }
        let mut copies = [(self.sequences[0], CopyName::A), (self.sequences[1], CopyName::B)];
        // The older first: what a power cut tears is never the only newest.
        copies.sort_unstable();
        for (_, copy) in copies {
            // Unwrap safety: two copies, two sequences.
            self.sequences[copy as usize] = 0;
            self.medium.write(copy, &bytes).map_err(not_stored)?;
            self.sequences[copy as usize] = sequence;
            self.state.clone_from(&next);
        }
        Ok(())
    }
}

impl<M: Medium> Store for DurableTrust<M> {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.state.files.get(name).map(|bytes| bytes.0.clone())
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let mut next = self.state.clone();
        next.files.insert(name.to_owned(), bytes.to_vec().into());
        // An online role may delegate to as many roles as it likes: they are a cache, and have what room there is.
        let delegated = !TOP_LEVEL.contains(&name);
        if delegated && next.files.values().map(|file| file.0.len()).sum::<usize>() > STORED_FILES_MAX_BYTES {
            next.files.retain(|file, _| TOP_LEVEL.contains(&file.as_str()));
        }
        self.put(next).map_err(Into::into)
    }
}

fn not_stored(source: SourceError) -> TufError {
    TufError::Store { name: "trust state".into(), source }
}

fn encode(sequence: u64, state: &TrustState) -> Result<Vec<u8>, TufError> {
    let body = serde_json::to_vec(state).map_err(|error| malformed("trust state", &error.to_string()))?;
    let fields = [&MAGIC[..], &sequence.to_be_bytes(), &(body.len() as u32).to_be_bytes()].concat();
    let digest = sha2::Sha256::new().chain_update(&fields).chain_update(&body).finalize();
    Ok([&fields[..], &digest, &body].concat())
}

fn decode(bytes: &[u8]) -> Option<(u64, TrustState)> {
    if bytes.len() > COPY_MAX_BYTES {
        return None;
    }
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let (fields, digest) = head.split_at_checked(FIELDS_BYTES)?;
    let sequence = u64::from_be_bytes(fields.get(8..16)?.try_into().ok()?);
    let length = u32::from_be_bytes(fields.get(16..20)?.try_into().ok()?) as usize;
    let actual = sha2::Sha256::new().chain_update(fields).chain_update(body).finalize();
    let whole = fields.starts_with(MAGIC) && body.len() == length && digest == actual.as_slice();
    whole.then(|| serde_json::from_slice(body).ok()).flatten().map(|state| (sequence, state))
}
