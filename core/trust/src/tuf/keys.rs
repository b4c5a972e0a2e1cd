//! One public key counts once: sigstore-tuf counts key ids, so a role that lists one key under two ids is refused.

use super::TufError;
use sigstore_tuf::{Key, Root, Targets};
use std::collections::BTreeMap;

/// # Errors
/// When any role of the root lists one public key under two ids.
pub(super) fn check_root(root: &Root) -> Result<(), TufError> {
    root.roles.iter().try_for_each(|(role, keys)| check(role, &keys.keyids, &root.keys))
}

/// # Errors
/// When any role that `targets` delegates to lists one public key under two ids.
pub(super) fn check_targets(targets: &Targets) -> Result<(), TufError> {
    let Some(delegations) = &targets.delegations else { return Ok(()) };
    delegations.roles.iter().try_for_each(|role| check(&role.name, &role.keyids, &delegations.keys))
}

/// # Errors
/// When two of `ids` name one public key.
pub(super) fn check(role: &str, ids: &[String], keys: &BTreeMap<String, Key>) -> Result<(), TufError> {
    let mut seen: BTreeMap<Vec<u8>, &String> = BTreeMap::new();
    for id in ids {
        let Some(key) = keys.get(id) else { continue };
        if let Some(first) = seen.insert(material(key), id)
            && first != id
        {
            return Err(TufError::KeyTwice {
                role: role.to_owned(),
                first: first.clone(),
                second: id.clone(),
            });
        }
    }
    Ok(())
}

/// The key's own bytes, however it is spelled: SPKI DER where it can be read, its text otherwise.
fn material(key: &Key) -> Vec<u8> {
    match key.verification_key() {
        Ok(key) => key.as_bytes().to_vec(),
        Err(_) => key.keyval.public.trim().as_bytes().to_vec(),
    }
}
