//! How to get the bytes: the cheapest signed way that fits, decided before anything is fetched.

use super::event::{ArtefactSurvey, Survey};
use super::state::Source;
use holdfast_proto::manifest::{Artefact, Manifest};

/// Codecs that this device can apply.
const CODECS: [&str; 3] = ["full", "bsdiff", "zstd_patch"];

/// Why a release cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CannotFetch {
    #[error("the survey lists {surveyed} artefacts, the manifest {named}")]
    SurveyDiffers { surveyed: usize, named: usize },
    #[error("this device has no place for artefact {name}")]
    UnknownArtefact { name: String },
    #[error("artefact {name} takes {needed} bytes, its place holds {room}")]
    NoRoom { name: String, needed: u64, room: u64 },
    #[error("the release takes {needed} bytes, {free} are free")]
    DiskFull { needed: u64, free: u64 },
}

impl CannotFetch {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::SurveyDiffers { .. } => "survey-failed",
            Self::UnknownArtefact { .. } => "unknown-artefact",
            Self::NoRoom { .. } => "no-room",
            Self::DiskFull { .. } => "disk-full",
        }
    }
}

/// One source per artefact, or why there is no way.
pub(crate) fn sources(
    manifest: &Manifest,
    survey: &Survey,
    ram_bytes: u64,
) -> Result<Vec<Source>, CannotFetch> {
    let (surveyed, named) = (survey.artefacts.len(), manifest.artefacts.len());
    if surveyed != named {
        return Err(CannotFetch::SurveyDiffers { surveyed, named });
    }
    let mut needed = 0u64;
    let mut sources = Vec::with_capacity(named);
    for (artefact, found) in manifest.artefacts.iter().zip(&survey.artefacts) {
        if found.unknown_name {
            return Err(CannotFetch::UnknownArtefact { name: artefact.name.clone() });
        }
        if let Some(room) = found.room_bytes.filter(|&room| room < artefact.length) {
            return Err(CannotFetch::NoRoom { name: artefact.name.clone(), needed: artefact.length, room });
        }
        let source = choose(artefact, found, ram_bytes);
        if source != Source::Present {
            needed = needed.saturating_add(artefact.length);
        }
        sources.push(source);
    }
    match survey.free_bytes {
        Some(free) if free < needed => Err(CannotFetch::DiskFull { needed, free }),
        _ => Ok(sources),
    }
}

/// The cheapest delta whose base we hold, whose output is the artefact and whose appetite we can feed; else all.
fn choose(artefact: &Artefact, found: &ArtefactSurvey, ram_bytes: u64) -> Source {
    if found.present {
        return Source::Present;
    }
    found
        .deltas
        .iter()
        .filter(|d| Some(d.base) == found.base && d.output == artefact.sha256)
        .filter(|d| d.ram_bytes <= ram_bytes && d.bytes < artefact.length)
        .filter(|d| CODECS.contains(&d.codec.as_str()))
        .min_by_key(|d| d.bytes)
        .map_or(Source::Full { bytes: artefact.length }, |d| Source::Delta {
            base: d.base,
            codec: d.codec.clone(),
            bytes: d.bytes,
            ram_bytes: d.ram_bytes,
        })
}

#[cfg(test)]
mod tests {
    use super::super::event::DeltaOffer;
    use super::*;
    use holdfast_proto::Digest;

    fn artefact() -> Artefact {
        Artefact { name: "rootfs".into(), length: 1000, sha256: Digest([2; 32]), block_root: Digest([9; 32]) }
    }

    fn found(deltas: Vec<DeltaOffer>) -> ArtefactSurvey {
        ArtefactSurvey {
            unknown_name: false,
            present: false,
            room_bytes: Some(1000),
            base: Some(Digest([1; 32])),
            deltas,
        }
    }

    fn offer(bytes: u64) -> DeltaOffer {
        DeltaOffer {
            base: Digest([1; 32]),
            output: Digest([2; 32]),
            codec: "bsdiff".into(),
            bytes,
            ram_bytes: 100,
        }
    }

    #[test]
    fn the_cheapest_fitting_delta_is_taken() {
        let source = choose(&artefact(), &found(vec![offer(300), offer(200), offer(400)]), 100);
        assert!(matches!(source, Source::Delta { bytes: 200, .. }));
    }

    #[test]
    fn a_delta_of_another_base_output_appetite_or_codec_is_never_taken() {
        let full = Source::Full { bytes: 1000 };
        let odd = [
            DeltaOffer { base: Digest([7; 32]), ..offer(1) },
            DeltaOffer { output: Digest([7; 32]), ..offer(1) },
            DeltaOffer { ram_bytes: 101, ..offer(1) },
            DeltaOffer { codec: "new".into(), ..offer(1) },
            DeltaOffer { bytes: 1000, ..offer(1) },
        ];
        for offer in odd {
            assert_eq!(choose(&artefact(), &found(vec![offer]), 100), full);
        }
        let baseless = ArtefactSurvey { base: None, ..found(vec![offer(1)]) };
        assert_eq!(choose(&artefact(), &baseless, 100), full);
    }

    #[test]
    fn space_is_counted_before_anything_is_fetched() {
        let manifest = super::super::tests::manifest("r2", 1, 2);
        let length = manifest.artefacts[0].length;
        let survey = |free, room, present| Survey {
            free_bytes: free,
            artefacts: vec![ArtefactSurvey { room_bytes: room, present, ..found(vec![]) }],
        };
        assert!(sources(&manifest, &survey(Some(length), Some(length), false), 0).is_ok());
        let full = sources(&manifest, &survey(Some(length - 1), None, false), 0).unwrap_err();
        assert_eq!(full, CannotFetch::DiskFull { needed: length, free: length - 1 });
        let small = sources(&manifest, &survey(None, Some(length - 1), false), 0).unwrap_err();
        assert_eq!(small.code(), "no-room");
        // What is there already takes no further space.
        assert!(sources(&manifest, &survey(Some(0), None, true), 0).is_ok());
        let none = Survey { free_bytes: None, artefacts: vec![] };
        assert_eq!(sources(&manifest, &none, 0).unwrap_err().code(), "survey-failed");
    }
}
