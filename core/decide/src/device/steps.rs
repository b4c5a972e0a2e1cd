//! From a check to a staged release: what each state does next, and what each answer means there.

use super::admit::{admit, newer, quarantined};
use super::event::{CheckFailure, Effect, FetchEnd, FetchFailure, Fetched, Note, Survey};
use super::facts::{Assigned, Wall};
use super::machine::{Awaited, Machine};
use super::policy::Activation;
use super::progress::bounded;
use super::state::{Ended, Job, Outcome, Quarantined, Revert, Source, State};
use super::transfer::sources;
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::{Progress, Transfer};

/// Releases kept in quarantine.
const QUARANTINE_MAX: usize = 64;
/// At most so many steps follow one event.
pub(crate) const STEPS_MAX: usize = 32;

impl Machine {
    /// Does what the state permits now: at most one effect that awaits an answer.
    pub(crate) fn advance(&mut self) {
        self.advance_by(Self::step);
    }

    /// As long as `step` says that it did something, within bounds.
    pub(crate) fn advance_by(&mut self, mut step: impl FnMut(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if self.awaited.is_some() || !step(self) {
                return;
            }
        }
        // States that only lead to each other would fill the memory and wear out the flash.
        self.note(Note::Failed { what: "machine", detail: "it does not come to rest".to_owned() });
        let later_ms = self.now.boottime_ms.saturating_add(self.policy().poll_max_ms);
        (self.volatile.due_ms, self.volatile.hold_ms) = (later_ms, later_ms);
    }

    /// One step; false when there is nothing to do until an event comes.
    fn step(&mut self) -> bool {
        let now_ms = self.now.boottime_ms;
        let due = now_ms >= self.volatile.due_ms;
        let free = now_ms >= self.volatile.hold_ms;
        match self.record().state.clone() {
            State::Idle if self.unmarked_at_home() && free => {
                let slot = self.booted().slot;
                self.start(Effect::MarkGood { slot }, Awaited::MarkGood);
            }
            State::Idle if due => {
                self.set_state_unwritten(State::Checking);
                self.start(Effect::FetchMetadata, Awaited::Check);
            }
            State::Checking => self.start(Effect::FetchMetadata, Awaited::Check),
            State::Planning { job } | State::Fetching { job, .. } | State::Verifying { job }
                if self.used_up(&job) =>
            {
                self.quarantine(&job, Revert::TooManyChanges.code());
                self.fail_job(Revert::TooManyChanges.code(), None);
            }
            State::Planning { job } => {
                let effect = Effect::Survey { manifest: Box::new(job.manifest), target: job.target };
                self.start(effect, Awaited::Survey);
            }
            State::Fetching { job, artefact, sources } => {
                return self.advance_fetching(job, artefact, &sources, due, free);
            }
            State::Verifying { job } => {
                let manifest = Box::new(job.manifest);
                let effect = Effect::Verify { manifest, digest: job.digest, target: job.target };
                self.start(effect, Awaited::Verify);
            }
            State::Staged { job } if self.may_arm() => self.set_state(State::AwaitingWindow { job }),
            // Arming needs a confirmation received after Staged.
            State::Staged { .. } if due => self.start(Effect::FetchMetadata, Awaited::Check),
            State::AwaitingWindow { job } if self.may_arm() => self.begin_arming(job),
            State::AwaitingWindow { job } => self.set_state(State::Staged { job }),
            // Read back after a crash: what the boot loader was told is taken back, then all is verified again.
            State::Arming { job } => self.start(Effect::MarkSlotBad { slot: job.target }, Awaited::MarkBad),
            State::Rebooting { .. } => self.start(Effect::Reboot, Awaited::Reboot),
            State::Activating { job } => self.start(Effect::Activate { slot: job.target }, Awaited::Activate),
            State::Trial { job, deadline_ms, .. } => return self.advance_trial(job, deadline_ms),
            State::Committing { job } => return free && self.advance_committing(&job),
            State::Reverting { job, way, .. } if free => self.advance_reverting(&job, &way),
            State::Reverted { job, reason, detail } => self.finish_reverted(&job, reason, detail),
            State::Recovery { way } if free => self.advance_recovery(&way),
            State::Idle | State::Staged { .. } | State::Reverting { .. } | State::Recovery { .. } => {
                return false;
            }
        }
        true
    }

