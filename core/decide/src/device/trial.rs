//! From the first run of a release to its commit, or back.

use super::admit::floor_after;
use super::event::{Effect, HealthVerdict, Note};
use super::machine::{Awaited, Machine, REBOOTS_MAX, TrialFacts};
use super::policy::Activation;
use super::progress::bounded;
use super::state::{Job, Outcome, Revert, State, WayBack};
use holdfast_proto::report::Progress;

/// How often the boot loader is asked to remember a release before it is given up.
const MARK_GOOD_TRIES: u32 = 5;

impl Machine {
    /// The new release runs, for the first time or after another boot: each boot costs an attempt.
    pub(crate) fn enter_trial(&mut self, job: Job) {
        if !self.spend_trial_boot(&job) {
            self.revert(job, Revert::TooManyTrialBoots, None);
            return;
        }
        self.volatile.trial = TrialFacts::default();
        let attempts_left = self.policy().trial_boots.saturating_sub(self.trial_boots());
        let deadline_ms = self.now.boottime_ms.saturating_add(self.trial_length_ms());
        let boot_id = self.booted().boot_id.clone();
        self.set_state(State::Trial { job: job.clone(), boot_id, deadline_ms, attempts_left });
        self.report_job(&job, Progress::Trial, None);
    }

    pub(crate) fn advance_trial(&mut self, job: Job, deadline_ms: u64) -> bool {
        let now_ms = self.now.boottime_ms;
        let gate = self.policy().commit_gate;
        let healthy = self.volatile.trial.healthy || !gate.wants_health();
        let contacted = self.volatile.trial.contacted || gate.wants_contact_within_ms().is_none();
        if healthy && contacted && self.volatile.trial.asked {
            self.commit(job);
        } else if healthy && contacted {
            // A release withdrawn meanwhile is not kept. No answer is no reason to leave it. Where health alone decides
            // it comes first: who answers slowly must not keep a release that is not well.
            self.ask_in_trial();
        } else if !contacted && now_ms >= self.contact_by_ms(deadline_ms) {
            self.revert(job, Revert::NoContact, None);
        } else if now_ms >= deadline_ms {
            self.revert(job, Revert::HealthTimeout, None);
        } else if !contacted && !self.volatile.trial.asked {
            self.ask_in_trial();
        } else if !healthy {
            let profile = job.manifest.health_profile.clone();
            self.start(Effect::RunHealth { profile, deadline_ms }, Awaited::Health);
        } else if now_ms >= self.volatile.due_ms {
            self.ask_in_trial();
        } else {
            return false;
        }
        true
    }

    fn ask_in_trial(&mut self) {
        self.volatile.trial.asked = true;
        self.start(Effect::FetchMetadata, Awaited::Check);
    }

    /// When a trial that waits must be looked at again.
    pub(crate) fn trial_wakes_ms(&self, deadline_ms: u64) -> u64 {
        self.contact_by_ms(deadline_ms).min(self.volatile.due_ms.max(self.now.boottime_ms)).min(deadline_ms)
    }

    fn trial_length_ms(&self) -> u64 {
        self.policy().trial_ms.max(self.policy().commit_gate.wants_contact_within_ms().unwrap_or(0))
    }

    fn contact_by_ms(&self, deadline_ms: u64) -> u64 {
        match self.policy().commit_gate.wants_contact_within_ms() {
            None => deadline_ms,
            Some(within) => deadline_ms.saturating_sub(self.trial_length_ms()).saturating_add(within),
        }
    }

    /// The floor rises in the very record that permits mark-good.
    fn commit(&mut self, job: Job) {
        let floor = floor_after(&self.record().standing, &job.manifest);
        self.record_mut().standing.floor = floor;
        self.volatile.failures = 0;
        self.volatile.hold_ms = self.now.boottime_ms;
        self.set_state(State::Committing { job });
    }

    pub(crate) fn advance_committing(&mut self, job: &Job) -> bool {
        if self.booted().slot == job.target {
            self.start(Effect::MarkGood { slot: job.target }, Awaited::MarkGood);
        } else {
            self.start(Effect::Arm { slot: job.target }, Awaited::Arm);
        }
        true
    }

    /// Leaves a release that armed.
    pub(crate) fn revert(&mut self, job: Job, reason: Revert, detail: Option<String>) {
        self.volatile.failures = 0;
        self.volatile.hold_ms = self.now.boottime_ms;
        self.set_state(State::Reverting {
            job,
            reason,
            way: WayBack::default(),
            detail: detail.map(bounded),
        });
    }

    pub(crate) fn advance_reverting(&mut self, job: &Job, way: &WayBack) {
        if self.booted().slot == job.target && way.is_told_in(&self.booted().boot_id) {
            self.start(Effect::Reboot, Awaited::Reboot);
        } else {
            self.start(Effect::Revert { to: job.target.other() }, Awaited::Revert);
        }
    }

