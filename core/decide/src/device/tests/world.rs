//! A device in memory: two slots, a boot loader that behaves like real ones, a medium, a service, a clock.
//!
//! The world checks the machine's invariants at every effect. Where it may choose (a crash, a lost link, a torn
//! fetch) it reads the next number of a tape; an empty tape means that nothing goes wrong.

use super::*;
use holdfast_proto::report::Progress;
use std::collections::{BTreeMap, VecDeque};

/// How a release behaves on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Good,
    FailsHealth,
    /// Hangs before the agent starts; a watchdog resets the device.
    DoesNotBoot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// Index of a release.
    pub(crate) release: usize,
    pub(crate) whole: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Loader {
    pub(crate) default: Slot,
    /// The slot to try, and how often.
    pub(crate) armed: Option<(Slot, u32)>,
}

pub(crate) struct World {
    pub(crate) activation: Activation,
    pub(crate) policy: Policy,
    pub(crate) releases: Vec<(Manifest, Nature)>,
    pub(crate) slots: BTreeMap<Slot, Content>,
    pub(crate) loader: Loader,
    pub(crate) running: Slot,
    pub(crate) boots: u64,
    pub(crate) now_ms: u64,
    pub(crate) journal: Option<Record>,
    pub(crate) assigned: Option<Assigned>,
    pub(crate) online: bool,
    pub(crate) tape: VecDeque<u8>,
    /// What the world remembers by itself, to hold the machine to it.
    pub(crate) floor: u64,
    pub(crate) rolled_back: BTreeMap<Digest, AssignmentRef>,
    pub(crate) reports: Vec<Progress>,
    pub(crate) log: Vec<String>,
    pub(crate) machine: Machine,
}

/// What carrying out an effect came to.
enum Turn {
    /// Go on; there may be an answer.
    Answer(Option<Event>),
    /// The program was started again.
    Restarted,
}

