//! The machine: what it holds, how it starts, how events reach the step that awaits them.

use super::event::{CheckFailure, Effect, Event, Note};
use super::facts::{Booted, Deadline, Installed, Now, Slot};
use super::policy::{Activation, BootKind, Policy};
use super::state::{Job, RECORD_SCHEMA, Record, Revert, Saved, Standing, State, Tally, WayBack};
use std::collections::{BTreeMap, VecDeque};

/// How often leaving a slot is attempted before what runs is taken as it is.
pub(crate) const REBOOTS_MAX: u32 = 3;
/// How long a reboot may take before it is asked for again, milliseconds.
const REBOOT_PATIENCE_MS: u64 = 120_000;

/// The update machine of one device.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    record: Record,
    booted: Booted,
    effects: VecDeque<Effect>,
    pub(crate) now: Now,
    /// The answer that is awaited.
    pub(crate) awaited: Option<Awaited>,
    pub(crate) volatile: Volatile,
}

/// What an effect under way will be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Check,
    Identity,
    Survey,
    MarkBad,
    Fetch,
    Verify,
    Arm,
    Reboot,
    Activate,
    Health,
    MarkGood,
    Revert,
}

/// What a restart forgets, on purpose: leases and waits are durations of one boot.
#[derive(Debug, Default)]
pub(crate) struct Volatile {
    /// When the next check is due; boot time. 0 is at once.
    pub(crate) due_ms: u64,
    /// When a failed step may be tried again; boot time.
    pub(crate) hold_ms: u64,
    /// Failures in a row, of contact or of a step.
    pub(crate) failures: u32,
    /// The lease ends then. Set by confirmations only, cleared on entering Staged.
    pub(crate) lease_until_ms: Option<u64>,
    /// The target was marked bad for this job.
    pub(crate) marked_bad: bool,
    pub(crate) trial: TrialFacts,
    /// Asked again by [`Event::TimePassed`] if the reboot does not come.
    pub(crate) reboot_by_ms: u64,
}

/// What this run of the program has seen of a trial.
#[derive(Debug, Default)]
pub(crate) struct TrialFacts {
    pub(crate) asked: bool,
    pub(crate) healthy: bool,
    pub(crate) contacted: bool,
}

impl Machine {
    /// Takes up where the journal and the boot loader say that the device stands.
    pub fn resume(saved: Saved, booted: Booted, policy: Policy, now: Now) -> Self {
        let (record, known) = match saved {
            Saved::Record(record) if record.schema == RECORD_SCHEMA => (*record, true),
            Saved::Nothing if !booted.on_trial => (first_record(&booted, State::Idle), true),
            _ => (first_record(&booted, State::Recovery { way: WayBack::default() }), false),
        };
        let mut machine = Self {
            policy,
            record,
            booted,
            effects: VecDeque::new(),
            now,
            awaited: None,
            volatile: Volatile::default(),
        };
        if !known {
            machine.note(Note::JournalNotUnderstood);
        }
        machine.on_booted();
        machine.advance();
        machine
    }

