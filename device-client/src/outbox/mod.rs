//! Reports on their way: each a file until the service has taken it, sent in the order in which they were made.
//!
//! A report is signed when it is sent, with the key that is current then. Invariants: numbers rise by one and are never
//! used twice; what waits is bounded, and one that tells how an assignment ended goes for want of room only when there
//! is nothing else to let go of; no answer of the service makes a flush endless or the numbers run out.

use crate::aside;
use crate::error::DeviceError;
use crate::files;
use crate::journal::Reserve;
use crate::keystore::{KeyStore, Slot};
use crate::net::Service;
use holdfast_proto::Bytes;
use holdfast_proto::report::{
    AssignmentRef, Evidence, Progress, REPORT_SIGNATURE_HEADER, Report, ReportAccepted,
};
use holdfast_trust::attest::binding::report_message;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Reports that wait; beyond, the oldest that decides nothing goes.
const WAITING_MAX: usize = 64;
/// Reports of every kind that wait; beyond, the oldest goes that tells nothing of the assignment under way.
const WAITING_HARD_MAX: usize = 128;
/// The service keeps a number in an `i64`.
const NUMBER_MAX: u64 = i64::MAX as u64;
/// So far a device's count may lie behind what the service has seen, and be taken up there: no device made more
/// reports in its life, so that more is an error or a lie.
const AHEAD_MAX: u64 = 1_000_000;
const PATH: &str = "/v1/report";

/// A report that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    report: Report,
    /// Evidence is made when it is sent: over a nonce given after all that was sent before.
    evidence_at_sending: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
    /// The last number given out.
    last: u64,
}

