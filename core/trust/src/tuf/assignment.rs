//! Which release this device shall run: the envelope of the Director's role (Uptane), threshold-checked against
//! `keys/assignment.json`. It can name a release that the offline keys signed, and say nothing of its content.

use super::limits::ASSIGNMENT_MAX_BYTES;
use super::step::{Source, Store};
use super::store::SeenAssignment;
use super::trusted::Trusted;
use super::walk::{malformed, refused};
use super::{TufError, crypto, keys};
use crate::Verified;
use holdfast_proto::assignment::{ASSIGNMENT_FIELD, AssignmentBody};
use holdfast_proto::manifest::{AssignmentKeys, CaBundle};
use holdfast_proto::{DeviceId, Digest};
use sigstore_tuf::{Key, Metadata, RoleKeys, Targets};
use std::collections::BTreeMap;

/// The target that lists the assignment keys.
const KEYS: &str = "keys/assignment.json";

/// An assignment that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub body: AssignmentBody,
    /// `products/<hw>/<release>.json`.
    pub manifest_path: String,
    pub manifest_len: u64,
    pub manifest_sha256: Digest,
}

/// Reads `keys/assignment.json` (the top-level targets role alone may name it).
///
/// # Errors
/// When it is not signed, absent or malformed, or holds one public key twice.
pub fn assignment_keys(
    trusted: &mut Trusted,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<Verified<AssignmentKeys>, TufError> {
    let bytes = top_level(trusted, KEYS, store, source)?;
    let document: AssignmentKeys = parse(KEYS, &bytes)?;
    role_of(&document)?;
    Ok(Verified::after_all_checks(document))
}

/// Reads `trust/ca.json`: the CA roots that verify the service.
///
/// # Errors
/// When it is not signed, absent, malformed or empty.
pub fn ca_bundle(
    trusted: &mut Trusted,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<Verified<CaBundle>, TufError> {
    let bytes = top_level(trusted, "trust/ca.json", store, source)?;
    let bundle: CaBundle = parse("trust/ca.json", &bytes)?;
    if bundle.roots.is_empty() {
        return Err(malformed("trust/ca.json", "it holds no root"));
    }
    Ok(Verified::after_all_checks(bundle))
}

/// Verifies an envelope for this device.
///
/// # Errors
/// When it is unsigned, expired, for another device or epoch, older than what was seen, or names anything but one
/// manifest.
pub fn verify_assignment(
    envelope: &[u8],
    signers: &Verified<AssignmentKeys>,
    device: &DeviceId,
    seen: Option<SeenAssignment>,
    now: i64,
) -> Result<Verified<Assignment>, TufError> {
    crypto::ready()?;
    let name = "assignment";
    if envelope.len() > ASSIGNMENT_MAX_BYTES {
        let actual = envelope.len() as u64;
        return Err(TufError::TooLong { name: name.into(), actual, limit: ASSIGNMENT_MAX_BYTES as u64 });
    }
    let metadata = Metadata::<Targets>::from_slice(envelope).map_err(refused(name))?;
    let (keys, role) = role_of(signers)?;
    metadata.verify_threshold(&keys, &role, name).map_err(refused(name))?;
    let signed = metadata.signed();
    if signed.expires.as_second() <= now {
        return Err(refused(name)(sigstore_tuf::Error::Expired {
            role: name.into(),
            expires: signed.expires,
        }));
    }
    let field = signed.extra.get(ASSIGNMENT_FIELD).ok_or_else(|| malformed(name, "it names no device"))?;
    let body: AssignmentBody =
        serde_json::from_value(field.clone()).map_err(|error| malformed(name, &error.to_string()))?;
    check_body(&body, signed.version, signers, device, seen)?;
    let mut targets = signed.targets.iter();
    let (Some((path, target)), None, None) = (targets.next(), targets.next(), &signed.delegations) else {
        return Err(malformed(name, "it names other than exactly one manifest"));
    };
    if !is_manifest_path(path) {
        return Err(malformed(name, "what it names is no manifest"));
    }
    let digest = target.hashes.get("sha256").and_then(|hex| hex.parse().ok());
    Ok(Verified::after_all_checks(Assignment {
        body,
        manifest_path: path.clone(),
        manifest_len: target.length,
        manifest_sha256: digest.ok_or_else(|| malformed(name, "its manifest has no SHA-256"))?,
    }))
}

fn check_body(
    body: &AssignmentBody,
    version: u64,
    signers: &AssignmentKeys,
    device: &DeviceId,
    seen: Option<SeenAssignment>,
) -> Result<(), TufError> {
    if body.device != *device {
        return Err(TufError::OtherDevice { expected: device.to_string(), actual: body.device.to_string() });
    }
    if body.sequence != version {
        return Err(malformed("assignment", "its sequence is not the version of its envelope"));
    }
    // A new epoch restarts the sequence; the same one may be confirmed again, never an older.
    match seen {
        _ if body.epoch != signers.epoch => {
            Err(TufError::OtherEpoch { expected: signers.epoch, actual: body.epoch })
        }
        Some(seen) if (body.epoch, body.sequence) < (seen.epoch, seen.sequence) => {
            Err(TufError::OldAssignment {
                epoch: body.epoch,
                sequence: body.sequence,
                seen_epoch: seen.epoch,
                seen_sequence: seen.sequence,
            })
        }
        _ => Ok(()),
    }
}

fn role_of(signers: &AssignmentKeys) -> Result<(BTreeMap<String, Key>, RoleKeys), TufError> {
    let wrong = |error: serde_json::Error| malformed(KEYS, &error.to_string());
    let mut keys = BTreeMap::new();
    for (id, key) in &signers.keys {
        keys.insert(id.clone(), serde_json::from_value(key.clone()).map_err(wrong)?);
    }
    let ids: Vec<String> = keys.keys().cloned().collect();
    keys::check("assignment", &ids, &keys)?;
    let role = serde_json::json!({"keyids": ids, "threshold": signers.threshold});
    Ok((keys, serde_json::from_value(role).map_err(wrong)?))
}

/// Exactly `products/<hw>/<release>.json`, each part a segment.
fn is_manifest_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let [folder, hardware, file] = parts.as_slice() else { return false };
    *folder == "products"
        && holdfast_proto::id::is_segment(hardware)
        && file.strip_suffix(".json").is_some_and(holdfast_proto::id::is_segment)
}

/// A target that the top-level role itself must name: no delegation may.
fn top_level(
    trusted: &mut Trusted,
    path: &str,
    store: &mut dyn Store,
    source: &mut dyn Source,
) -> Result<Vec<u8>, TufError> {
    match trusted.find(path, store, source)? {
        Some((role, target)) if role == "targets" => trusted.fetch(path, &target, source),
        _ => Err(TufError::NotListed { path: path.into() }),
    }
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, TufError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(path, &error.to_string()))
}