    /// Takes in a fact. Total: what does not fit the state is noted and changes nothing.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.now = now;
        match event {
            Event::TimePassed => self.on_time_passed(),
            Event::CheckWanted => {
                self.volatile.due_ms = now.boottime_ms;
                self.volatile.hold_ms = now.boottime_ms;
            }
            Event::Contacted => self.volatile.trial.contacted = true,
            answer => self.on_answer(answer),
        }
        self.advance();
    }

    /// The next thing to do; a Persist always comes before what it permits.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle(Event::TimePassed)`; None while an answer is awaited.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let boottime_ms = match (self.awaited, &self.record.state) {
            (Some(Awaited::Reboot), _) => self.volatile.reboot_by_ms,
            (Some(_), _) => return None,
            (None, State::Trial { deadline_ms, .. }) => self.trial_wakes_ms(*deadline_ms),
            (None, State::Idle) if self.unmarked_at_home() => self.volatile.due_ms.min(self.volatile.hold_ms),
            (None, State::Idle | State::Checking | State::Staged { .. }) => self.volatile.due_ms,
            (None, State::Fetching { .. }) => self.volatile.hold_ms.min(self.volatile.due_ms),
            (None, _) => self.volatile.hold_ms,
        };
        Some(Deadline { boottime_ms })
    }

    /// The journal record as it is now.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How the program found the device, kept up to date by what it did since.
    pub fn booted(&self) -> &Booted {
        &self.booted
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the service confirmed the assignment and that still holds.
    pub fn holds_lease(&self) -> bool {
        self.volatile.lease_until_ms.is_some_and(|until| self.now.boottime_ms < until)
    }

    fn on_time_passed(&mut self) {
        if self.awaited == Some(Awaited::Reboot) && self.now.boottime_ms >= self.volatile.reboot_by_ms {
            self.awaited = None;
        }
    }

    fn on_answer(&mut self, answer: Event) {
        let name = name(&answer);
        if self.awaited != answers(&answer) {
            self.note(Note::Unfitting { state: self.record.state.word(), event: name });
            return;
        }
        self.awaited = None;
        match answer {
            Event::Checked { assigned, poll_after_ms } => {
                self.on_checked(assigned.map(|a| *a), poll_after_ms);
            }
            Event::CheckFailed(failure) => self.on_check_failed(failure),
            Event::IdentityRecovered => self.volatile.due_ms = self.now.boottime_ms,
            Event::IdentityNotRecovered { retry_after_ms } => {
                self.on_check_failed(CheckFailure::Busy { retry_after_ms });
            }
            Event::Surveyed(survey) => self.on_surveyed(&survey),
            Event::SurveyFailed { detail } => self.fail_job("survey-failed", Some(detail)),
            Event::SlotMarkedBad => self.on_marked_bad(),
            Event::SlotNotMarkedBad { detail } => self.on_not_marked_bad(detail),
            Event::FetchEnded(fetched) => self.on_fetch_ended(fetched),
            Event::Verified => self.on_verified(),
            Event::VerifyFailed { detail } => self.on_verify_failed(detail),
            Event::Armed => self.on_armed(),
            Event::ArmFailed { detail } | Event::ActivateFailed { detail } => self.on_not_armed(detail),
            Event::Activated => self.on_activated(),
            Event::HealthEnded(verdict) => self.on_health(verdict),
            Event::MarkedGood => self.on_marked_good(),
            Event::NotMarkedGood { detail } => self.on_not_marked_good(detail),
            Event::RevertDone => self.on_reverted(),
            Event::RevertFailed { detail } => self.on_revert_failed(detail),
            Event::TimePassed | Event::CheckWanted | Event::Contacted => {}
        }
    }

    /// Lays the journal beside what the boot loader did.
    fn on_booted(&mut self) {
        let at_home = self.booted.slot == self.record.standing.slot;
        let state = self.record.state.clone();
        match state {
            State::Arming { job } | State::Rebooting { job } | State::Activating { job }
                if self.booted.slot == job.target =>
            {
                self.enter_trial(job);
            }
            State::Rebooting { job } => self.on_not_left(job),
            State::Arming { job } if self.booted.other_tries == Some(0) => {
                self.revert(job, Revert::BootFailed, None);
            }
            State::Activating { job } => self.set_state(State::Verifying { job }),
            State::Trial { job, boot_id, .. } => self.on_booted_in_trial(job, &boot_id),
            State::Committing { job } if self.booted.slot != job.target => self.on_not_kept(job),
            State::Reverting { job, way, .. }
                if self.booted.slot == job.target && way.is_barred(&self.booted.boot_id, REBOOTS_MAX) =>
            {
                self.settle_here("fallback-does-not-boot");
            }
            State::Recovery { way }
                if self.booted.on_trial && way.is_barred(&self.booted.boot_id, REBOOTS_MAX) =>
            {
                self.settle_here("fallback-does-not-boot");
            }
            State::Committing { .. } | State::Reverting { .. } | State::Recovery { .. } => {}
            _ if !at_home && self.booted.on_trial => {
                self.set_state(State::Recovery { way: WayBack::default() });
            }
            _ if !at_home => self.on_fell_back(),
            _ => {}
        }
    }

    /// Rebooting was written, and the old slot runs.
    fn on_not_left(&mut self, job: Job) {
        match self.booted.other_tries {
            // Still armed: the reboot itself was lost.
            Some(1..) if self.used_up(&job) => self.revert(job, Revert::TooManyChanges, None),
            Some(1..) => self.set_state(State::Rebooting { job }),
            Some(0) => self.revert(job, Revert::BootFailed, None),
            // Tried once and not up, or never written: an attempt is spent either way.
            None => self.try_again(job),
        }
    }

    fn on_booted_in_trial(&mut self, job: Job, boot_id: &str) {
        let same_boot = *boot_id == self.booted.boot_id;
        let counted = matches!(self.policy.activation, Activation::Reboot(BootKind::Counted(_)));
        if self.booted.slot == job.target {
            if !same_boot {
                self.enter_trial(job);
            }
        } else if counted {
            self.revert(job, Revert::BootFailed, None);
        } else if self.trial_boots() >= self.policy.trial_boots {
            self.revert(job, Revert::TooManyTrialBoots, None);
        } else {
            self.set_state(State::Verifying { job });
        }
    }

    /// The old slot runs although the new one passed its trial: to the same end, but only by a boot that can fail.
    fn on_not_kept(&mut self, job: Job) {
        if self.spend_trial_boot(&job) {
            self.set_state(State::Committing { job });
        } else {
            self.revert(job, Revert::BootFailed, None);
        }
    }

    fn try_again(&mut self, job: Job) {
        if self.spend_trial_boot(&job) && self.trial_boots() < self.policy.trial_boots {
            self.set_state(State::Verifying { job });
        } else {
            self.revert(job, Revert::BootFailed, None);
        }
    }

    /// The committed slot did not come up, and nothing was under way that explains it.
    pub(crate) fn on_fell_back(&mut self) {
        let standing = &mut self.record.standing;
        let (expected, booted) = (standing.slot, self.booted.slot);
        let held = self.booted.running.clone().or_else(|| standing.previous.take());
        standing.slot = booted;
        standing.running = held.unwrap_or_else(nothing_known);
        standing.previous = None;
        standing.ended = None;
        self.note(Note::FellBack { expected, booted });
        self.set_state(State::Idle);
    }

    /// Takes what runs as it is: the other slot does not come up.
    fn settle_here(&mut self, code: &'static str) {
        self.note(Note::Failed { what: "revert", detail: code.to_owned() });
        let job = self.record.state.job().cloned();
        let standing = &mut self.record.standing;
        standing.slot = self.booted.slot;
        standing.previous = None;
        standing.running = match (&job, self.booted.running.clone()) {
            (_, Some(installed)) => installed,
            (Some(job), None) => job.installed(),
            (None, None) => nothing_known(),
        };
        match job {
            Some(job) => self.end_job(&job, super::state::Outcome::Failed(code.to_owned()), None),
            None => self.set_state(State::Idle),
        }
    }

    // What steps stand on.

    pub(crate) fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    pub(crate) fn booted_mut(&mut self) -> &mut Booted {
        &mut self.booted
    }

    /// Enters a state and makes it durable before anything that it permits.
    pub(crate) fn set_state(&mut self, state: State) {
        if let Some(job) = state.job() {
            let tally = tally(&mut self.record.standing, job);
            tally.changes = tally.changes.saturating_add(1);
        }
        self.record.state = state;
        self.push(Effect::Persist(Box::new(self.record.clone())));
    }

    /// Enters a state that permits nothing and so needs no write.
    pub(crate) fn set_state_unwritten(&mut self, state: State) {
        self.record.state = state;
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.push(Effect::Note(note));
    }

    pub(crate) fn start(&mut self, effect: Effect, awaited: Awaited) {
        if awaited == Awaited::Reboot {
            self.volatile.reboot_by_ms = self.now.boottime_ms.saturating_add(REBOOT_PATIENCE_MS);
        }
        self.awaited = Some(awaited);
        self.push(effect);
    }

    pub(crate) fn trial_boots(&self) -> u32 {
        self.record.standing.tally.as_ref().map_or(0, |t| t.trial_boots)
    }

    /// Counts a boot of the target; false when none was left.
    pub(crate) fn spend_trial_boot(&mut self, job: &Job) -> bool {
        let limit = self.policy.trial_boots;
        let tally = tally(&mut self.record.standing, job);
        if tally.trial_boots >= limit {
            return false;
        }
        tally.trial_boots += 1;
        true
    }

    /// A wait that doubles with each failure in a row, spread over its second half.
    pub(crate) fn backoff_ms(&mut self) -> u64 {
        self.volatile.failures = self.volatile.failures.saturating_add(1);
        let base = self.policy.poll_min_ms.saturating_mul(1 << self.volatile.failures.min(16));
        let base = base.clamp(1, self.policy.poll_max_ms.max(1));
        base / 2 + spread(self.policy.jitter_seed, self.volatile.failures) % (base / 2 + 1)
    }
}

