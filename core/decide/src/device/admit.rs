//! May this assignment be begun? Floor, quarantine, hardware: pure questions over what stands.

use super::facts::Assigned;
use super::policy::Policy;
use super::state::{Quarantined, Refusal, Standing};
use holdfast_proto::manifest::{Manifest, ReleaseKind};
use holdfast_proto::report::AssignmentRef;
use std::collections::BTreeSet;

/// Format of manifests that this program reads.
const MANIFEST_SCHEMA: u32 = 1;

/// Judges an assignment by its manifest and by what this device has lived through.
pub(crate) fn admit(standing: &Standing, policy: &Policy, assigned: &Assigned) -> Result<(), Refusal> {
    let manifest = &assigned.manifest;
    if manifest.schema != MANIFEST_SCHEMA {
        return Err(Refusal::UnknownSchema { schema: manifest.schema });
    }
    if !manifest.hardware.contains(&policy.hardware) {
        return Err(Refusal::WrongHardware);
    }
    if manifest.kind != ReleaseKind::Firmware {
        return Err(Refusal::UnsupportedKind);
    }
    let names: BTreeSet<&str> = manifest.artefacts.iter().map(|a| a.name.as_str()).collect();
    if names.is_empty() || names.len() != manifest.artefacts.len() {
        return Err(Refusal::BadArtefacts);
    }
    if manifest.security_counter < standing.floor && !downgrades(standing, manifest) {
        return Err(Refusal::BelowFloor { counter: manifest.security_counter, floor: standing.floor });
    }
    let running = standing.running.security_counter;
    if let Some(wanted) = manifest.min_counter_from.filter(|&wanted| running < wanted) {
        return Err(Refusal::NotFromHere { wanted, running });
    }
    match quarantined(standing, assigned) {
        Some(entry) if !clears(assigned.reference, entry) => {
            Err(Refusal::Quarantined { attempt: entry.assignment.attempt })
        }
        _ => Ok(()),
    }
}

/// The quarantine entry of this manifest.
pub(crate) fn quarantined<'a>(standing: &'a Standing, assigned: &Assigned) -> Option<&'a Quarantined> {
    standing.quarantine.iter().find(|q| q.manifest == assigned.digest)
}

/// The floor once this manifest is committed. Only a manifest signed for exactly this floor lowers it.
pub(crate) fn floor_after(standing: &Standing, manifest: &Manifest) -> u64 {
    if downgrades(standing, manifest) {
        manifest.security_counter
    } else {
        standing.floor.max(manifest.security_counter)
    }
}

/// True when `a` was given out after `b`.
pub(crate) fn newer(a: AssignmentRef, b: AssignmentRef) -> bool {
    (a.epoch, a.sequence, a.attempt) > (b.epoch, b.sequence, b.attempt)
}

/// A newer sequence alone clears nothing: a service restored from a backup jumps ahead without meaning it.
fn clears(reference: AssignmentRef, entry: &Quarantined) -> bool {
    let failed = entry.assignment;
    (reference.epoch, reference.sequence) > (failed.epoch, failed.sequence)
        && reference.attempt > failed.attempt
}

fn downgrades(standing: &Standing, manifest: &Manifest) -> bool {
    manifest.allow_downgrade_from == Some(standing.floor)
}
