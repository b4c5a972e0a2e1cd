//! The grammar of the walk: a machine says what it needs next, its caller does it and says what came of it.
//!
//! No step is taken back: what a machine asks to be stored was verified, and it asks for nothing further until
//! it is told that this rests ([`Machine::stored`]).

use super::TufError;

/// Why bytes did not come, or were not kept: the caller's own error.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What a machine needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look up what was stored under this name, and say so with [`Machine::loaded`].
    Load { name: String },
    /// Fetch this file of the metadata's base, and say so with [`Machine::fetched`]. Nothing above `max_bytes` is
    /// worth reading: answer with one byte more, or with an error of your own.
    Fetch { name: String, max_bytes: u64, absent: Absent },
    /// Make this durable under the name, and say so with [`Machine::stored`].
    Store { name: String, bytes: Vec<u8> },
    /// Nothing: take the result.
    Done,
}

/// What it means that a file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The end of the roots.
    IsAnAnswer,
    /// The walk ends in an error.
    IsRefused,
}

/// A walk or a search under way.
pub trait Machine {
    /// What is needed next; the same until it is answered.
    fn step(&self) -> Step;

    /// Answers [`Step::Load`].
    ///
    /// # Errors
    /// When the machine asked for something else; stored bytes that do not verify are as good as none.
    fn loaded(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError>;

    /// Answers [`Step::Fetch`]; none: it is not there (403, 404).
    ///
    /// # Errors
    /// When the bytes are refused. The machine is of no use then.
    fn fetched(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError>;

    /// Answers [`Step::Store`].
    ///
    /// # Errors
    /// When the machine asked for something else, or what follows from it is refused.
    fn stored(&mut self) -> Result<(), TufError>;
}

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

/// Runs a machine to its end.
///
/// # Errors
/// When anything is refused, does not come or cannot be stored, or the machine asks again for what it was given.
pub fn drive(
    machine: &mut dyn Machine,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<(), TufError> {
    let mut before = String::new();
    loop {
        let step = machine.step();
        // A walk that does not go on must end: nobody waits beside a device.
        let now = asked(&step);
        if now == before {
            return Err(out_of_turn("what was asked for before", &step));
        }
        before = now;
        match step {
            Step::Load { name } => machine.loaded(store.load(&name))?,
            Step::Fetch { name, max_bytes, .. } => {
                let bytes =
                    source.metadata(&name, max_bytes).map_err(|source| TufError::Source { name, source })?;
                machine.fetched(bytes)?;
            }
            Step::Store { name, bytes } => {
                store.save(&name, &bytes).map_err(|source| TufError::Store { name, source })?;
                machine.stored()?;
            }
            Step::Done => return Ok(()),
        }
    }
}

/// Refuses what is longer than was asked for: endless data (TUF 1.5.2).
///
/// # Errors
/// When it is.
pub(super) fn bounded(name: &str, limit: u64, bytes: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, TufError> {
    match bytes {
        Some(bytes) if bytes.len() as u64 > limit => {
            Err(TufError::TooLong { name: name.into(), actual: bytes.len() as u64, limit })
        }
        other => Ok(other),
    }
}

/// An answer to a question that was not asked.
pub(super) fn out_of_turn(answer: &str, step: &Step) -> TufError {
    TufError::OutOfTurn { answer: answer.to_owned(), asked: asked(step) }
}

fn asked(step: &Step) -> String {
    match step {
        Step::Load { name } => format!("to load {name}"),
        Step::Fetch { name, .. } => format!("to fetch {name}"),
        Step::Store { name, .. } => format!("to store {name}"),
        Step::Done => "nothing".to_owned(),
    }
}