fn tally<'a>(standing: &'a mut Standing, job: &Job) -> &'a mut Tally {
    let fresh = Tally { manifest: job.digest, changes: 0, trial_boots: 0 };
    match &mut standing.tally {
        Some(tally) if tally.manifest == job.digest => {}
        other => *other = Some(fresh.clone()),
    }
    standing.tally.get_or_insert(fresh)
}

/// What is known without a journal: the slots' own install records. The floor is the highest counter among them.
fn first_record(booted: &Booted, state: State) -> Record {
    let counter = |i: &Option<Installed>| i.as_ref().map_or(0, |i| i.security_counter);
    let (slot, running, previous): (Slot, _, _) = if booted.on_trial {
        (booted.slot.other(), booted.other.clone(), None)
    } else {
        (booted.slot, booted.running.clone(), booted.other.clone())
    };
    let standing = Standing {
        floor: counter(&booted.running).max(counter(&booted.other)),
        slot,
        running: running.unwrap_or_else(nothing_known),
        previous,
        quarantine: Vec::new(),
        tally: None,
        ended: None,
    };
    Record { schema: RECORD_SCHEMA, standing, state }
}

fn nothing_known() -> Installed {
    Installed { release: None, manifest: None, security_counter: 0, artefacts: BTreeMap::new() }
}