    fn advance_fetching(&mut self, job: Job, at: usize, sources: &[Source], due: bool, free: bool) -> bool {
        let Some((artefact, source)) = job.manifest.artefacts.get(at).zip(sources.get(at)) else {
            self.set_state(State::Verifying { job });
            return true;
        };
        if !self.volatile.marked_bad {
            // Nothing is written into a slot that the boot loader might boot.
            self.start(Effect::MarkSlotBad { slot: job.target }, Awaited::MarkBad);
        } else if *source == Source::Present {
            // All that are there at once: each state is a write.
            let present = sources.iter().skip(at).take_while(|source| **source == Source::Present).count();
            self.set_state(State::Fetching { artefact: at + present, sources: sources.to_vec(), job });
        } else if due {
            // A pause or a withdrawal reaches a device that fetches for hours.
            self.start(Effect::FetchMetadata, Awaited::Check);
        } else if free {
            let (artefact, source) = (artefact.clone(), source.clone());
            let until_ms = self.volatile.due_ms;
            self.start(Effect::Fetch { artefact, source, target: job.target, until_ms }, Awaited::Fetch);
        } else {
            return false;
        }
        true
    }

    fn begin_arming(&mut self, job: Job) {
        self.set_state(State::Arming { job: job.clone() });
        self.report_job(&job, Progress::Arming, None);
        match self.policy().activation {
            Activation::Reboot(_) => self.start(Effect::Arm { slot: job.target }, Awaited::Arm),
            Activation::Swap => self.set_state(State::Activating { job }),
        }
    }

    /// A confirmation received after Staged still holds, and some time of day is known.
    fn may_arm(&self) -> bool {
        self.holds_lease() && self.now.wall != Wall::Unset
    }

    /// The committed slot runs, and the boot loader does not know that it is good.
    pub(crate) fn unmarked_at_home(&self) -> bool {
        self.booted().on_trial && self.booted().slot == self.record().standing.slot
    }

    pub(crate) fn used_up(&self, job: &Job) -> bool {
        let tally = self.record().standing.tally.as_ref();
        tally.is_some_and(|t| t.manifest == job.digest && t.changes > self.policy().max_changes)
    }

    // Answers.

    pub(crate) fn on_checked(&mut self, assigned: Option<Assigned>, poll_after_ms: u64) {
        let (min, max) = (self.policy().poll_min_ms, self.policy().poll_max_ms);
        self.volatile.due_ms = self.now.boottime_ms.saturating_add(poll_after_ms.clamp(min, max.max(min)));
        self.volatile.failures = 0;
        self.volatile.trial.contacted = true;
        match self.record().state.clone() {
            State::Checking => self.consider(assigned),
            State::Trial { job, .. } => {
                let withdrawn = assigned
                    .is_some_and(|a| a.reference == job.assignment && a.word == AssignmentWord::Withdrawn);
                if withdrawn {
                    self.revert(job, Revert::Withdrawn, None);
                }
            }
            State::Fetching { job, .. } | State::Staged { job } => self.reconsider(job, assigned),
            _ => {}
        }
    }

    /// A check while an assignment is under way, before Arming.
    fn reconsider(&mut self, mut job: Job, assigned: Option<Assigned>) {
        let Some(assigned) = assigned else {
            self.drop_job(&job, "no-longer-assigned");
            return;
        };
        let same = assigned.reference == job.assignment;
        if !same && !newer(assigned.reference, job.assignment) {
            return;
        }
        if assigned.word == AssignmentWord::Withdrawn {
            self.drop_job(&job, "withdrawn");
            return;
        }
        // What cleared the way for the older assignment does not clear it for this one.
        let takes_over = || {
            let admitted = admit(&self.record().standing, self.policy(), &assigned);
            assigned.digest == job.digest && admitted.is_ok()
        };
        if !same && !takes_over() {
            self.drop_job(&job, "superseded");
            self.consider(Some(assigned));
            return;
        }
        let lease = (assigned.word == AssignmentWord::Active)
            .then(|| self.now.boottime_ms.saturating_add(assigned.lease_ms));
        self.volatile.lease_until_ms = lease;
        if !same {
            job.assignment = assigned.reference;
            match self.record().state.clone() {
                State::Fetching { artefact, sources, .. } => {
                    self.set_state(State::Fetching { job, artefact, sources });
                }
                _ => self.set_state(State::Staged { job }),
            }
        }
    }

    /// A check with nothing under way.
    fn consider(&mut self, assigned: Option<Assigned>) {
        self.set_state_unwritten(State::Idle);
        let Some(assigned) = assigned.filter(|a| a.word == AssignmentWord::Active) else { return };
        let standing = &self.record().standing;
        if standing.ended.as_ref().is_some_and(|e| !newer(assigned.reference, e.assignment)) {
            return;
        }
        if standing.running.manifest == Some(assigned.digest) {
            self.end_assignment(&assigned, Outcome::Confirmed, None);
            return;
        }
        if let Err(refusal) = admit(standing, self.policy(), &assigned) {
            let outcome = Outcome::Refused(refusal.code().to_owned());
            self.end_assignment(&assigned, outcome, Some(refusal.to_string()));
            return;
        }
        self.accept(assigned);
    }

