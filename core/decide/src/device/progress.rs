//! What reports say: the running release, and the words of the machine's turns.

use super::event::{Effect, ReportFacts};
use super::machine::Machine;
use super::state::{Job, State};
use holdfast_proto::report::{AssignmentRef, Progress, Running, Transfer};

/// Cap of a detail text kept in the journal, bytes.
const DETAIL_MAX_BYTES: usize = 1024;

impl Machine {
    /// What runs now, for a report.
    pub fn running(&self) -> Running {
        let standing = &self.record().standing;
        let booted = self.booted();
        let installed = match self.record().state.job() {
            Some(job) if booted.slot == job.target => job.installed(),
            _ => standing.running.clone(),
        };
        Running {
            release: installed.release,
            manifest: installed.manifest,
            artefacts: installed.artefacts,
            floor: standing.floor,
            slot: booted.slot.as_str().to_owned(),
            ram_bytes: self.policy().ram_bytes,
        }
    }

    /// Where the device stands, for a report.
    pub fn progress(&self) -> Progress {
        match &self.record().state {
            State::Idle | State::Checking | State::Recovery { .. } => Progress::Idle,
            State::Planning { .. } => Progress::Accepted,
            State::Fetching { .. } | State::Verifying { .. } => Progress::Fetching,
            State::Staged { .. } | State::AwaitingWindow { .. } => Progress::Staged,
            State::Arming { .. } | State::Rebooting { .. } | State::Activating { .. } => Progress::Arming,
            State::Trial { .. } | State::Committing { .. } | State::Reverting { .. } => Progress::Trial,
            State::Reverted { reason, .. } => Progress::RolledBack { code: reason.code().to_owned() },
        }
    }

    pub(crate) fn report_job(&mut self, job: &Job, progress: Progress, detail: Option<String>) {
        self.report(job.assignment, progress, Some(job.transfer.clone()), detail);
    }

    /// Evidence belongs in what the fleet's gate counts: Arming and Confirmed.
    pub(crate) fn report(
        &mut self,
        assignment: AssignmentRef,
        progress: Progress,
        transfer: Option<Transfer>,
        detail: Option<String>,
    ) {
        let evidence = matches!(progress, Progress::Arming | Progress::Confirmed);
        self.push(Effect::Report(Box::new(ReportFacts {
            assignment: Some(assignment),
            progress,
            transfer,
            detail: detail.map(bounded),
            evidence,
        })));
    }
}

/// Cuts a text at a character's edge.
pub(crate) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_MAX_BYTES));
    text
}
