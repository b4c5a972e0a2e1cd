//! What the service is told: reports, their evidence, their words.

use super::Agent;
use crate::error::DeviceError;
use crate::evidence::{self, Log as WithLog};
use crate::files;
use crate::survey::in_words;
use holdfast_decide::device::{ReportFacts, State};
use holdfast_proto::report::{Progress, Report, Running, TrustedVersions};

/// Cap of a report's detail, bytes.
const DETAIL_MAX_BYTES: usize = 4096;

impl Agent {
    /// Tells what runs, once in each boot and after every change: the service plans deltas from it.
    pub(super) fn tell_what_runs(&mut self) {
        if !self.reached || self.machine.record().state != State::Idle {
            return;
        }
        let told: Option<(String, Running)> =
            files::read_json(&self.config.state("told.json")).unwrap_or_default();
        if told == Some((self.machine.booted().boot_id.clone(), self.machine.running())) {
            return;
        }
        let progress = self.machine.progress();
        self.report(ReportFacts {
            assignment: None,
            progress,
            transfer: None,
            detail: None,
            evidence: false,
        });
    }

    /// Queues a report; what cannot be queued is lost with a word in the log, and stops nothing.
    pub(super) fn report(&mut self, facts: ReportFacts) {
        if let Err(error) = self.queue(facts) {
            self.log.line(&format!("a report is lost: {}", in_words(&error)));
        }
    }

    fn queue(&mut self, facts: ReportFacts) -> Result<(), DeviceError> {
        let at_sending = facts.evidence && facts.progress == Progress::Confirmed;
        let evidence = match self.checkin.nonce() {
            Some(nonce) if facts.evidence && !at_sending => {
                match evidence::make(&self.config, self.keys.as_ref(), nonce, WithLog::Without) {
                    Ok(evidence) => Some(evidence),
                    Err(error) => {
                        self.log.line(&format!("no evidence: {}", in_words(&error)));
                        None
                    }
                }
            }
            _ => None,
        };
        let report = Report {
            // The outbox numbers it.
            sequence: 0,
            boot_id: self.machine.booted().boot_id.clone(),
            assignment: facts.assignment,
            running: self.machine.running(),
            versions: self.versions(),
            transfer: facts.transfer,
            evidence,
            detail: self.detail(&facts.progress, facts.detail),
            progress: facts.progress,
        };
        let told = (report.boot_id.clone(), report.running.clone());
        self.outbox.push(report, at_sending, self.journal.reserve())?;
        self.journal.reserve().lend(|| files::write_json(&self.config.state("told.json"), &told))
    }

    fn versions(&self) -> TrustedVersions {
        let state = self.trust.state();
        let version = |role: &str| state.versions.get(role).copied().unwrap_or(0);
        TrustedVersions {
            root: version("root"),
            timestamp: version("timestamp"),
            snapshot: version("snapshot"),
            assignment: state.assignment.map_or(0, |seen| seen.sequence),
        }
    }

    /// The machine's own words, what waits to be told, and after a failure the last lines of the log.
    fn detail(&mut self, progress: &Progress, detail: Option<String>) -> Option<String> {
        let mut lines = std::mem::take(&mut self.to_tell);
        lines.extend(detail);
        if matches!(
            progress,
            Progress::Failed { .. } | Progress::RolledBack { .. } | Progress::Refused { .. }
        ) {
            lines.push(format!("log:\n{}", self.log.tail()));
        }
        let mut text = lines.join("\n");
        text.truncate(text.floor_char_boundary(DETAIL_MAX_BYTES));
        (!text.is_empty()).then_some(text)
    }

    /// Sends what waits; what the service does not take now waits on.
    pub(super) fn send_reports(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        if let Err(error) = self.ready() {
            self.log.line(&in_words(&error));
            return;
        }
        let Self { outbox, service, keys, checkin, config, .. } = self;
        let Some(service) = service.as_ref() else { return };
        let sent = outbox.flush(service, keys.as_ref(), &mut || {
            let nonce = checkin.fresh_nonce(service)?;
            evidence::make(config, keys.as_ref(), &nonce, WithLog::With)
        });
        if let Err(error) = sent {
            self.log.line(&format!("reports wait: {}", in_words(&error)));
        }
    }
}