    fn accept(&mut self, assigned: Assigned) {
        if quarantined(&self.record().standing, &assigned).is_some() {
            // The entry stays until a commit: it was cleared for this assignment, not for all that follow.
            self.record_mut().standing.tally = None;
            self.note(Note::QuarantineCleared { manifest: assigned.digest });
        }
        let full_bytes = assigned.manifest.artefacts.iter().fold(0u64, |sum, a| sum.saturating_add(a.length));
        let job = Job {
            assignment: assigned.reference,
            digest: assigned.digest,
            manifest: assigned.manifest,
            target: self.booted().slot.other(),
            transfer: Transfer { codec: "full".to_owned(), bytes: 0, full_bytes },
            wrong: 0,
        };
        self.volatile.marked_bad = false;
        self.volatile.hold_ms = self.now.boottime_ms;
        self.set_state(State::Planning { job: job.clone() });
        self.report_job(&job, Progress::Accepted, None);
    }

    pub(crate) fn on_check_failed(&mut self, failure: CheckFailure) {
        self.note(Note::CheckFailed(failure.clone()));
        if failure == CheckFailure::CertificateExpired {
            self.start(Effect::RecoverIdentity, Awaited::Identity);
            return;
        }
        let backoff = self.backoff_ms();
        let wait_ms = match failure {
            CheckFailure::Busy { retry_after_ms: Some(ms) } => ms.clamp(backoff, self.policy().poll_max_ms),
            _ => backoff,
        };
        self.volatile.due_ms = self.now.boottime_ms.saturating_add(wait_ms);
        if self.record().state == State::Checking {
            self.set_state_unwritten(State::Idle);
        }
    }

    pub(crate) fn on_surveyed(&mut self, survey: &Survey) {
        let State::Planning { job } = self.record().state.clone() else { return };
        match sources(&job.manifest, survey, self.policy().ram_bytes) {
            Ok(sources) => {
                // From here on the target's old content is gone.
                self.record_mut().standing.previous = None;
                self.volatile.marked_bad = false;
                let mut job = job;
                job.transfer.codec = codec(&sources);
                self.set_state(State::Fetching { job: job.clone(), artefact: 0, sources });
                self.report_job(&job, Progress::Fetching, None);
            }
            Err(cannot) => self.fail_job(cannot.code(), Some(cannot.to_string())),
        }
    }

    pub(crate) fn on_marked_bad(&mut self) {
        self.volatile.marked_bad = true;
        if let State::Arming { job } = self.record().state.clone() {
            self.set_state(State::Verifying { job });
        }
    }

    pub(crate) fn on_not_marked_bad(&mut self, detail: String) {
        match self.record().state.clone() {
            State::Arming { job } => self.revert(job, Revert::NotArmed, Some(detail)),
            _ => self.fail_job("boot-loader", Some(detail)),
        }
    }

    pub(crate) fn on_fetch_ended(&mut self, fetched: Fetched) {
        let State::Fetching { mut job, artefact, mut sources } = self.record().state.clone() else { return };
        job.transfer.bytes = job.transfer.bytes.saturating_add(fetched.bytes);
        let failure = match fetched.end {
            FetchEnd::Yielded => {
                self.set_state_unwritten(State::Fetching { job, artefact, sources });
                return;
            }
            FetchEnd::Whole => {
                self.volatile.failures = 0;
                self.set_state(State::Fetching { job, artefact: artefact + 1, sources });
                return;
            }
            FetchEnd::Failed(failure) => failure,
        };
        let by_delta = matches!(sources.get(artefact), Some(Source::Delta { .. }));
        match failure {
            FetchFailure::Offline { retry_after_ms } => {
                let backoff = self.backoff_ms();
                let wait_ms = retry_after_ms.unwrap_or(0).clamp(backoff, self.policy().poll_max_ms);
                self.volatile.hold_ms = self.now.boottime_ms.saturating_add(wait_ms);
                self.set_state_unwritten(State::Fetching { job, artefact, sources });
                return;
            }
            FetchFailure::Gone if by_delta => self.note(Note::DeltaGivenUp { detail: "gone".to_owned() }),
            FetchFailure::Gone => return self.fail_job("artefact-gone", None),
            FetchFailure::NoSpace { detail } => return self.fail_job("disk-full", Some(detail)),
            FetchFailure::DeltaBad { detail } => self.note(Note::DeltaGivenUp { detail }),
            FetchFailure::DigestMismatch { detail } if job.wrong >= self.policy().digest_retries => {
                return self.fail_job("digest-mismatch", Some(detail));
            }
            FetchFailure::Storage { detail } if job.wrong >= self.policy().digest_retries => {
                return self.fail_job("storage-failed", Some(detail));
            }
            FetchFailure::DigestMismatch { detail } | FetchFailure::Storage { detail } => {
                self.note(Note::Failed { what: "fetch", detail });
            }
        }
        // The whole artefact, then, and a bounded number of times.
        job.wrong += u32::from(!by_delta);
        let bytes = job.manifest.artefacts.get(artefact).map_or(0, |a| a.length);
        if let Some(source) = sources.get_mut(artefact) {
            *source = Source::Full { bytes };
        }
        job.transfer.codec = codec(&sources);
        self.set_state(State::Fetching { job, artefact, sources });
    }

