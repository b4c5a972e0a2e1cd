//! The loop: an effect out of the machine, an adapter, an event in. The only file that knows every adapter.
//!
//! Nothing is decided here. Invariant: an effect is carried out after everything before it, a Persist above all; when
//! that fails, the program stops and the next start takes up what is durable.

mod contact;
mod install;
mod tell;

use crate::boot::{self, BootLoader};
use crate::checkin::Checkin;
use crate::clock;
use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use crate::identity::Identity;
use crate::installer::{self, Installer};
use crate::journal::Journal;
use crate::keystore::{self, KeyStore};
use crate::log::Log;
use crate::meter::Meter;
use crate::net::{Service, Site};
use crate::outbox::Outbox;
use crate::survey::{self, in_words};
use crate::trust::{self, Trust};
use holdfast_decide::device::{Booted, Effect, Event, Machine, Now, Record, State};
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::report::AssignmentRef;
use std::rc::Rc;
use std::time::Duration;

/// How long the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until a reboot is wanted.
    Reboot,
    /// Until it would only wait: one check, and all that follows from it.
    Rest,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is under way.
    AtRest,
    /// The device shall reboot, and the agent start again.
    RebootWanted,
    /// Something is under way, or the service was not reached: it waits.
    Waiting,
}

/// Every adapter.
pub(crate) struct Agent {
    /// Held while this program is the agent.
    _lock: std::fs::File,
    config: Config,
    blob: DeviceBlob,
    identity: Identity,
    keys: Box<dyn KeyStore>,
    trust: Trust,
    site: Site,
    /// Made when it is needed, and anew when certificate or roots changed.
    service: Option<Service>,
    checkin: Checkin,
    journal: Journal,
    outbox: Outbox,
    installer: Rc<dyn Installer>,
    boot: Box<dyn BootLoader>,
    meter: Meter,
    log: Log,
    machine: Machine,
    reached: bool,
    /// On CLOCK_BOOTTIME.
    renew_after_ms: u64,
    /// Lines that the next report carries.
    to_tell: Vec<String>,
    refused: Option<AssignmentRef>,
}

/// `run`: opens everything and goes on where the journal says that the device stands.
///
/// # Errors
/// When something cannot be opened, or the journal cannot be written.
pub(crate) fn run(config: Config, until: Until) -> Result<Ended, DeviceError> {
    let mut agent = Agent::open(config)?;
    agent.drive(until)
}

impl Agent {
    fn open(config: Config) -> Result<Self, DeviceError> {
        let blob = config.read_blob()?;
        let identity = Identity::required(&config)?;
        let lock = files::lock(&config.state("agent.lock"))?;
        let keys = keystore::open(&config)?;
        let trust = trust::open(&config, &blob)?;
        let site = Site::knowing(&blob, trust::known_by(&trust))?;
        let (journal, saved) = Journal::open(&config.state("journal"))?;
        let outbox = Outbox::open(&config.state_dir)?;
        let (installer, boot): (Rc<dyn Installer>, _) =
            (installer::open(&config)?.into(), boot::open(&config)?);
        let booted = booted(boot.as_ref(), installer.as_ref())?;
        let seed = identity.device.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let policy = config.update.policy(boot.activation(), &blob.hardware, seed);
        let machine = Machine::resume(saved, booted, policy, clock::now(site.floor));
        let meter = Meter::open(
            config.state("link.json"),
            config.update.monthly_bytes,
            config.update.rate_bytes_per_s,
        );
        Ok(Self {
            _lock: lock,
            config,
            blob,
            identity,
            keys,
            trust,
            site,
            service: None,
            checkin: Checkin::default(),
            journal,
            outbox,
            installer,
            boot,
            meter,
            log: Log::default(),
            machine,
            reached: false,
            renew_after_ms: 0,
            to_tell: Vec::new(),
            refused: None,
        })
    }