impl World {
    pub(crate) fn new(activation: Activation, releases: Vec<(Manifest, Nature)>, tape: Vec<u8>) -> Self {
        let policy = policy(activation);
        let now = Now { boottime_ms: 0, wall: Wall::Synchronised(1) };
        let booted = Booted {
            boot_id: "boot-0".to_owned(),
            slot: Slot::A,
            on_trial: false,
            other_tries: None,
            running: Some(installed(&releases[0].0)),
            other: None,
        };
        let floor = releases[0].0.security_counter;
        Self {
            activation,
            machine: Machine::resume(Saved::Nothing, booted, policy.clone(), now),
            policy,
            releases,
            slots: BTreeMap::from([(Slot::A, Content { release: 0, whole: true })]),
            loader: Loader { default: Slot::A, armed: None },
            running: Slot::A,
            boots: 0,
            now_ms: 0,
            journal: None,
            assigned: None,
            online: true,
            tape: tape.into(),
            floor,
            rolled_back: BTreeMap::new(),
            reports: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Takes up to `steps` effects or waits; true when the machine rests in Idle, its work done.
    pub(crate) fn run(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let Some(effect) = self.machine.poll_effect() else {
                if self.at_rest() {
                    return true;
                }
                self.wait();
                continue;
            };
            match self.carry_out(effect) {
                Turn::Restarted | Turn::Answer(None) => {}
                Turn::Answer(Some(event)) => {
                    self.log.push(format!("  <- {}", short(&event)));
                    let now = self.now();
                    self.machine.handle(event, now);
                }
            }
            self.assert_there_is_a_way_home();
        }
        false
    }

    fn at_rest(&self) -> bool {
        let ended = self.machine.record().standing.ended.as_ref().map(|e| e.assignment);
        self.machine.record().state == State::Idle && ended == self.assigned.as_ref().map(|a| a.reference)
    }

    /// What runs now.
    pub(crate) fn running_release(&self) -> usize {
        self.slots[&self.running].release
    }

    /// The next choice, below `of`; 0 (all is well) when the tape has ended.
    fn choose(&mut self, of: u8) -> u8 {
        self.tape.pop_front().map_or(0, |n| n % of)
    }

    fn now(&self) -> Now {
        Now { boottime_ms: self.now_ms, wall: Wall::Synchronised(1) }
    }

    fn wait(&mut self) {
        let until = self.machine.poll_timeout().map_or(self.now_ms + 1000, |d| d.boottime_ms);
        self.now_ms = until.max(self.now_ms + 1);
        let now = self.now();
        let event = if self.choose(6) == 1 { Event::CheckWanted } else { Event::TimePassed };
        self.machine.handle(event, now);
    }

    fn carry_out(&mut self, effect: Effect) -> Turn {
        self.log.push(short_effect(&effect));
        self.now_ms += 10;
        // A crash before, or after, the effect took hold.
        match self.choose(12) {
            1 => return self.power_cut(),
            2 => return self.program_killed(),
            3 => {
                self.apply(effect);
                return self.power_cut();
            }
            4 => {
                self.apply(effect);
                return self.program_killed();
            }
            _ => {}
        }
        if effect == Effect::Reboot {
            return self.power_cut();
        }
        Turn::Answer(self.apply(effect))
    }

    fn apply(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Persist(record) => {
                let text = serde_json::to_string(&*record).unwrap();
                assert_eq!(
                    serde_json::from_str::<Record>(&text).unwrap(),
                    *record,
                    "a record reads back as it was"
                );
                assert!(record.standing.floor >= self.floor, "the floor fell");
                self.journal = Some(*record);
                None
            }
            Effect::Note(_) | Effect::Reboot => None,
            Effect::Report(facts) => {
                if let Progress::RolledBack { code } = &facts.progress {
                    let blamed = !matches!(code.as_str(), "no-contact" | "withdrawn" | "not-committed");
                    if let (Some(job), true) = (self.journal_job(), blamed) {
                        self.rolled_back.insert(job.digest, job.assignment);
                    }
                }
                self.reports.push(facts.progress);
                None
            }
            Effect::FetchMetadata => Some(self.check()),
            Effect::RecoverIdentity => Some(Event::IdentityRecovered),
            Effect::Survey { manifest, target } => Some(self.survey(&manifest, target)),
            Effect::MarkSlotBad { slot } => {
                assert_ne!(slot, self.loader.default, "the default slot is marked bad");
                if self.choose(8) == 1 {
                    return Some(Event::SlotNotMarkedBad { detail: "environment".into() });
                }
                self.loader.armed = self.loader.armed.filter(|(armed, _)| *armed != slot);
                Some(Event::SlotMarkedBad)
            }
            Effect::Fetch { artefact, target, .. } => Some(self.fetch(&artefact, target)),
            Effect::Verify { manifest, target, .. } => {
                self.assert_journal(&["verifying"]);
                let index = self.index_of(&manifest);
                let whole = self.slots.get(&target) == Some(&Content { release: index, whole: true });
                Some(if whole { Event::Verified } else { Event::VerifyFailed { detail: "digest".into() } })
            }
            Effect::Arm { slot } => Some(self.arm(slot)),
            Effect::Activate { slot } => {
                self.assert_journal(&["activating"]);
                self.assert_may_run(slot);
                self.running = slot;
                Some(Event::Activated)
            }
            Effect::RunHealth { .. } => {
                self.assert_journal(&["trial"]);
                let good = self.releases[self.running_release()].1 == Nature::Good;
                Some(Event::HealthEnded(match (good, self.choose(10)) {
                    (true, 1) => HealthVerdict::TimedOut { detail: "slow".into() },
                    (true, _) => HealthVerdict::Passed,
                    (false, _) => HealthVerdict::Failed { detail: "exit status 1".into() },
                }))
            }
            Effect::MarkGood { slot } => Some(self.mark_good(slot)),
            Effect::Revert { to } => {
                if self.choose(8) == 1 {
                    return Some(Event::RevertFailed { detail: "environment".into() });
                }
                self.loader = Loader { default: to, armed: None };
                if self.activation == Activation::Swap {
                    self.running = to;
                }
                Some(Event::RevertDone)
            }
        }
    }

    fn check(&mut self) -> Event {
        if !self.online {
            return Event::CheckFailed(CheckFailure::Offline);
        }
        match self.choose(10) {
            1 => Event::CheckFailed(CheckFailure::Offline),
            2 => Event::CheckFailed(CheckFailure::Metadata { code: "timestamp-expired".into() }),
            3 => Event::CheckFailed(CheckFailure::CertificateExpired),
            4 => Event::CheckFailed(CheckFailure::Busy { retry_after_ms: Some(30_000) }),
            _ => Event::Checked { assigned: self.assigned.clone().map(Box::new), poll_after_ms: 60_000 },
        }
    }

