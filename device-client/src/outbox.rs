//! Reports on their way: each a file until the service has taken it, sent in the order in which they were made.
//!
//! A report is signed when it is sent, with the key that is current then. Invariants: numbers rise by one and are never
//! used twice; a report that tells how an assignment ended is never dropped for want of room.

use crate::error::DeviceError;
use crate::files;
use crate::journal::Reserve;
use crate::keystore::{KeyStore, Slot};
use crate::net::Service;
use holdfast_proto::Bytes;
use holdfast_proto::report::{Evidence, Progress, REPORT_SIGNATURE_HEADER, Report, ReportAccepted};
use holdfast_trust::attest::binding::report_message;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Reports that wait at most; beyond, the oldest that decides nothing goes.
const WAITING_MAX: usize = 64;
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
        outbox.last = outbox.waiting()?.last().copied().unwrap_or(0).max(written.unwrap_or(0));
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
        self.make_room()?;
        self.last += 1;
        report.sequence = self.last;
        let waiting = Waiting { report, evidence_at_sending };
        reserve.lend(|| files::write_json(&self.path(self.last), &waiting))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_ok_and(|waiting| waiting.is_empty())
    }

    /// Sends what waits. Stops at the first that the service does not take now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn flush(
        &mut self,
        service: &Service,
        keys: &dyn KeyStore,
        prove: &mut dyn FnMut() -> Result<Evidence, DeviceError>,
    ) -> Result<(), DeviceError> {
        while let Some(number) = self.waiting()?.first().copied() {
            let Some(mut waiting) = self.read(number)? else { continue };
            if waiting.evidence_at_sending {
                waiting.report.evidence = Some(prove()?);
            }
            self.send(number, waiting, service, keys)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        number: u64,
        waiting: Waiting,
        service: &Service,
        keys: &dyn KeyStore,
    ) -> Result<(), DeviceError> {
        let body = serde_json::to_vec(&waiting.report).map_err(DeviceError::unusable)?;
        let signature = Bytes(keys.sign(Slot::Current, &report_message(&body))?).to_base64();
        let answer = service.ask("PUT", PATH, &[(REPORT_SIGNATURE_HEADER, signature)], &body)?;
        match answer.status {
            200 => {
                let accepted: ReportAccepted = answer.json(PATH)?;
                if accepted.sequence > number {
                    // The service has seen later ones: this device lost its count. What was taken for an old report
                    // is told again under a new number.
                    return self.renumber(number, waiting, accepted.sequence);
                }
            }
            // It will never be taken: what comes after it must not wait for it.
            400 | 413 | 422 => {
                eprintln!("holdfast-device: report {number} was refused: {}", answer.refusal(PATH));
            }
            _ => return Err(answer.refusal(PATH)),
        }
        self.remove(number)
    }

    fn renumber(&mut self, number: u64, mut waiting: Waiting, seen: u64) -> Result<(), DeviceError> {
        self.last = self.last.max(seen) + 1;
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

    fn make_room(&self) -> Result<(), DeviceError> {
        let waiting = self.waiting()?;
        if waiting.len() < WAITING_MAX {
            return Ok(());
        }
        for number in waiting {
            let Some(found) = self.read(number)? else { return Ok(()) };
            let passing = matches!(
                found.report.progress,
                Progress::Idle | Progress::Accepted | Progress::Fetching | Progress::Staged
            );
            if passing {
                return self.remove(number);
            }
        }
        Ok(())
    }

    /// None: it could not be read, and is gone now.
    fn read(&self, number: u64) -> Result<Option<Waiting>, DeviceError> {
        match files::read_json(&self.path(number)) {
            Err(DeviceError::Malformed { .. }) => self.remove(number).map(|()| None),
            other => other,
        }
    }

    /// Numbers of the files, ascending.
    fn waiting(&self) -> Result<Vec<u64>, DeviceError> {
        let failed = |source| DeviceError::Read { path: self.folder.clone(), source };
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:010}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::report::{Running, TrustedVersions};

    fn report(progress: Progress) -> Report {
        Report {
            sequence: 0,
            boot_id: "boot".into(),
            assignment: None,
            progress,
            running: Running {
                release: None,
                manifest: None,
                artefacts: std::collections::BTreeMap::new(),
                floor: 0,
                slot: "a".into(),
                ram_bytes: 1,
            },
            versions: TrustedVersions::default(),
            transfer: None,
            evidence: None,
            detail: None,
        }
    }

    #[test]
    fn numbers_rise_across_restarts_and_after_everything_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let mut outbox = Outbox::open(folder.path()).unwrap();
        outbox.push(report(Progress::Accepted), false, &reserve).unwrap();
        outbox.push(report(Progress::Confirmed), true, &reserve).unwrap();
        let mut outbox = Outbox::open(folder.path()).unwrap();
        assert_eq!(outbox.waiting().unwrap(), [1, 2]);
        assert_eq!(outbox.read(2).unwrap().unwrap().report.sequence, 2);
        outbox.remove(1).unwrap();
        outbox.remove(2).unwrap();
        assert!(outbox.is_empty());
        outbox = Outbox::open(folder.path()).unwrap();
        outbox.push(report(Progress::Idle), false, &reserve).unwrap();
        assert_eq!(outbox.waiting().unwrap(), [3]);
    }

    #[test]
    fn a_full_queue_lets_go_of_what_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let mut outbox = Outbox::open(folder.path()).unwrap();
        outbox.push(report(Progress::Arming), false, &reserve).unwrap();
        for _ in 0..WAITING_MAX + 5 {
            outbox.push(report(Progress::Fetching), false, &reserve).unwrap();
        }
        let waiting = outbox.waiting().unwrap();
        assert_eq!((waiting.len(), waiting[0]), (WAITING_MAX, 1));
    }

    #[test]
    fn a_service_that_has_seen_more_is_told_again_under_a_later_number() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let mut outbox = Outbox::open(folder.path()).unwrap();
        outbox.push(report(Progress::Accepted), false, &reserve).unwrap();
        let waiting = outbox.read(1).unwrap().unwrap();
        outbox.renumber(1, waiting, 40).unwrap();
        assert_eq!(outbox.waiting().unwrap(), [41]);
        assert_eq!(outbox.read(41).unwrap().unwrap().report.sequence, 41);
    }
}
