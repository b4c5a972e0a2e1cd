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
use std::os::unix::fs::MetadataExt as _;

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
    // A file with a second name may be the other slot's: it is written anew.
    let found = file.metadata().map_err(failed)?;
    if found.is_file() && found.nlink() > 1 {
        return Ok(false);
    }
    Ok(hash_prefix(&mut file, artefact.length).map_err(failed)? == artefact.sha256)
}

/// The slot's content is about to go: its record first, then what the release under way has no use for. Its room was
/// counted as free.
///
/// # Errors
/// When something stays.
pub(crate) fn clear(
    installer: &dyn Installer,
    slot: Slot,
    manifest: Option<&Manifest>,
) -> Result<(), DeviceError> {
    installer.drop_record(slot)?;
    let Some(manifest) = manifest else { return Ok(()) };
    let names: Vec<&str> = manifest.artefacts.iter().map(|artefact| artefact.name.as_str()).collect();
    installer.clear(slot, &names)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::testing::{SmallDisk, digest};
    use std::io::Write as _;
    use std::path::Path;

    /// The installer `file` on a disk of its own, and a release of one artefact.
    fn world(folder: &Path, artefact: &[u8]) -> (Box<dyn Installer>, Manifest) {
        let path = folder.join("device.toml");
        let text = "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob\"\nkeystore = \"file\"\n\
                    [slots]\ninstaller = \"file\"\nfolder = \"disk/app\"\n";
        crate::files::write(&path, text.as_bytes()).unwrap();
        std::fs::create_dir_all(folder.join("disk/app")).unwrap();
        let manifest = serde_json::from_value(serde_json::json!({
            "schema": 1, "release": "2", "version": "2", "hardware": ["m"], "kind": "firmware", "security_counter": 1,
            "artefacts": [{
                "name": "rootfs",
                "length": artefact.len(),
                "sha256": digest(artefact),
                "block_root": digest(artefact),
            }],
        }));
        (installer::open(&Config::read(&path).unwrap()).unwrap(), manifest.unwrap())
    }

    fn survey(installer: &dyn Installer, manifest: &Manifest) -> Survey {
        run(installer, manifest, Slot::B, &mut |_, _| None).unwrap()
    }

    #[test]
    fn the_room_that_a_survey_tells_is_there_once_the_version_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let _disk = SmallDisk::mount(&folder.path().join("disk"), "4m");
        let image = vec![7; 3 << 20];
        let (installer, manifest) = world(folder.path(), &image);
        let write = |name: &str, bytes: &[u8]| {
            installer.open_for_writing(Slot::B, name).and_then(|mut file| {
                let failed = |source| DeviceError::Write { path: name.into(), source };
                file.write_all(bytes).map_err(failed)
            })
        };
        write("old", &image).unwrap();
        let told = survey(installer.as_ref(), &manifest).free_bytes.unwrap();
        assert!(told >= image.len() as u64, "{told}: what is foreign counts as free");
        assert!(write("rootfs", &image).is_err(), "and is not yet");
        clear(installer.as_ref(), Slot::B, Some(&manifest)).unwrap();
        write("rootfs", &image).unwrap();
    }

    #[test]
    fn a_file_that_the_other_version_shares_is_not_present_and_a_fifo_stops_no_survey() {
        let folder = tempfile::tempdir().unwrap();
        let (installer, manifest) = world(folder.path(), b"image");
        installer.open_for_writing(Slot::B, "rootfs").unwrap().write_all(b"image").unwrap();
        assert!(survey(installer.as_ref(), &manifest).artefacts[0].present);
        let version = |slot: &str| folder.path().join("disk/app").join(slot);
        std::fs::create_dir(version("a")).unwrap();
        std::fs::hard_link(version("b").join("rootfs"), version("a").join("rootfs")).unwrap();
        for slot in ["a", "b"] {
            let made = std::process::Command::new("mkfifo").arg(version(slot).join("fifo")).status().unwrap();
            assert!(made.success());
            std::fs::create_dir(version(slot).join("folder")).unwrap();
        }
        let found = survey(installer.as_ref(), &manifest);
        assert!(!found.artefacts[0].present);
        assert_eq!(found.artefacts[0].base, Some(digest(b"image")));
    }
}