    fn survey(&mut self, manifest: &Manifest, target: Slot) -> Event {
        let index = self.index_of(manifest);
        let present = self.slots.get(&target) == Some(&Content { release: index, whole: true });
        let base = self.releases[self.running_release()].0.artefacts[0].sha256;
        let offer = DeltaOffer {
            base,
            output: manifest.artefacts[0].sha256,
            codec: "bsdiff".to_owned(),
            bytes: 100,
            ram_bytes: 1 << 20,
        };
        let free_bytes = (self.choose(12) == 1).then_some(10);
        let found = ArtefactSurvey {
            unknown_name: false,
            present,
            room_bytes: None,
            base: Some(base),
            deltas: vec![offer],
        };
        Event::Surveyed(Survey { free_bytes, artefacts: vec![found] })
    }

    fn fetch(&mut self, artefact: &Artefact, target: Slot) -> Event {
        self.assert_journal(&["fetching"]);
        assert_ne!(target, self.running, "the running slot is written to");
        assert_ne!(target, self.loader.default, "the default slot is written to");
        assert!(self.loader.armed.is_none_or(|(armed, _)| armed != target), "an armed slot is written to");
        let release = self.releases.iter().position(|(m, _)| m.artefacts[0] == *artefact).unwrap();
        let end = match self.choose(10) {
            1 => FetchEnd::Failed(FetchFailure::Offline { retry_after_ms: None }),
            2 => FetchEnd::Failed(FetchFailure::Gone),
            3 => FetchEnd::Failed(FetchFailure::DeltaBad { detail: "output".into() }),
            4 => FetchEnd::Failed(FetchFailure::DigestMismatch { detail: "block 0".into() }),
            5 => FetchEnd::Failed(FetchFailure::NoSpace { detail: "ENOSPC".into() }),
            6 => FetchEnd::Yielded,
            _ => FetchEnd::Whole,
        };
        // Rarely, what was written is not what the medium gives back.
        let whole = end == FetchEnd::Whole && self.choose(9) != 1;
        self.slots.insert(target, Content { release, whole });
        Event::FetchEnded(Fetched { bytes: 100, end })
    }

    fn arm(&mut self, slot: Slot) -> Event {
        self.assert_journal(&["arming", "committing"]);
        self.assert_may_run(slot);
        if self.choose(8) == 1 {
            return Event::ArmFailed { detail: "environment".into() };
        }
        let tries = match self.activation {
            Activation::Reboot(BootKind::Counted(n)) => n,
            _ => 1,
        };
        self.loader.armed = Some((slot, tries));
        Event::Armed
    }

    fn mark_good(&mut self, slot: Slot) -> Event {
        assert_eq!(slot, self.running, "only what runs is marked good");
        if self.choose(8) == 1 {
            return Event::NotMarkedGood { detail: "environment".into() };
        }
        let release = self.running_release();
        assert_eq!(self.releases[release].1, Nature::Good, "a release that fails its health check is kept");
        let journal = self.journal.as_ref().unwrap();
        let counter = self.releases[release].0.security_counter;
        assert!(journal.standing.floor >= counter, "the floor is durable before mark-good");
        self.floor = self.floor.max(counter);
        // What passed in the end is not held against it any more.
        self.rolled_back.remove(&self.releases[release].0.artefacts[0].sha256);
        self.loader = Loader { default: slot, armed: None };
        Event::MarkedGood
    }

    /// What must be true of a release that begins to run.
    fn assert_may_run(&self, slot: Slot) {
        let content = &self.slots[&slot];
        assert!(content.whole, "a slot that is not whole is armed");
        let (manifest, _) = &self.releases[content.release];
        assert!(manifest.security_counter >= self.floor, "a release below the floor is armed");
        let job = self.journal_job().expect("nothing is armed without a job in the journal");
        if let Some(failed) = self.rolled_back.get(&job.digest) {
            let asked = job.assignment.attempt > failed.attempt && job.assignment.sequence > failed.sequence;
            assert!(asked, "a rolled-back release is installed again:\n{}", self.log.join("\n"));
        }
    }

    fn assert_journal(&self, words: &[&str]) {
        let word = self.journal.as_ref().map(|r| r.state.word());
        assert!(
            word.is_some_and(|w| words.contains(&w)),
            "journal says {word:?}, the effect wants {words:?}"
        );
    }

    /// Invariant 4: the slot that an unattended device ends up in is whole and boots.
    fn assert_there_is_a_way_home(&self) {
        let content = &self.slots[&self.loader.default];
        assert!(content.whole && self.releases[content.release].1 != Nature::DoesNotBoot, "no slot to run");
    }

