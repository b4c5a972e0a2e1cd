//! The machine against a simulated device, and row by row of its table.

mod boots;
mod bounds;
mod fixture;
mod golden;
mod properties;
mod table;
mod world;

use super::*;
use holdfast_proto::assignment::AssignmentWord;
use holdfast_proto::manifest::{Artefact, Manifest, ReleaseKind};
use holdfast_proto::report::AssignmentRef;
use holdfast_proto::{Digest, ReleaseName};
use std::collections::BTreeMap;

pub(crate) const HARDWARE: &str = "hub";

/// A release with one artefact; `mark` makes its digests.
pub(crate) fn manifest(release: &str, mark: u8, security_counter: u64) -> Manifest {
    Manifest {
        schema: 1,
        release: ReleaseName::new(release),
        version: release.to_owned(),
        hardware: vec![HARDWARE.to_owned()],
        kind: ReleaseKind::Firmware,
        security_counter,
        min_counter_from: None,
        health_profile: Some("basic".to_owned()),
        artefacts: vec![Artefact {
            name: "rootfs".to_owned(),
            length: 4096,
            sha256: Digest([mark; 32]),
            block_root: Digest([mark; 32]),
        }],
        reference_measurements: BTreeMap::new(),
        sbom: None,
        provenance: None,
        allow_downgrade_from: None,
    }
}

pub(crate) fn reference(sequence: u64, attempt: u32) -> AssignmentRef {
    AssignmentRef { epoch: 1, sequence, attempt }
}

pub(crate) fn assigned(manifest: Manifest, sequence: u64, attempt: u32) -> Assigned {
    Assigned {
        reference: reference(sequence, attempt),
        word: AssignmentWord::Active,
        lease_ms: 600_000,
        digest: manifest.artefacts[0].sha256,
        manifest,
    }
}

pub(crate) fn installed(manifest: &Manifest) -> Installed {
    Installed {
        release: Some(manifest.release.clone()),
        manifest: Some(manifest.artefacts[0].sha256),
        security_counter: manifest.security_counter,
        artefacts: BTreeMap::from([("rootfs".to_owned(), manifest.artefacts[0].sha256)]),
    }
}

pub(crate) fn policy(activation: Activation) -> Policy {
    Policy { activation, hardware: HARDWARE.to_owned(), ..Policy::default() }
}
