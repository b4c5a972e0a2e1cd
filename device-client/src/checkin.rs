//! Asking the service: the poll, the walk through the metadata, the assignment and the release that it names.
//!
//! Invariant: what is handed to the machine as assigned went through `holdfast_trust` in this very boot; a 304 confirms
//! it only while the timestamp that it was verified under lives.

use crate::clock;
use crate::error::DeviceError;
use crate::net::{Service, Site, is_told_expired};
use crate::trust::{Repository, Trust};
use holdfast_decide::device::{Assigned, CheckFailure, Job};
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::report::AssignmentRef;
use holdfast_proto::state::{NONCE_HEADER, StateAnswer};
use holdfast_proto::{Bytes, DeviceId};
use holdfast_trust::Verified;
use holdfast_trust::tuf::assignment::{Assignment, verify_assignment};
use holdfast_trust::tuf::release::{DeltaPlan, Release, ThisDevice, verify_delta, verify_release};
use holdfast_trust::tuf::{Trusted, TufError};

const PATH: &str = "/v1/state";

/// What the last poll and the last walk left.
#[derive(Default)]
pub(crate) struct Checkin {
    etag: Option<String>,
    nonce: Option<Bytes>,
    assigned: Option<Assigned>,
    poll_after_ms: u64,
    /// When the timestamp ends under which `assigned` was verified.
    trusted_until: i64,
    walked: Option<Walked>,
    /// The service answered over mutual TLS, whatever it said.
    contacted: bool,
}

/// Metadata that is trusted now, and the release found in it.
struct Walked {
    trusted: Trusted,
    release: Option<Verified<Release>>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) this: ThisDevice<'a>,
    /// What is under way here: an assignment that is withdrawn needs no release to be found again.
    pub(crate) job: Option<&'a Job>,
    /// No time before this is believed.
    pub(crate) floor: i64,
}

/// Why a check brought nothing.
#[derive(Debug)]
pub(crate) enum Unanswered {
    Failed(CheckFailure),
    /// The assignment was believed; the release that it names is not for this device.
    NotForUs {
        reference: AssignmentRef,
        code: String,
        detail: String,
    },
    /// The connection, TLS, or this device.
    Error(DeviceError),
}

impl From<DeviceError> for Unanswered {
    fn from(error: DeviceError) -> Self {
        Self::Error(error)
    }
}

impl From<TufError> for Unanswered {
    fn from(error: TufError) -> Self {
        Self::Error(error.into())
    }
}

impl Checkin {
    /// One check: what is assigned, and when the next one is welcome.
    ///
    /// # Errors
    /// Why it brought nothing.
    pub(crate) fn check(
        &mut self,
        service: &Service,
        trust: &mut Trust,
        asker: Asker<'_>,
    ) -> Result<(Option<Assigned>, u64), Unanswered> {
        if effective_now(trust, asker.floor) >= self.trusted_until {
            self.etag = None;
        }
        if let Some(answer) = self.poll(service)? {
            self.poll_after_ms = u64::from(answer.poll_after_s).saturating_mul(1000);
            let etag = self.etag.take();
            self.assigned = self.take(service, trust, asker, &answer)?;
            self.etag = etag;
        }
        Ok((self.assigned.clone(), self.poll_after_ms))
    }

    /// Whether the service was spoken to since the last time this was asked.
    pub(crate) fn take_contact(&mut self) -> bool {
        std::mem::take(&mut self.contacted)
    }

    /// A nonce given after everything that was sent until now.
    ///
    /// # Errors
    /// When the service gives none.
    pub(crate) fn fresh_nonce(&mut self, service: &Service) -> Result<Bytes, DeviceError> {
        let answer = service.call("GET", PATH, &[], &[])?;
        self.take_nonce(answer.header(NONCE_HEADER));
        self.nonce.clone().ok_or_else(|| DeviceError::unusable("the service gave no nonce"))
    }

    /// The newest nonce.
    pub(crate) fn nonce(&self) -> Option<&Bytes> {
        self.nonce.as_ref()
    }