/// splitmix64: spreads, hides nothing.
fn spread(seed: u64, n: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Which effect an event answers.
fn answers(event: &Event) -> Option<Awaited> {
    Some(match event {
        Event::Checked { .. } | Event::CheckFailed(_) => Awaited::Check,
        Event::IdentityRecovered | Event::IdentityNotRecovered { .. } => Awaited::Identity,
        Event::Surveyed(_) | Event::SurveyFailed { .. } => Awaited::Survey,
        Event::SlotMarkedBad | Event::SlotNotMarkedBad { .. } => Awaited::MarkBad,
        Event::FetchEnded(_) => Awaited::Fetch,
        Event::Verified | Event::VerifyFailed { .. } => Awaited::Verify,
        Event::Armed | Event::ArmFailed { .. } => Awaited::Arm,
        Event::Activated | Event::ActivateFailed { .. } => Awaited::Activate,
        Event::HealthEnded(_) => Awaited::Health,
        Event::MarkedGood | Event::NotMarkedGood { .. } => Awaited::MarkGood,
        Event::RevertDone | Event::RevertFailed { .. } => Awaited::Revert,
        Event::TimePassed | Event::CheckWanted | Event::Contacted => return None,
    })
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::TimePassed => "time-passed",
        Event::CheckWanted => "check-wanted",
        Event::Checked { .. } => "checked",
        Event::CheckFailed(_) => "check-failed",
        Event::Contacted => "contacted",
        Event::IdentityRecovered => "identity-recovered",
        Event::IdentityNotRecovered { .. } => "identity-not-recovered",
        Event::Surveyed(_) => "surveyed",
        Event::SurveyFailed { .. } => "survey-failed",
        Event::SlotMarkedBad => "slot-marked-bad",
        Event::SlotNotMarkedBad { .. } => "slot-not-marked-bad",
        Event::FetchEnded(_) => "fetch-ended",
        Event::Verified => "verified",
        Event::VerifyFailed { .. } => "verify-failed",
        Event::Armed => "armed",
        Event::ArmFailed { .. } => "arm-failed",
        Event::Activated => "activated",
        Event::ActivateFailed { .. } => "activate-failed",
        Event::HealthEnded(_) => "health-ended",
        Event::MarkedGood => "marked-good",
        Event::NotMarkedGood { .. } => "not-marked-good",
        Event::RevertDone => "revert-done",
        Event::RevertFailed { .. } => "revert-failed",
    }
}