    pub(crate) fn on_verified(&mut self) {
        let State::Verifying { job } = self.record().state.clone() else { return };
        self.volatile.lease_until_ms = None;
        self.volatile.due_ms = self.now.boottime_ms;
        self.set_state(State::Staged { job: job.clone() });
        self.report_job(&job, Progress::Staged, None);
    }

    pub(crate) fn on_verify_failed(&mut self, detail: String) {
        let State::Verifying { mut job } = self.record().state.clone() else { return };
        if job.wrong >= self.policy().digest_retries {
            self.fail_job("digest-mismatch", Some(detail));
            return;
        }
        self.note(Note::Failed { what: "verify", detail });
        job.wrong += 1;
        self.set_state(State::Planning { job });
    }

    // Ends.

    /// Lets go of an assignment that never armed; nothing is held against its release.
    fn drop_job(&mut self, job: &Job, code: &str) {
        self.note(Note::NotInstalled { code: code.to_owned() });
        self.report(job.assignment, Progress::Idle, None, Some(code.to_owned()));
        self.set_state(State::Idle);
    }

    /// The assignment under way cannot be installed.
    pub(crate) fn fail_job(&mut self, code: &str, detail: Option<String>) {
        if let Some(job) = self.record().state.job().cloned() {
            self.end_job(&job, Outcome::Failed(code.to_owned()), detail);
        }
    }

    pub(crate) fn end_job(&mut self, job: &Job, outcome: Outcome, detail: Option<String>) {
        self.end(job.assignment, job.digest, outcome, Some(job.transfer.clone()), detail);
    }

    fn end_assignment(&mut self, assigned: &Assigned, outcome: Outcome, detail: Option<String>) {
        self.end(assigned.reference, assigned.digest, outcome, None, detail);
    }

    /// The report is queued before the end is written: a crash between tells twice rather than never.
    fn end(
        &mut self,
        assignment: holdfast_proto::report::AssignmentRef,
        manifest: holdfast_proto::Digest,
        outcome: Outcome,
        transfer: Option<Transfer>,
        detail: Option<String>,
    ) {
        let progress = match &outcome {
            Outcome::Confirmed => Progress::Confirmed,
            Outcome::Refused(code) => Progress::Refused { code: code.clone() },
            Outcome::Failed(code) => Progress::Failed { code: code.clone() },
            Outcome::RolledBack(code) => Progress::RolledBack { code: code.clone() },
        };
        if let Outcome::Refused(code) | Outcome::Failed(code) = &outcome {
            self.note(Note::NotInstalled { code: code.clone() });
        }
        self.report(assignment, progress, transfer, detail.map(bounded));
        let standing = &mut self.record_mut().standing;
        // A service that assigns and withdraws in turns wears the attempts down all the same.
        if outcome != Outcome::RolledBack(Revert::Withdrawn.code().to_owned()) {
            standing.tally = None;
        }
        standing.ended = Some(Ended { assignment, manifest, outcome });
        self.set_state(State::Idle);
    }

    pub(crate) fn quarantine(&mut self, job: &Job, code: &str) {
        let quarantine = &mut self.record_mut().standing.quarantine;
        quarantine.retain(|q| q.manifest != job.digest);
        if quarantine.len() >= QUARANTINE_MAX {
            quarantine.remove(0);
        }
        quarantine.push(Quarantined {
            manifest: job.digest,
            release: job.manifest.release.clone(),
            assignment: job.assignment,
            code: code.to_owned(),
        });
        self.note(Note::Quarantined { manifest: job.digest, code: code.to_owned() });
    }
}

/// How a transfer is named in reports: by its delta codec if it has one.
fn codec(sources: &[Source]) -> String {
    let delta = sources.iter().find_map(|source| match source {
        Source::Delta { codec, .. } => Some(codec.clone()),
        _ => None,
    });
    delta.unwrap_or_else(|| "full".to_owned())
}