    /// The next poll asks for everything.
    pub(crate) fn begin_again(&mut self) {
        *self = Self { nonce: self.nonce.take(), ..Self::default() };
    }

    /// The signed delta from `base` to an artefact of the release under way, if one is offered.
    ///
    /// # Errors
    /// When the metadata cannot be walked, or no longer assigns the release.
    pub(crate) fn delta(
        &mut self,
        service: &Service,
        trust: &mut Trust,
        asker: Asker<'_>,
        artefact: &str,
        base: holdfast_proto::Digest,
    ) -> Result<Option<Verified<DeltaPlan>>, Unanswered> {
        if self.walked.as_ref().is_none_or(|walked| walked.release.is_none()) {
            self.begin_again();
            self.check(service, trust, asker)?;
        }
        let Some(Walked { trusted, release: Some(release) }) = &mut self.walked else { return Ok(None) };
        if asker.job.is_some_and(|job| job.digest != release.manifest_sha256) {
            return Ok(None);
        }
        Ok(verify_delta(trusted, release, artefact, base, trust, &mut Repository { service })?)
    }

    /// None: nothing new.
    fn poll(&mut self, service: &Service) -> Result<Option<StateAnswer>, Unanswered> {
        let condition = self.etag.clone().map(|etag| ("if-none-match", etag));
        let answer = service.ask("GET", PATH, condition.as_slice(), &[])?;
        self.contacted = true;
        self.take_nonce(answer.header(NONCE_HEADER));
        match answer.status {
            // Only what was asked for: nothing is "as before" for one who knows nothing.
            304 if self.etag.is_some() => Ok(None),
            200 => {
                self.etag = answer.header("etag").map(str::to_owned);
                Ok(Some(answer.json(PATH)?))
            }
            429 | 503 => {
                Err(Unanswered::Failed(CheckFailure::Busy { retry_after_ms: answer.retry_after_ms() }))
            }
            _ => Err(answer.refusal(PATH).into()),
        }
    }

    fn take_nonce(&mut self, header: Option<&str>) {
        self.nonce = header.and_then(Bytes::from_base64).or(self.nonce.take());
    }

    /// The walk, and what the assignment in the answer names.
    fn take(
        &mut self,
        service: &Service,
        trust: &mut Trust,
        asker: Asker<'_>,
        answer: &StateAnswer,
    ) -> Result<Option<Assigned>, Unanswered> {
        self.walked = None;
        let mut source = Repository { service };
        let build_time = clock::BUILD_TIME.max(asker.floor);
        let mut trusted = trust.refresh(&mut source, build_time, clock::synchronised())?;
        trust.adopt_documents(&mut trusted, &mut source)?;
        self.trusted_until = trusted.timestamp().map_or(0, |timestamp| timestamp.expires.as_second());
        let mut walked = Walked { trusted, release: None };
        let assigned = match &answer.assignment {
            None => None,
            Some(envelope) => Some(assigned(&mut walked, &mut source, trust, asker, envelope)?),
        };
        self.walked = Some(walked);
        Ok(assigned)
    }
}

fn assigned(
    walked: &mut Walked,
    source: &mut Repository<'_>,
    trust: &mut Trust,
    asker: Asker<'_>,
    envelope: &[u8],
) -> Result<Assigned, Unanswered> {
    let signers =
        trust.state().assignment_keys().ok_or(TufError::Absent { name: "keys/assignment.json".into() })?;
    let seen = trust.state().assignment;
    let assignment = verify_assignment(envelope, &signers, asker.device, seen, walked.trusted.now())?;
    trust.note_assignment(&assignment)?;
    let reference = reference(&assignment);
    // What is taken back need not be found any more: a release may be yanked and withdrawn at once.
    let job = asker.job.filter(|job| job.digest == assignment.manifest_sha256);
    if let Some(job) = job.filter(|_| assignment.body.state != AssignmentWord::Active) {
        return Ok(put(&assignment, job.manifest.clone(), job.digest));
    }
    let release = match verify_release(&mut walked.trusted, &assignment, asker.this, trust, source) {
        Ok(release) => release,
        Err(error) if error.is_transport() || is_about_metadata(&error) => return Err(error.into()),
        Err(error) => {
            let (code, detail) = (error.code().to_owned(), error.to_string());
            return Err(Unanswered::NotForUs { reference, code, detail });
        }
    };
    let assigned = put(&assignment, release.manifest.clone(), release.manifest_sha256);
    walked.release = Some(release);
    Ok(assigned)
}

