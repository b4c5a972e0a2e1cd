//! What a release contains: the manifest that the product role signed and the channel role lists, held against
//! this device; and the deltas that lead to it.

use super::TufError;
use super::assignment::{Assignment, parse};
use super::step::{Source, Store};
use super::trusted::Trusted;
use super::walk::malformed;
use crate::Verified;
use holdfast_proto::Digest;
use holdfast_proto::manifest::{DeltaCustom, Manifest};

/// What this device is, from its blob and its journal; nothing here comes from the service.
#[derive(Debug, Clone, Copy)]
pub struct ThisDevice<'a> {
    pub hardware: &'a str,
    pub channel: &'a str,
    /// The highest security counter that it committed.
    pub floor: u64,
}

/// A release that may be installed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub manifest: Manifest,
    pub manifest_sha256: Digest,
}

/// A delta to an artefact of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPlan {
    pub custom: DeltaCustom,
    /// Length of the patch, bytes.
    pub length: u64,
    pub patch_sha256: Digest,
}

/// Finds the assigned manifest where the product role and this device's channel both name it, and holds it against
/// hardware and floor.
///
/// # Errors
/// When either does not name it, they differ, the bytes are others, or this device may not install it.
pub fn verify_release(
    trusted: &mut Trusted,
    assignment: &Verified<Assignment>,
    device: ThisDevice<'_>,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<Verified<Release>, TufError> {
    let path = &assignment.manifest_path;
    let product_role = format!("product-{}", device.hardware);
    let expected_prefix = format!("products/{}/", device.hardware);
    let Some(file) = path.strip_prefix(&expected_prefix) else {
        return Err(TufError::OtherHardware { expected: device.hardware.into(), actual: vec![path.clone()] });
    };
    let product = match trusted.find(path, store, source)? {
        Some((role, target)) if role == product_role => target,
        _ => return Err(TufError::NotListed { path: path.clone() }),
    };
    let listed = format!("channels/{}/{}/{file}", device.channel, device.hardware);
    let not_listed = || TufError::NotInChannel { channel: device.channel.into(), path: path.clone() };
    let channel = match trusted.find(&listed, store, source)? {
        Some((role, target)) if role == format!("channel-{}", device.channel) => target,
        _ => return Err(not_listed()),
    };
    let sha256 =
        |target: &super::TargetFile| target.hashes.get("sha256").and_then(|hex| hex.parse::<Digest>().ok());
    if channel.length != product.length || sha256(&channel) != sha256(&product) {
        return Err(not_listed());
    }
    let digest = sha256(&product).ok_or_else(|| malformed(path, "it has no SHA-256"))?;
    if (product.length, digest) != (assignment.manifest_len, assignment.manifest_sha256) {
        return Err(TufError::Differs {
            path: path.clone(),
            what: "the assigned manifest",
            expected: digest.to_hex(),
            actual: assignment.manifest_sha256.to_hex(),
        });
    }
    let bytes = trusted.fetch(path, &product, source)?;
    let manifest: Manifest = parse(path, &bytes)?;
    check_manifest(&manifest, path, file, device)?;
    Ok(Verified::after_all_checks(Release { manifest, manifest_sha256: digest }))
}

fn check_manifest(
    manifest: &Manifest,
    path: &str,
    file: &str,
    device: ThisDevice<'_>,
) -> Result<(), TufError> {
    if manifest.schema != 1 || format!("{}.json", manifest.release) != file {
        return Err(malformed(path, "it has another schema or release name"));
    }
    if manifest.artefacts.is_empty() {
        return Err(malformed(path, "it lists no artefact"));
    }
    let mut names: Vec<&str> = manifest.artefacts.iter().map(|artefact| artefact.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != manifest.artefacts.len()
        || !names.iter().all(|name| holdfast_proto::id::is_segment(name))
    {
        return Err(malformed(path, "two artefacts share a name, or one is no name"));
    }
    if !manifest.hardware.iter().any(|hardware| hardware == device.hardware) {
        return Err(TufError::OtherHardware {
            expected: device.hardware.into(),
            actual: manifest.hardware.clone(),
        });
    }
    check_floor(manifest, device.floor)
}

/// The floor governs installing. Only a manifest that names this very floor may go below it.
///
/// # Errors
/// When the manifest's counter is below the floor, or the floor below what the manifest may come from.
pub fn check_floor(manifest: &Manifest, floor: u64) -> Result<(), TufError> {
    if manifest.security_counter < floor && manifest.allow_downgrade_from != Some(floor) {
        return Err(TufError::BelowFloor { counter: manifest.security_counter, floor });
    }
    match manifest.min_counter_from {
        Some(minimum) if floor < minimum => Err(TufError::FloorTooLow { minimum, floor }),
        _ => Ok(()),
    }
}

/// The delta from `base`, which the device must hold, to an artefact of a release, if the deltas role offers one.
/// What it gives must be the artefact: a stolen delta key can refuse service, and no more.
///
/// # Errors
/// When the release has no such artefact, or what is offered is not what its name says or no smaller than the whole.
pub fn verify_delta(
    trusted: &mut Trusted,
    release: &Verified<Release>,
    artefact: &str,
    base: Digest,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<Option<Verified<DeltaPlan>>, TufError> {
    let wanted = release.manifest.artefacts.iter().find(|candidate| candidate.name == artefact);
    let wanted = wanted.ok_or_else(|| TufError::NoArtefact { name: artefact.into() })?;
    let path = format!("delta/{base}-{}", wanted.sha256);
    let target = match trusted.find(&path, store, source)? {
        Some((role, target)) if role == "deltas" => target,
        _ => return Ok(None),
    };
    let custom = target.custom.as_ref().ok_or_else(|| malformed(&path, "it states nothing of itself"))?;
    let custom: DeltaCustom =
        serde_json::from_value(custom.clone()).map_err(|error| malformed(&path, &error.to_string()))?;
    for (what, expected, actual) in
        [("the delta's base", base, custom.base), ("the delta's output", wanted.sha256, custom.output)]
    {
        if expected != actual {
            return Err(TufError::Differs {
                path,
                what,
                expected: expected.to_hex(),
                actual: actual.to_hex(),
            });
        }
    }
    if target.length > wanted.length {
        return Err(TufError::TooLong { name: path, actual: target.length, limit: wanted.length });
    }
    let patch_sha256 = target.hashes.get("sha256").and_then(|hex| hex.parse().ok());
    let patch_sha256 = patch_sha256.ok_or_else(|| malformed(&path, "it has no SHA-256"))?;
    Ok(Some(Verified::after_all_checks(DeltaPlan { custom, length: target.length, patch_sha256 })))
}
