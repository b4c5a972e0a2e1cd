//! What is there, what is brought, whether it is well.

use super::Agent;
use super::contact::Parts;
use crate::checkin::{self, Unanswered};
use crate::fetch::Fetch;
use crate::health;
use crate::survey::{self, in_words};
use holdfast_decide::device::{
    CheckFailure, Event, FetchEnd, FetchFailure, Fetched, HealthVerdict, Slot, Source,
};
use holdfast_proto::manifest::{Artefact, Manifest};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Pauses between tries to look up a delta while the service is away: then the whole artefact is planned.
const LOOK_UP_PAUSES_S: [u64; 4] = [1, 2, 4, 8];

impl Agent {
    pub(super) fn survey(&mut self, manifest: &Manifest, target: Slot) -> Event {
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
        for line in &lines {
            self.log.line(line);
        }
        surveyed.map_or_else(|error| Event::SurveyFailed { detail: in_words(&error) }, Event::Surveyed)
    }

    pub(super) fn fetch(
        &mut self,
        artefact: &Artefact,
        source: &Source,
        target: Slot,
        until_ms: u64,
    ) -> Fetched {
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

    pub(super) fn health(&mut self, profile: Option<&str>, deadline_ms: u64) -> HealthVerdict {
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
}
