//! What the agent says as it goes: lines to standard error, the last of them kept for the operator.

use holdfast_decide::device::Note;
use std::collections::VecDeque;

/// Lines that go along with a report of a failure.
const LINES_MAX: usize = 16;
const LINE_MAX_BYTES: usize = 200;

/// The last lines.
#[derive(Debug, Default)]
pub(crate) struct Log(VecDeque<String>);

impl Log {
    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) {
        eprintln!("holdfast-device: {text}");
        if self.0.len() >= LINES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(text.chars().take(LINE_MAX_BYTES).collect());
    }

    /// Writes a fact of the machine.
    pub(crate) fn note(&mut self, note: &Note) {
        self.line(&match note {
            Note::Unfitting { state, event } => {
                format!("{event} does not fit the state {state}: nothing was done")
            }
            Note::CheckFailed(failure) => format!("check failed: {failure:?}"),
            Note::NotInstalled { code } => format!("not installed: {code}"),
            Note::QuarantineCleared { manifest } => {
                format!("a newer assignment clears {manifest} from quarantine")
            }
            Note::Quarantined { manifest, code } => format!("{manifest} is in quarantine: {code}"),
            Note::DeltaGivenUp { detail } => format!("the delta is given up, all will be fetched: {detail}"),
            Note::Failed { what, detail } => format!("{what} failed: {detail}"),
            Note::JournalNotUnderstood => {
                "the journal is not understood: what is known to run is kept".to_owned()
            }
            Note::FellBack { expected, booted } => {
                format!("slot {} was expected, slot {} runs", expected.as_str(), booted.as_str())
            }
        });
    }

    /// The last lines as one text.
    pub(crate) fn tail(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