    fn journal_job(&self) -> Option<Job> {
        self.journal.as_ref().and_then(|r| r.state.job().cloned())
    }

    fn index_of(&self, manifest: &Manifest) -> usize {
        self.releases.iter().position(|(m, _)| m == manifest).unwrap()
    }

    fn power_cut(&mut self) -> Turn {
        self.boots += 1;
        self.now_ms = 1_000;
        if self.activation != Activation::Swap {
            self.running = self.pick();
        }
        self.log.push(format!("-- boot {} into {}", self.boots, self.running.as_str()));
        self.start();
        Turn::Restarted
    }

    /// The boot loader's choice, watchdog resets included.
    fn pick(&mut self) -> Slot {
        while let Some((slot, tries)) = self.loader.armed {
            let counted = matches!(self.activation, Activation::Reboot(BootKind::Counted(_)));
            if tries == 0 {
                break;
            }
            self.loader.armed = counted.then_some((slot, tries - 1));
            let content = &self.slots[&slot];
            if content.whole && self.releases[content.release].1 != Nature::DoesNotBoot {
                return slot;
            }
        }
        let content = &self.slots[&self.loader.default];
        assert!(content.whole && self.releases[content.release].1 != Nature::DoesNotBoot, "bricked");
        self.loader.default
    }

    fn program_killed(&mut self) -> Turn {
        self.log.push("-- program starts again".to_owned());
        self.start();
        Turn::Restarted
    }

    fn start(&mut self) {
        let held = |slot: Slot| {
            self.slots.get(&slot).filter(|c| c.whole).map(|c| installed(&self.releases[c.release].0))
        };
        let other = self.running.other();
        let booted = Booted {
            boot_id: format!("boot-{}", self.boots),
            slot: self.running,
            on_trial: self.running != self.loader.default,
            other_tries: self.loader.armed.filter(|(slot, _)| *slot == other).map(|(_, tries)| tries),
            running: held(self.running),
            other: held(other),
        };
        let saved = self.journal.clone().map_or(Saved::Nothing, |r| Saved::Record(Box::new(r)));
        self.machine = Machine::resume(saved, booted, self.policy.clone(), self.now());
    }
}

pub(crate) fn short(event: &Event) -> String {
    match event {
        Event::Checked { assigned: None, .. } => "checked: nothing".to_owned(),
        Event::Checked { assigned: Some(a), .. } => {
            format!("checked: {} ({:?}, sequence {})", a.manifest.release, a.word, a.reference.sequence)
        }
        Event::FetchEnded(f) => format!("fetch-ended: {:?}", f.end),
        Event::Surveyed(_) => "surveyed".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn short_effect(effect: &Effect) -> String {
    match effect {
        Effect::Persist(r) => format!("persist {} (floor {})", r.state.word(), r.standing.floor),
        Effect::Survey { manifest, target } => format!("survey {} for {}", manifest.release, target.as_str()),
        Effect::Fetch { artefact, source, target, .. } => {
            let how = match source {
                Source::Present => "nothing".to_owned(),
                Source::Full { bytes } => format!("full, {bytes} bytes"),
                Source::Delta { codec, bytes, .. } => format!("{codec}, {bytes} bytes"),
            };
            format!("fetch {} into {}: {how}", artefact.name, target.as_str())
        }
        Effect::Verify { manifest, target, .. } => {
            format!("verify {} in {}", manifest.release, target.as_str())
        }
        Effect::RunHealth { profile, .. } => format!("run health {}", profile.as_deref().unwrap_or("-")),
        Effect::Report(f) => {
            let evidence = if f.evidence { " with evidence" } else { "" };
            format!("report {:?}{evidence}", f.progress)
        }
        Effect::Note(note) => format!("note {note:?}"),
        Effect::MarkSlotBad { slot } => format!("mark {} bad", slot.as_str()),
        Effect::MarkGood { slot } => format!("mark {} good", slot.as_str()),
        Effect::Arm { slot } => format!("arm {}", slot.as_str()),
        Effect::Activate { slot } => format!("activate {}", slot.as_str()),
        Effect::Revert { to } => format!("revert to {}", to.as_str()),
        Effect::FetchMetadata => "fetch metadata".to_owned(),
        Effect::RecoverIdentity => "recover identity".to_owned(),
        Effect::Reboot => "reboot".to_owned(),
    }
}