/// A role on the way was refused: that says nothing of the release.
fn is_about_metadata(error: &TufError) -> bool {
    matches!(
        error,
        TufError::Metadata { .. }
            | TufError::Rollback { .. }
            | TufError::Store { .. }
            | TufError::KeyTwice { .. }
    )
}

fn reference(assignment: &Assignment) -> AssignmentRef {
    let body = &assignment.body;
    AssignmentRef { epoch: body.epoch, sequence: body.sequence, attempt: body.attempt }
}

fn put(
    assignment: &Assignment,
    manifest: holdfast_proto::manifest::Manifest,
    digest: holdfast_proto::Digest,
) -> Assigned {
    Assigned {
        reference: reference(assignment),
        word: assignment.body.state,
        lease_ms: assignment.body.lease_s.saturating_mul(1000),
        digest,
        manifest,
    }
}

/// The time of day as far as it is believed, Unix seconds.
pub(crate) fn effective_now(trust: &Trust, floor: i64) -> i64 {
    let signed = trust.state().signed_time.as_ref();
    holdfast_trust::tuf::time::effective_now(clock::BUILD_TIME.max(floor), clock::synchronised(), signed)
}

/// What the machine is told of a failure.
pub(crate) fn failure(error: &DeviceError) -> CheckFailure {
    match error {
        DeviceError::Tuf(TufError::ClockAhead { .. }) => CheckFailure::ClockAhead,
        DeviceError::Tuf(error) if error.is_transport() => CheckFailure::Offline,
        DeviceError::Tuf(error) => CheckFailure::Metadata { code: error.code().to_owned() },
        error if is_told_expired(error) => CheckFailure::CertificateExpired,
        DeviceError::Unreachable { .. } => CheckFailure::Offline,
        DeviceError::Refused(problem) if problem.code == "certificate-expired" => {
            CheckFailure::CertificateExpired
        }
        DeviceError::Refused(problem) => CheckFailure::Refused { code: problem.code.clone() },
        DeviceError::Status { status: 429 | 500..=599, .. } => CheckFailure::Busy { retry_after_ms: None },
        DeviceError::Status { status, .. } => CheckFailure::Refused { code: format!("http-{status}") },
        _ => CheckFailure::Refused { code: "not-understood".to_owned() },
    }
}

/// The site as trust state and blob say now.
pub(crate) fn is_outdated(site: &Site, trust: &Trust) -> bool {
    let known = crate::trust::known_by(trust);
    known.roots.is_some_and(|roots| !site.has_roots(&roots))
        || known.signed_time.is_some_and(|at| at > site.floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Site;
    use crate::testing::{BlobServer, Faults};

    #[test]
    fn any_answer_over_the_devices_connection_is_contact_and_no_answer_is_none() {
        let server = BlobServer::start();
        let mut checkin = Checkin::default();
        for status in [403, 503] {
            server.fail(Faults { status: Some(status), ..Faults::default() });
            assert!(checkin.poll(&server.service()).is_err());
            assert!(checkin.take_contact(), "{status}");
            assert!(!checkin.take_contact(), "told once");
        }
        // Nobody listens there, and whoever answered 304 to a question that was not asked said nothing.
        let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let nobody = Service::anonymous(&Site::of_test(1, root.cert.der().to_vec())).unwrap();
        assert!(checkin.poll(&nobody).is_err());
        assert!(!checkin.take_contact());
        server.fail(Faults { status: Some(304), ..Faults::default() });
        assert!(checkin.poll(&server.service()).is_err());
    }
}