    pub(crate) fn advance_recovery(&mut self, way: &WayBack) {
        let home = self.record().standing.slot;
        if self.booted().slot == home {
            self.set_state(State::Idle);
        } else if !self.booted().on_trial {
            self.on_fell_back();
        } else if way.is_told_in(&self.booted().boot_id) {
            self.start(Effect::Reboot, Awaited::Reboot);
        } else {
            self.start(Effect::Revert { to: home }, Awaited::Revert);
        }
    }

    pub(crate) fn finish_reverted(&mut self, job: &Job, reason: Revert, detail: Option<String>) {
        let code = reason.code().to_owned();
        // What never ran was not rolled back.
        let outcome = match reason {
            Revert::NotArmed => Outcome::Failed(code),
            _ => Outcome::RolledBack(code),
        };
        self.end_job(job, outcome, detail);
    }

    // Answers.

    pub(crate) fn on_armed(&mut self) {
        match self.record().state.clone() {
            State::Arming { job } => self.set_state(State::Rebooting { job }),
            State::Committing { .. } => self.start(Effect::Reboot, Awaited::Reboot),
            _ => {}
        }
    }

    pub(crate) fn on_not_armed(&mut self, detail: String) {
        match self.record().state.clone() {
            State::Arming { job } | State::Activating { job } => {
                self.revert(job, Revert::NotArmed, Some(detail));
            }
            State::Committing { job } => self.revert(job, Revert::NotCommitted, Some(detail)),
            _ => {}
        }
    }

    pub(crate) fn on_activated(&mut self) {
        let State::Activating { job } = self.record().state.clone() else { return };
        self.booted_mut().slot = job.target;
        self.booted_mut().on_trial = true;
        self.enter_trial(job);
    }

    pub(crate) fn on_health(&mut self, verdict: HealthVerdict) {
        let State::Trial { job, .. } = self.record().state.clone() else { return };
        match verdict {
            HealthVerdict::Passed => self.volatile.trial.healthy = true,
            HealthVerdict::Failed { detail } => self.revert(job, Revert::HealthFailed, Some(detail)),
            HealthVerdict::TimedOut { detail } => self.revert(job, Revert::HealthTimeout, Some(detail)),
        }
    }

    pub(crate) fn on_marked_good(&mut self) {
        self.booted_mut().on_trial = false;
        let State::Committing { job } = self.record().state.clone() else { return };
        let standing = &mut self.record_mut().standing;
        standing.previous = Some(std::mem::replace(&mut standing.running, job.installed()));
        standing.slot = job.target;
        standing.quarantine.retain(|q| q.manifest != job.digest);
        self.end_job(&job, Outcome::Confirmed, None);
    }

    pub(crate) fn on_not_marked_good(&mut self, detail: String) {
        self.note(Note::Failed { what: "mark-good", detail: detail.clone() });
        let wait_ms = self.backoff_ms();
        self.volatile.hold_ms = self.now.boottime_ms.saturating_add(wait_ms);
        match self.record().state.clone() {
            State::Committing { job } if self.volatile.failures >= MARK_GOOD_TRIES => {
                self.revert(job, Revert::NotCommitted, Some(detail));
            }
            _ => {}
        }
    }

    pub(crate) fn on_reverted(&mut self) {
        let by_reboot = matches!(self.policy().activation, Activation::Reboot(_));
        match self.record().state.clone() {
            State::Reverting { job, reason, way, detail } => {
                if self.booted().slot != job.target || !by_reboot {
                    self.booted_mut().slot = job.target.other();
                    self.booted_mut().on_trial = false;
                    self.enter_reverted(job, reason, detail);
                } else {
                    let way = way.told(&self.booted().boot_id);
                    self.set_state(State::Reverting { job, reason, way, detail });
                    self.start(Effect::Reboot, Awaited::Reboot);
                }
            }
            State::Recovery { way } if by_reboot => {
                let way = way.told(&self.booted().boot_id);
                self.set_state(State::Recovery { way });
                self.start(Effect::Reboot, Awaited::Reboot);
            }
            State::Recovery { .. } => {
                self.booted_mut().slot = self.record().standing.slot;
                self.booted_mut().on_trial = false;
            }
            _ => {}
        }
    }

    fn enter_reverted(&mut self, job: Job, reason: Revert, detail: Option<String>) {
        if reason.quarantines() {
            self.quarantine(&job, reason.code());
        }
        self.record_mut().standing.previous = None;
        self.set_state(State::Reverted { job, reason, detail });
    }

    pub(crate) fn on_revert_failed(&mut self, detail: String) {
        self.note(Note::Failed { what: "revert", detail });
        let wait_ms = self.backoff_ms();
        self.volatile.hold_ms = self.now.boottime_ms.saturating_add(wait_ms);
        // A boot loader that cannot be written may still fall back by itself: so often, and no more.
        let by_reboot = matches!(self.policy().activation, Activation::Reboot(_));
        if by_reboot
            && self.volatile.failures > REBOOTS_MAX
            && let State::Reverting { job, reason, mut way, detail } = self.record().state.clone()
            && way.reboots < REBOOTS_MAX
        {
            way.reboots += 1;
            self.set_state(State::Reverting { job, reason, way, detail });
            self.start(Effect::Reboot, Awaited::Reboot);
        }
    }
}
