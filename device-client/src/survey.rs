//! What there is for a release, and whether a slot holds it: read from the medium, decided elsewhere.

use crate::boot;
use crate::error::DeviceError;
use crate::installer::{self, Installer, Room, SlotRecord, hash_from_medium, hash_prefix};
use crate::journal::RESERVE_BYTES;
use holdfast_decide::device::{ArtefactSurvey, DeltaOffer, Slot, Survey};
use holdfast_proto::Digest;
use holdfast_proto::manifest::{Artefact, Manifest};
use holdfast_trust::Verified;
use holdfast_trust::tuf::release::DeltaPlan;

/// Surveys a release for a slot; `offered` looks up the signed delta from a base to an artefact.
///
/// # Errors
/// When the medium cannot be read.
pub(crate) fn run(
    installer: &dyn Installer,
    manifest: &Manifest,
    target: Slot,
    offered: &mut dyn FnMut(&Artefact, Digest) -> Option<Verified<DeltaPlan>>,
) -> Result<Survey, DeviceError> {
    let bases = boot::digests(installer, target.other())?;
    let mut artefacts = Vec::with_capacity(manifest.artefacts.len());
    for artefact in &manifest.artefacts {
        let base = bases.iter().find(|(name, _)| *name == artefact.name).map(|(_, digest)| Digest(*digest));
        artefacts.push(one(installer, artefact, target, base, offered)?);
    }
    let free = installer::free_bytes(installer, target)?;
    Ok(Survey { free_bytes: free.map(|free| free.saturating_sub(RESERVE_BYTES)), artefacts })
}

fn one(
    installer: &dyn Installer,
    artefact: &Artefact,
    target: Slot,
    base: Option<Digest>,
    offered: &mut dyn FnMut(&Artefact, Digest) -> Option<Verified<DeltaPlan>>,
) -> Result<ArtefactSurvey, DeviceError> {
    let room = installer.room(target, &artefact.name)?;
    if room == Room::Unknown {
        return Ok(ArtefactSurvey {
            unknown_name: true,
            present: false,
            room_bytes: None,
            base: None,
            deltas: Vec::new(),
        });
    }
    let present = holds(installer, artefact, target)?;
    let deltas = match base.filter(|_| !present).and_then(|base| offered(artefact, base)) {
        None => Vec::new(),
        Some(plan) => vec![DeltaOffer {
            base: plan.custom.base,
            output: plan.custom.output,
            codec: plan.custom.codec.clone(),
            bytes: plan.length,
            ram_bytes: plan.custom.ram_bytes,
        }],
    };
    let room_bytes = match room {
        Room::Bytes(bytes) => Some(bytes),
        Room::Unknown | Room::Grows => None,
    };
    Ok(ArtefactSurvey { unknown_name: false, present, room_bytes, base, deltas })
}

fn holds(installer: &dyn Installer, artefact: &Artefact, slot: Slot) -> Result<bool, DeviceError> {
    let Some(mut file) = installer.open(slot, &artefact.name)? else { return Ok(false) };
    let failed = |source| DeviceError::Read { path: artefact.name.clone().into(), source };
    Ok(hash_prefix(&mut file, artefact.length).map_err(failed)? == artefact.sha256)
}

/// Reads every artefact back from the medium; if all are right, the slot gets its install record.
///
/// # Errors
/// Which artefact is not what the manifest says, or what failed.
pub(crate) fn verify(
    installer: &dyn Installer,
    manifest: &Manifest,
    digest: Digest,
    slot: Slot,
) -> Result<(), String> {
    let lengths: Vec<(String, u64)> = manifest.artefacts.iter().map(|a| (a.name.clone(), a.length)).collect();
    installer.trim(slot, &lengths).map_err(|error| in_words(&error))?;
    for artefact in &manifest.artefacts {
        let mut file = installer.open_for_writing(slot, &artefact.name).map_err(|error| in_words(&error))?;
        let found = hash_from_medium(&mut file, artefact.length).map_err(|error| error.to_string())?;
        if found != artefact.sha256 {
            return Err(format!(
                "{} reads back as {found}, the manifest says {}",
                artefact.name, artefact.sha256
            ));
        }
    }
    installer.put_record(slot, &SlotRecord::of(manifest, digest)).map_err(|error| in_words(&error))
}

/// An error with its causes.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