impl Outbox {
    /// # Errors
    /// When the folder cannot be read or made.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, DeviceError> {
        let folder = state_dir.join("reports");
        std::fs::create_dir_all(&folder)
            .map_err(|source| DeviceError::Write { path: folder.clone(), source })?;
        let mut outbox = Self { folder, last: 0 };
        let written: Option<u64> = files::read_json(&outbox.folder.join("last")).unwrap_or_default();
        // A count that no report can go beyond is none: the service says where it stands.
        let written = written.filter(|last| *last < NUMBER_MAX).unwrap_or(0);
        outbox.last = outbox.waiting()?.last().copied().unwrap_or(0).max(written);
        Ok(outbox)
    }

    /// Queues a report under the next number, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn push(
        &mut self,
        mut report: Report,
        evidence_at_sending: bool,
        reserve: &Reserve,
    ) -> Result<(), DeviceError> {
        self.make_room(report.assignment)?;
        self.last = next(self.last)?;
        report.sequence = self.last;
        let waiting = Waiting { report, evidence_at_sending };
        reserve.lend(|| files::write_json(&self.path(self.last), &waiting))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_ok_and(|waiting| waiting.is_empty())
    }

    /// Sends what waits, and once more what got a new number meanwhile. Stops at the first that the service does not
    /// take now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn flush(
        &mut self,
        service: &Service,
        keys: &dyn KeyStore,
        prove: &mut dyn FnMut() -> Result<Evidence, DeviceError>,
    ) -> Result<(), DeviceError> {
        for may_renumber in [true, false] {
            for number in self.waiting()? {
                let Some(mut waiting) = self.read(number) else { continue };
                if waiting.evidence_at_sending {
                    waiting.report.evidence = Some(prove()?);
                }
                let Some(seen) = self.send(number, &waiting, service, keys)? else { continue };
                if !may_renumber {
                    return Err(answer(format!("it has seen {seen} just after it had not")));
                }
                self.renumber(number, waiting, seen)?;
            }
        }
        Ok(())
    }

    /// Sends one. Some: the service has seen later ones, this number among them, and did not take it.
    fn send(
        &mut self,
        number: u64,
        waiting: &Waiting,
        service: &Service,
        keys: &dyn KeyStore,
    ) -> Result<Option<u64>, DeviceError> {
        let body = serde_json::to_vec(&waiting.report).map_err(DeviceError::unusable)?;
        let signature = Bytes(keys.sign(Slot::Current, &report_message(&body))?).to_base64();
        let answer = service.ask("PUT", PATH, &[(REPORT_SIGNATURE_HEADER, signature)], &body)?;
        match answer.status {
            200 => {
                let accepted: ReportAccepted = answer.json(PATH)?;
                if accepted.sequence > number {
                    return Ok(Some(accepted.sequence));
                }
            }
            // It will never be taken: what comes after it must not wait for it.
            400 | 413 | 422 => {
                eprintln!("holdfast-device: report {number} was refused: {}", answer.refusal(PATH));
            }
            _ => return Err(answer.refusal(PATH)),
        }
        self.remove(number).map(|()| None)
    }

    /// This device lost its count. What was taken for an old report is told again under a new number.
    fn renumber(&mut self, number: u64, mut waiting: Waiting, seen: u64) -> Result<(), DeviceError> {
        if seen > NUMBER_MAX || seen.saturating_sub(self.last) > AHEAD_MAX {
            let last = self.last;
            return Err(answer(format!("it has seen report {seen}, and {last} is the last that was made")));
        }
        self.last = next(self.last.max(seen))?;
        waiting.report.sequence = self.last;
        waiting.report.evidence = waiting.report.evidence.filter(|_| !waiting.evidence_at_sending);
        files::write_json(&self.path(self.last), &waiting)?;
        // Those that wait behind it keep their order: they are renumbered in their turn.
        self.remove(number)
    }

    /// The number outlives the file.
    fn remove(&self, number: u64) -> Result<(), DeviceError> {
        files::write_json(&self.folder.join("last"), &self.last)?;
        let path = self.path(number);
        std::fs::remove_file(&path).map_err(|source| DeviceError::Write { path, source })
    }

    fn make_room(&self, under_way: Option<AssignmentRef>) -> Result<(), DeviceError> {
        let mut numbers = self.waiting()?;
        while numbers.len() >= WAITING_MAX {
            let Some(at) = self.least_needed(&numbers, under_way) else { return Ok(()) };
            self.remove(numbers.remove(at))?;
        }
        Ok(())
    }

    /// Which of these can go; none where all tell something and there is room still.
    fn least_needed(&self, numbers: &[u64], under_way: Option<AssignmentRef>) -> Option<usize> {
        let mut of_others = None;
        for (at, number) in numbers.iter().enumerate() {
            let Some(Waiting { report, .. }) = self.read(*number) else { continue };
            if matches!(
                report.progress,
                Progress::Idle | Progress::Accepted | Progress::Fetching | Progress::Staged
            ) {
                return Some(at);
            }
            if report.assignment != under_way {
                of_others = of_others.or(Some(at));
            }
        }
        (numbers.len() >= WAITING_HARD_MAX).then(|| of_others.unwrap_or(0))
    }

    /// None: it cannot be read, and is put aside, so that what comes after it does not wait for it.
    fn read(&self, number: u64) -> Option<Waiting> {
        let path = self.path(number);
        match files::read_json(&path) {
            Ok(waiting) => waiting,
            Err(error) => {
                aside::put(&path, &error);
                None
            }
        }
    }

    /// Numbers of the files, ascending.
    fn waiting(&self) -> Result<Vec<u64>, DeviceError> {
        let failed = |source| DeviceError::Read { path: self.folder.clone(), source };
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
            numbers.extend(number.filter(|number| *number < NUMBER_MAX));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:010}.json"))
    }
}

/// The number after this one.
fn next(number: u64) -> Result<u64, DeviceError> {
    let next = number.checked_add(1).filter(|next| *next < NUMBER_MAX);
    next.ok_or_else(|| DeviceError::unusable("the numbers of reports are used up: enrol this device anew"))
}

fn answer(why: String) -> DeviceError {
    DeviceError::Answer { path: PATH.to_owned(), why }
}

#[cfg(test)]
mod tests;