    fn drive(&mut self, until: Until) -> Result<Ended, DeviceError> {
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                if effect == Effect::Reboot {
                    self.send_reports();
                    return Ok(Ended::RebootWanted);
                }
                if let Some(event) = self.carry_out(effect)? {
                    let now = self.now();
                    if self.checkin.take_contact() {
                        self.machine.handle(Event::Contacted, now);
                    }
                    self.machine.handle(event, now);
                }
            }
            self.tell_what_runs();
            self.send_reports();
            self.keys.release();
            let wake_ms = self.machine.poll_timeout().map_or(u64::MAX, |deadline| deadline.boottime_ms);
            let now_ms = clock::boottime_ms();
            if wake_ms > now_ms {
                if let Some(ended) = self.may_end(until) {
                    return Ok(ended);
                }
                // The machine says when; a minute at most, for a clock that is set meanwhile.
                std::thread::sleep(Duration::from_millis((wake_ms - now_ms).min(60_000)));
            }
            let now = self.now();
            self.machine.handle(Event::TimePassed, now);
        }
    }

    /// Whether `run --once` ends here: never in the middle of a trial.
    fn may_end(&self, until: Until) -> Option<Ended> {
        if until == Until::Reboot {
            return None;
        }
        match &self.machine.record().state {
            State::Trial { .. }
            | State::Committing { .. }
            | State::Reverting { .. }
            | State::Recovery { .. } => None,
            State::Idle if self.reached && self.outbox.is_empty() => Some(Ended::AtRest),
            _ => Some(Ended::Waiting),
        }
    }

    fn now(&self) -> Now {
        clock::now(self.site.floor)
    }

    /// Does one thing; what came of it, where an answer is awaited.
    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, DeviceError> {
        Ok(Some(match effect {
            Effect::Persist(record) => {
                self.persist(&record)?;
                return Ok(None);
            }
            Effect::Report(facts) => {
                self.report(*facts);
                return Ok(None);
            }
            Effect::Note(note) => {
                self.log.note(&note);
                return Ok(None);
            }
            // Taken by the loop.
            Effect::Reboot => return Ok(None),
            Effect::FetchMetadata => self.check(),
            Effect::RecoverIdentity => self.recover(),
            Effect::Survey { manifest, target } => self.survey(&manifest, target),
            Effect::MarkSlotBad { slot } => {
                let manifest = self.machine.record().state.job().map(|job| &job.manifest);
                let ended = self.boot.mark_bad(slot);
                let ended = ended.and_then(|()| survey::clear(self.installer.as_ref(), slot, manifest));
                ended.map_or_else(
                    |e| Event::SlotNotMarkedBad { detail: in_words(&e) },
                    |()| Event::SlotMarkedBad,
                )
            }
            Effect::Fetch { artefact, source, target, until_ms } => {
                Event::FetchEnded(self.fetch(&artefact, &source, target, until_ms))
            }
            Effect::Verify { manifest, digest, target } => {
                let ended = survey::verify(self.installer.as_ref(), &manifest, digest, target);
                ended.map_or_else(|detail| Event::VerifyFailed { detail }, |()| Event::Verified)
            }
            Effect::Arm { slot } => {
                let ended = self.boot.arm(slot);
                ended.map_or_else(|e| Event::ArmFailed { detail: in_words(&e) }, |()| Event::Armed)
            }
            Effect::Activate { slot } => {
                let ended = self.boot.activate(slot);
                ended.map_or_else(|e| Event::ActivateFailed { detail: in_words(&e) }, |()| Event::Activated)
            }
            Effect::RunHealth { profile, deadline_ms } => {
                Event::HealthEnded(self.health(profile.as_deref(), deadline_ms))
            }
            Effect::MarkGood { slot } => {
                let ended = self.boot.mark_good(slot);
                ended.map_or_else(|e| Event::NotMarkedGood { detail: in_words(&e) }, |()| Event::MarkedGood)
            }
            Effect::Revert { to } => {
                let ended = self.boot.revert(to);
                ended.map_or_else(|e| Event::RevertFailed { detail: in_words(&e) }, |()| Event::RevertDone)
            }
        }))
    }

    fn persist(&mut self, record: &Record) -> Result<(), DeviceError> {
        self.journal.write(record)?;
        let job = record.state.job().map(|job| format!(" {}", job.manifest.release)).unwrap_or_default();
        self.log.line(&format!("{}{job}", record.state.word()));
        Ok(())
    }
}

/// How this start found the device.
fn booted(boot: &dyn BootLoader, installer: &dyn Installer) -> Result<Booted, DeviceError> {
    let facts = boot.facts()?;
    let installed = |slot| installer.record(slot).map(|record| record.installed());
    Ok(Booted {
        running: installed(facts.slot),
        other: installed(facts.slot.other()),
        boot_id: facts.boot_id,
        slot: facts.slot,
        on_trial: facts.on_trial,
        other_tries: facts.other_tries,
    })
}
