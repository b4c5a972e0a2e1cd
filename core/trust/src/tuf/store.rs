//! What a device trusts, as one record in two copies: a torn one is repaired from the other, and a device that was
//! initialised once never takes the lack of both for a first use.
//!
//! A copy is `magic (8) | sequence (8) | length (4) | SHA-256 of all of it but itself (32) | JSON`.

use super::time::{self, DeviceClock, SignedTime, WallClock};
use super::walk::{self, Source, SourceError, Store, Trusted};
use super::TufError;
use holdfast_proto::Bytes;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"HFTRUST1";
const HEAD_BYTES: usize = 8 + 8 + 4 + 32;
/// A copy above this is no copy of ours.
const COPY_MAX_BYTES: usize = 64 << 20;

/// Everything that must never go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustState {
    /// Metadata as received: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, `<role>.json`.
    pub files: BTreeMap<String, Bytes>,
    /// The highest version of each role that was ever trusted.
    pub versions: BTreeMap<String, u64>,
    #[serde(default)]
    pub signed_time: Option<SignedTime>,
    /// The newest assignment that was believed.
    #[serde(default)]
    pub assignment: Option<SeenAssignment>,
    /// `trust/ca.json` as verified.
    #[serde(default)]
    pub ca_bundle: Option<Bytes>,
}

/// Epoch and sequence of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenAssignment {
    pub epoch: u64,
    pub sequence: u64,
}

/// The two places of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    sequence: u64,
    medium: M,
}

impl<M: Medium> DurableTrust<M> {
    /// Begins from the root that the device was made with. Refused when a copy is there already.
    ///
    /// # Errors
    /// When the medium holds a state, or cannot be written.
    pub fn begin(medium: M, root: &[u8]) -> Result<Self, TufError> {
        if medium.read(CopyName::A).is_some() || medium.read(CopyName::B).is_some() {
            return Err(walk::malformed("trust state", "it is there already"));
        }
        let files = BTreeMap::from([("root.json".to_owned(), Bytes(root.to_vec()))]);
        let mut durable = Self { state: TrustState { files, ..TrustState::default() }, sequence: 0, medium };
        durable.persist()?;
        Ok(durable)
    }

    /// Opens the newer whole copy and repairs the other.
    ///
    /// # Errors
    /// [`TufError::StateLost`] when neither copy is whole.
    pub fn open(medium: M) -> Result<Self, TufError> {
        let copies = [CopyName::A, CopyName::B].map(|copy| medium.read(copy).and_then(|bytes| decode(&bytes)));
        let whole = copies.iter().flatten().count();
        let newest = copies.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let (sequence, state) = newest.ok_or(TufError::StateLost)?;
        let mut durable = Self { state, sequence, medium };
        if whole < 2 {
            durable.persist()?;
        }
        Ok(durable)
    }

    pub fn state(&self) -> &TrustState {
        &self.state
    }

    /// Walks to the newest metadata; floors and signed time are kept.
    ///
    /// # Errors
    /// When anything is refused or cannot be stored; what was trusted before stays trusted.
    pub fn refresh(&mut self, source: &mut dyn Source, build_time: i64, wall: WallClock) -> Result<Trusted, TufError> {
        let signed = self.state.signed_time.clone();
        let clock = DeviceClock { build_time, wall, signed: signed.as_ref() };
        let trusted = walk::refresh(self, source, &clock)?;
        self.check_floors(&trusted)?;
        let mut next = self.state.clone();
        next.versions.extend(trusted.pinned());
        next.versions.insert("root".into(), trusted.root().version);
        next.versions.insert("snapshot".into(), trusted.snapshot_version());
        if let Some(timestamp) = trusted.timestamp() {
            next.versions.insert("timestamp".into(), timestamp.version);
            next.signed_time = time::signed_time(signed.as_ref(), trusted.root(), timestamp);
        }
        self.put(next)?;
        Ok(trusted)
    }

    /// Notes the newest assignment that was believed.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn note_assignment(&mut self, seen: SeenAssignment) -> Result<(), TufError> {
        self.put(TrustState { assignment: Some(seen), ..self.state.clone() })
    }

    /// Keeps the verified CA bundle.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn note_ca_bundle(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.put(TrustState { ca_bundle: Some(bytes.to_vec().into()), ..self.state.clone() })
    }

    /// The walk's own floors are the stored files; these are for the moment when a power cut tore them apart
    /// (a timestamp stored, its snapshot not yet). Roles of rotated keys begin anew with their new root.
    fn check_floors(&self, trusted: &Trusted) -> Result<(), TufError> {
        for (role, version) in trusted.pinned() {
            let floor = self.state.versions.get(&role).copied().unwrap_or(0);
            if version < floor && !self.recovered(&role, trusted) {
                return Err(TufError::Rollback { role, trusted: floor, offered: version });
            }
        }
        Ok(())
    }

    /// A new root is how a fast-forward attack is recovered from (TUF 5.3.11).
    fn recovered(&self, _: &str, trusted: &Trusted) -> bool {
        trusted.root().version > self.state.versions.get("root").copied().unwrap_or(0)
    }

    fn put(&mut self, next: TrustState) -> Result<(), TufError> {
        if next == self.state {
            return Ok(());
        }
        self.state = next;
        self.persist()
    }

    /// Both copies, one after the other: at every instant one of them is whole.
    fn persist(&mut self) -> Result<(), TufError> {
        self.sequence += 1;
        let bytes = encode(self.sequence, &self.state)?;
        for copy in [CopyName::A, CopyName::B] {
            let name = "trust state".to_owned();
            self.medium.write(copy, &bytes).map_err(|source| TufError::Store { name, source })?;
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
        self.put(next).map_err(Into::into)
    }
}

fn encode(sequence: u64, state: &TrustState) -> Result<Vec<u8>, TufError> {
    let body = serde_json::to_vec(state).map_err(|error| walk::malformed("trust state", &error.to_string()))?;
    let head = [&MAGIC[..], &sequence.to_be_bytes(), &(body.len() as u32).to_be_bytes()].concat();
    let digest = sha2::Sha256::new().chain_update(&head).chain_update(&body).finalize();
    Ok([&head[..], &digest, &body].concat())
}

fn decode(bytes: &[u8]) -> Option<(u64, TrustState)> {
    if bytes.len() > COPY_MAX_BYTES {
        return None;
    }
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let (fields, digest) = head.split_at_checked(20)?;
    let sequence = u64::from_be_bytes(fields.get(8..16)?.try_into().ok()?);
    let length = u32::from_be_bytes(fields.get(16..20)?.try_into().ok()?) as usize;
    let actual = sha2::Sha256::new().chain_update(fields).chain_update(body).finalize();
    let whole = fields.starts_with(MAGIC) && body.len() == length && digest == actual.as_slice();
    whole.then(|| serde_json::from_slice(body).ok()).flatten().map(|state| (sequence, state))
}
