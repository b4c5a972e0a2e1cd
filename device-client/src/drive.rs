//! The loop: an effect out of the machine, an adapter, an event in. The only file that knows every adapter.
//!
//! Nothing is decided here. Invariant: an effect is carried out after everything before it, a Persist above all; when
//! that fails, the program stops and the next start takes up what is durable.

use crate::boot::{self, BootLoader};
use crate::checkin::{self, Asker, Checkin, Unanswered};
use crate::clock;
use crate::config::Config;
use crate::enroll::{self, Way};
use crate::error::DeviceError;
use crate::evidence::{self, Log as WithLog};
use crate::fetch::Fetch;
use crate::files;
use crate::health;
use crate::identity::Identity;
use crate::installer::{self, Installer};
use crate::journal::Journal;
use crate::keystore::{self, KeyStore, Slot as KeySlot};
use crate::log::Log;
use crate::meter::Meter;
use crate::net::{Service, Site, is_certificate_refusal};
use crate::outbox::Outbox;
use crate::survey::{self, in_words};
use crate::trust::{self, Trust};
use holdfast_decide::device::{
    Assigned, Booted, CheckFailure, Effect, Event, FetchEnd, FetchFailure, Fetched, HealthVerdict, Machine,
    Now, Record, ReportFacts, Slot, Source, State,
};
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::manifest::{Artefact, Manifest};
use holdfast_proto::report::{AssignmentRef, Progress, Report, TrustedVersions};
use holdfast_trust::tuf::release::ThisDevice;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Pauses between tries to look up a delta while the service is away: then the whole artefact is planned.
const LOOK_UP_PAUSES_S: [u64; 4] = [1, 2, 4, 8];
/// Cap of a report's detail, bytes.
const DETAIL_MAX_BYTES: usize = 4096;

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
            to_tell: Vec::new(),
            refused: None,
        })
    }

    fn drive(&mut self, until: Until) -> Result<Ended, DeviceError> {
        self.tell_what_runs()?;
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                if effect == Effect::Reboot {
                    self.send_reports();
                    return Ok(Ended::RebootWanted);
                }
                if let Some(event) = self.carry_out(effect)? {
                    let now = self.now();
                    self.machine.handle(event, now);
                }
            }
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
                self.report(*facts)?;
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
                let ended = self.boot.mark_bad(slot).and_then(|()| self.installer.drop_record(slot));
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

    // Contact.

    fn check(&mut self) -> Event {
        let now = checkin::effective_now(&self.trust, self.site.floor);
        if now >= self.identity.not_after {
            self.reached = false;
            return Event::CheckFailed(CheckFailure::CertificateExpired);
        }
        if now >= self.identity.renew_at {
            self.renew();
        }
        self.send_reports();
        let checked = match self.check_once() {
            Err(Unanswered::Error(error)) if is_certificate_refusal(&error) => self.first_contact(error),
            ended => ended,
        };
        if checkin::is_outdated(&self.site, &self.trust) {
            self.new_site();
        }
        self.reached = checked.is_ok();
        match checked {
            Ok((assigned, poll_after_ms)) => {
                Event::Checked { assigned: assigned.map(Box::new), poll_after_ms }
            }
            Err(Unanswered::Failed(failure)) => Event::CheckFailed(failure),
            Err(Unanswered::NotForUs { reference, code, detail }) => self.not_for_us(reference, code, detail),
            Err(Unanswered::Error(error)) => {
                self.log.line(&in_words(&error));
                Event::CheckFailed(checkin::failure(&error))
            }
        }
    }

    fn check_once(&mut self) -> Result<(Option<Assigned>, u64), Unanswered> {
        self.ready()?;
        let record = self.machine.record().clone();
        let (asker, parts) = self.parts(&record);
        let Parts { checkin, service, trust } = parts;
        checkin.check(service, trust, asker)
    }

    /// The service's certificate is not believed: old time, or old roots. What is signed may come from anyone.
    fn first_contact(&mut self, error: DeviceError) -> Result<(Option<Assigned>, u64), Unanswered> {
        self.log.line(&format!("{}: asking for newer roots and time", in_words(&error)));
        trust::refresh_from_anyone(&mut self.trust, &self.site)?;
        self.new_site();
        self.check_once()
    }

    fn new_site(&mut self) {
        if let Ok(site) = Site::knowing(&self.blob, trust::known_by(&self.trust)) {
            self.site = site;
            self.service = None;
        }
    }

    /// The release is none that this device may install: the operator hears of it once.
    fn not_for_us(&mut self, reference: AssignmentRef, code: String, detail: String) -> Event {
        self.log.line(&format!("the assigned release is refused ({code}): {detail}"));
        if self.machine.record().state.job().is_none() && self.refused != Some(reference) {
            let progress = Progress::Refused { code: code.clone() };
            let facts = ReportFacts {
                assignment: Some(reference),
                progress,
                transfer: None,
                detail: Some(detail),
                evidence: false,
            };
            if self.report(facts).is_ok() {
                self.refused = Some(reference);
            }
        }
        Event::CheckFailed(CheckFailure::Metadata { code })
    }

    fn renew(&mut self) {
        // Enrolment opens the TPM for itself.
        self.keys.release();
        match enroll::identify(&self.config, &self.blob, &self.site, Way::Renew) {
            Ok(identity) => self.identify_as(identity),
            Err(error) => self.log.line(&format!("the certificate was not renewed: {}", in_words(&error))),
        }
    }

    fn recover(&mut self) -> Event {
        self.keys.release();
        match enroll::identify(&self.config, &self.blob, &self.site, Way::Recover) {
            Ok(identity) => {
                self.identify_as(identity);
                Event::IdentityRecovered
            }
            Err(error) => {
                self.log.line(&format!("the identity was not recovered: {}", in_words(&error)));
                let retry_after_ms = match error {
                    DeviceError::Pending { retry_after_s, .. } => Some(u64::from(retry_after_s) * 1000),
                    _ => None,
                };
                Event::IdentityNotRecovered { retry_after_ms }
            }
        }
    }

    fn identify_as(&mut self, identity: Identity) {
        self.log.line(&format!("certificate until {}", identity.not_after));
        self.identity = identity;
        self.service = None;
    }

    /// The connection as this device, made if need be.
    fn ready(&mut self) -> Result<(), DeviceError> {
        if self.service.is_none() {
            self.service =
                Some(Service::as_device(&self.site, &self.identity, self.keys.as_ref(), KeySlot::Current)?);
        }
        Ok(())
    }

    /// Who asks, and what asking needs. [`Agent::ready`] comes first.
    fn parts<'a>(&'a mut self, record: &'a Record) -> (Asker<'a>, Parts<'a>) {
        let this = ThisDevice {
            hardware: &self.blob.hardware,
            channel: &self.blob.channel,
            floor: record.standing.floor,
        };
        let asker =
            Asker { device: &self.identity.device, this, job: record.state.job(), floor: self.site.floor };
        // Unwrap safety: ready() was called, and nothing in between lets go of it.
        let service = self.service.as_ref().expect("the service is ready");
        (asker, Parts { checkin: &mut self.checkin, service, trust: &mut self.trust })
    }

    // Installing.

    fn survey(&mut self, manifest: &Manifest, target: Slot) -> Event {
        if let Err(error) = self.ready() {
            return Event::SurveyFailed { detail: in_words(&error) };
        }
        let record = self.machine.record().clone();
        let (installer, mut lines) = (Rc::clone(&self.installer), Vec::new());
        let surveyed = {
            let (asker, Parts { checkin, service, trust }) = self.parts(&record);
            survey::run(installer.as_ref(), manifest, target, &mut |artefact, base| {
                for pause_s in LOOK_UP_PAUSES_S.into_iter().map(Some).chain([None]) {
                    match (checkin.delta(service, trust, asker, &artefact.name, base), pause_s) {
                        (Ok(plan), _) => return plan,
                        (Err(Unanswered::Error(error)), Some(pause_s))
                            if checkin::failure(&error) == CheckFailure::Offline =>
                        {
                            std::thread::sleep(Duration::from_secs(pause_s));
                        }
                        (Err(why), _) => {
                            lines.push(format!("no delta is looked up: {why:?}"));
                            return None;
                        }
                    }
                }
                None
            })
        };
        lines.iter().for_each(|line| self.log.line(line));
        surveyed.map_or_else(|error| Event::SurveyFailed { detail: in_words(&error) }, Event::Surveyed)
    }

    fn fetch(&mut self, artefact: &Artefact, source: &Source, target: Slot, until_ms: u64) -> Fetched {
        let nothing = |failure| Fetched { bytes: 0, end: FetchEnd::Failed(failure) };
        if let Err(error) = self.ready() {
            return nothing(FetchFailure::Storage { detail: in_words(&error) });
        }
        let ram_bytes = self.machine.policy().ram_bytes;
        let plan = match source {
            Source::Present => return Fetched { bytes: 0, end: FetchEnd::Whole },
            Source::Full { .. } => None,
            Source::Delta { base, .. } => {
                let record = self.machine.record().clone();
                let (asker, Parts { checkin, service, trust }) = self.parts(&record);
                match checkin.delta(service, trust, asker, &artefact.name, *base) {
                    Ok(Some(plan)) => Some(plan),
                    Ok(None) => return nothing(FetchFailure::Gone),
                    Err(why) => {
                        self.log.line(&format!("the delta cannot be looked up: {why:?}"));
                        return nothing(FetchFailure::Offline { retry_after_ms: None });
                    }
                }
            }
        };
        let now = checkin::effective_now(&self.trust, self.site.floor);
        // Unwrap safety: ready() above.
        let service = self.service.as_ref().expect("the service is ready");
        let fetch = Fetch {
            service,
            installer: self.installer.as_ref(),
            meter: &mut self.meter,
            target,
            until_ms,
            now,
        };
        let fetched = match &plan {
            Some(plan) => fetch.delta(artefact, plan, ram_bytes),
            None => fetch.full(artefact),
        };
        if let FetchEnd::Failed(FetchFailure::DeltaBad { detail }) = &fetched.end {
            self.to_tell
                .extend(detail.lines().filter(|line| line.starts_with("delta-bad:")).map(str::to_owned));
        }
        fetched
    }

    fn health(&mut self, profile: Option<&str>, deadline_ms: u64) -> HealthVerdict {
        self.keys.release();
        let name = profile.unwrap_or("default");
        let Some(commands) = self.config.health.get(name) else {
            return match profile {
                None => HealthVerdict::Passed,
                Some(name) => HealthVerdict::Failed { detail: format!("this device has no [health.{name}]") },
            };
        };
        let slot = self.machine.booted().slot;
        let mut environment = BTreeMap::from([("HOLDFAST_SLOT".to_owned(), slot.as_str().to_owned())]);
        if let Some(job) = self.machine.record().state.job() {
            environment.insert("HOLDFAST_RELEASE".to_owned(), job.manifest.release.to_string());
            for artefact in &job.manifest.artefacts {
                let name: String = artefact
                    .name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                    .collect();
                environment.insert(format!("HOLDFAST_LENGTH_{name}"), artefact.length.to_string());
                if let Some(path) = self.installer.path(slot, &artefact.name) {
                    environment.insert(format!("HOLDFAST_ARTEFACT_{name}"), path.display().to_string());
                }
            }
        }
        health::run(commands, &environment, deadline_ms)
    }

    // Telling.

    fn report(&mut self, facts: ReportFacts) -> Result<(), DeviceError> {
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
        self.outbox.push(report, at_sending, self.journal.reserve())
    }

    /// Once in each boot, while nothing is under way: the service plans deltas from what runs.
    fn tell_what_runs(&mut self) -> Result<(), DeviceError> {
        let (told, boot_id) = (self.config.state("told.json"), self.machine.booted().boot_id.clone());
        let last: Option<String> = files::read_json(&told).unwrap_or_default();
        let at_rest = matches!(self.machine.record().state, State::Idle | State::Checking);
        if !at_rest || last.as_ref() == Some(&boot_id) {
            return Ok(());
        }
        self.report(ReportFacts {
            assignment: None,
            progress: Progress::Idle,
            transfer: None,
            detail: None,
            evidence: false,
        })?;
        files::write_json(&told, &boot_id)
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
        let mut end = text.len().min(DETAIL_MAX_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        (!text.is_empty()).then_some(text)
    }

    /// Sends what waits; what the service does not take now waits on.
    fn send_reports(&mut self) {
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

/// What a question to the service needs beside who asks.
struct Parts<'a> {
    checkin: &'a mut Checkin,
    service: &'a Service,
    trust: &'a mut Trust,
}

/// How this start found the device.
fn booted(boot: &dyn BootLoader, installer: &dyn Installer) -> Result<Booted, DeviceError> {
    let facts = boot.facts()?;
    let installed = |slot| installer.record(slot).map(|record| record.map(|record| record.installed()));
    Ok(Booted {
        running: installed(facts.slot)?,
        other: installed(facts.slot.other())?,
        boot_id: facts.boot_id,
        slot: facts.slot,
        on_trial: facts.on_trial,
        other_tries: facts.other_tries,
    })
}
