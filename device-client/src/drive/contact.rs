//! Contact with the service: checks, first contact under a wrong clock, renewal and recovery.

use super::Agent;
use crate::checkin::{self, Asker, Checkin, Unanswered};
use crate::clock;
use crate::enroll::{self, Way};
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::keystore::Slot as KeySlot;
use crate::net::{Service, Site, is_certificate_refusal};
use crate::survey::in_words;
use crate::trust::{self, Trust};
use holdfast_decide::device::{Assigned, CheckFailure, Event, Record, ReportFacts};
use holdfast_proto::report::{AssignmentRef, Progress};
use holdfast_trust::tuf::release::ThisDevice;

/// What a question to the service needs beside who asks.
pub(super) struct Parts<'a> {
    pub(super) checkin: &'a mut Checkin,
    pub(super) service: &'a Service,
    pub(super) trust: &'a mut Trust,
}

/// Between two tries of a renewal that does not succeed.
const RENEW_PAUSE_MS: u64 = 600_000;

impl Agent {
    pub(super) fn check(&mut self) -> Event {
        self.take_up_renewal();
        self.send_reports();
        let checked = match self.check_once() {
            Err(Unanswered::Error(error)) if is_certificate_refusal(&error) => self.first_contact(error),
            ended => ended,
        };
        if checkin::is_outdated(&self.site, &self.trust) {
            self.new_site();
        }
        self.reached = checked.is_ok();
        // Whether the certificate has ended is the service's to say: by a clock that is ahead it always has. After a
        // walk the clock is known to be none of those.
        if self.reached && checkin::effective_now(&self.trust, self.site.floor) >= self.identity.renew_at {
            self.renew();
        }
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
            self.report(facts);
            self.refused = Some(reference);
        }
        Event::CheckFailed(CheckFailure::Metadata { code })
    }

    fn renew(&mut self) {
        let now_ms = clock::boottime_ms();
        if now_ms < self.renew_after_ms {
            return;
        }
        self.renew_after_ms = now_ms.saturating_add(RENEW_PAUSE_MS);
        // Enrolment opens the TPM for itself.
        self.keys.release();
        match enroll::identify(&self.config, &self.blob, &self.site, Way::Renew) {
            Ok(identity) => self.identify_as(identity),
            Err(error) => self.log.line(&format!("the certificate was not renewed: {}", in_words(&error))),
        }
    }

    /// A renewal that was cut off: the certificate in use may be revoked already.
    fn take_up_renewal(&mut self) {
        match enroll::take_up(&self.config, &self.site, self.keys.as_ref()) {
            Ok(Some(identity)) => self.identify_as(identity),
            Ok(None) => {}
            Err(error) => self.log.line(&format!("a renewal waits to be taken up: {}", in_words(&error))),
        }
    }

    pub(super) fn recover(&mut self) -> Event {
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
    pub(super) fn ready(&mut self) -> Result<(), DeviceError> {
        if self.service.is_none() {
            self.service =
                Some(Service::as_device(&self.site, &self.identity, self.keys.as_ref(), KeySlot::Current)?);
        }
        Ok(())
    }

    /// Who asks, and what asking needs. [`Agent::ready`] comes first.
    pub(super) fn parts<'a>(&'a mut self, record: &'a Record) -> (Asker<'a>, Parts<'a>) {
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
}
