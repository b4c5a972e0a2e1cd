//! EdgeSecret: from what was observed to what should be. Pure: no cluster, no service, no clock.

#[cfg(test)]
mod tests;

use super::condition::{self, Truth, next};
use super::crd::{EdgeSecretSpec, EdgeSecretStatus, Item, SourceStatus, SourceVersion, TargetStatus};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Kubernetes' cap for all values of a Secret, bytes.
const DATA_MAX_BYTES: usize = 1 << 20;

/// A secret as the service gave it.
pub struct Value {
    pub path: String,
    pub version: i64,
    pub bytes: Zeroizing<Vec<u8>>,
    pub max_ttl_s: Option<i64>,
    pub max_offline_s: Option<i64>,
}

/// Key to value.
pub type Data = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What the Secret should hold, and what it was made from.
pub struct Desired {
    pub data: Data,
    pub source: SourceStatus,
    /// The least of what the grants say: when the service must be asked again.
    pub max_ttl_s: Option<i64>,
}

/// Why the values do not make a Secret. Never holds a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("two items give the key `{0}`")]
    KeyTwice(String),
    #[error("`{0}` is no JSON object: give its item a key")]
    NotAnObject(String),
    #[error("`{path}` has no property `{property}`")]
    NoProperty { path: String, property: String },
    #[error("an item with a property needs a key")]
    PropertyWithoutKey,
    #[error("`{0}` has a property whose name is no key of a Secret ([-._a-zA-Z0-9], at most 253)")]
    KeyMalformed(String),
    #[error("all values together have {0} bytes, a Secret holds {DATA_MAX_BYTES}")]
    TooLarge(usize),
}

/// Puts the Secret together. `values` holds one for each item, in the items' order.
pub fn desired(items: &[Item], values: &[Value]) -> Result<Desired, Fault> {
    let mut data = Data::new();
    let mut versions = Vec::new();
    for (item, value) in items.iter().zip(values) {
        for (key, bytes) in keys_of(item, value)? {
            if data.contains_key(&key) {
                return Err(Fault::KeyTwice(key));
            }
            data.insert(key, bytes);
        }
        versions.push(SourceVersion { path: value.path.clone(), version: value.version });
    }
    let total = data.values().map(|bytes| bytes.len()).sum();
    if total > DATA_MAX_BYTES {
        return Err(Fault::TooLarge(total));
    }
    versions.sort();
    versions.dedup();
    let least = |pick: fn(&Value) -> Option<i64>| values.iter().filter_map(pick).min();
    let max_offline_seconds = least(|value| value.max_offline_s);
    let source = SourceStatus { versions, max_offline_seconds, kept_until: None };
    Ok(Desired { data, source, max_ttl_s: least(|value| value.max_ttl_s) })
}

/// A key of the target and its bytes.
type Named = (String, Zeroizing<Vec<u8>>);

fn keys_of(item: &Item, value: &Value) -> Result<Vec<Named>, Fault> {
    match (&item.key, &item.property) {
        (Some(key), None) => Ok(vec![(key.clone(), value.bytes.clone())]),
        (None, Some(_)) => Err(Fault::PropertyWithoutKey),
        (Some(key), Some(property)) => {
            let found = properties(value)?.into_iter().find(|(name, _)| name == property);
            let missing = || Fault::NoProperty { path: item.path.clone(), property: property.clone() };
            found.map(|(_, bytes)| vec![(key.clone(), bytes)]).ok_or_else(missing)
        }
        (None, None) => {
            let found = properties(value)?;
            let good = |name: &str| {
                (1..=253).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                    && name != "."
                    && name != ".."
            };
            if found.iter().any(|(name, _)| !good(name)) {
                return Err(Fault::KeyMalformed(item.path.clone()));
            }
            Ok(found)
        }
    }
}

/// Texts as they are, everything else as its JSON.
fn properties(value: &Value) -> Result<Vec<Named>, Fault> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&value.bytes).map_err(|_| Fault::NotAnObject(value.path.clone()))?;
    let bytes = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Ok(object.into_iter().map(|(name, value)| (name, Zeroizing::new(bytes(value)))).collect())
}

/// The same keys with nothing in them: deleting a Secret leaves files that are mounted, an empty value replaces them.
/// Some types refuse an empty value: they get the least that they take.
pub fn emptied(kind: &str, keys: &[String]) -> Data {
    let filler: &[u8] = match kind {
        "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg" => b"{}",
        "kubernetes.io/ssh-auth" => b"\n",
        _ => b"",
    };
    keys.iter().map(|key| (key.clone(), Zeroizing::new(filler.to_vec()))).collect()
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The Secret holds these versions.
    Synced { source: SourceStatus, target: TargetStatus },
    /// The service said no: the values are gone.
    Denied { reason: &'static str, message: String },
    /// The service could not tell who reads: the last good values stay.
    Unproven { reason: &'static str, message: String },
    /// Allowed, and yet no Secret could be made of it.
    Faulty { reason: &'static str, message: String },
    /// Nobody could be asked: the last good values stay, at most until then (Unix seconds).
    Away { reason: &'static str, message: String, kept_until: Option<i64> },
    /// Nobody could be asked for longer than the grants allow: the values are gone.
    Expired { message: String },
}

pub const AUTHORIZED: &str = "Authorized";
pub const SYNCED: &str = "Synced";
pub const READY: &str = "Ready";

/// The status after a round.
pub fn status(
    before: Option<&EdgeSecretStatus>,
    generation: Option<i64>,
    outcome: &Outcome,
    now: i64,
) -> EdgeSecretStatus {
    let empty = EdgeSecretStatus::default();
    let before = before.unwrap_or(&empty);
    let set = |kind: &str, says: (Truth, &str, &str)| next(&before.conditions, kind, says, generation, now);
    let as_before = |kind: &str| {
        condition::find(&before.conditions, kind)
            .cloned()
            .unwrap_or_else(|| set(kind, (Truth::Unknown, "NotAskedYet", "the service has not answered yet")))
    };
    let three = |a: (Truth, &str, &str), s: (Truth, &str, &str), r: (Truth, &str, &str)| {
        vec![set(AUTHORIZED, a), set(SYNCED, s), set(READY, r)]
    };
    let granted = (Truth::True, "Granted", "a grant lets this ServiceAccount read every item");
    let (conditions, source, target) = match outcome {
        Outcome::Synced { source, target } => {
            let synced = (Truth::True, "Synced", "the Secret holds what the service has");
            (three(granted, synced, synced), Some(source.clone()), Some(target.clone()))
        }
        Outcome::Denied { reason, message } => {
            let no = (Truth::False, *reason, message.as_str());
            (three(no, no, no), None, before.target.clone())
        }
        Outcome::Faulty { reason, message } => {
            let no = (Truth::False, *reason, message.as_str());
            (three(granted, no, no), before.source.clone(), before.target.clone())
        }
        Outcome::Unproven { reason, message } => {
            let no = (Truth::False, *reason, message.as_str());
            (
                vec![set(AUTHORIZED, no), set(SYNCED, no), as_before(READY)],
                before.source.clone(),
                before.target.clone(),
            )
        }
        Outcome::Away { reason, message, kept_until } => {
            let no = (Truth::False, *reason, message.as_str());
            let source =
                before.source.clone().map(|source| SourceStatus { kept_until: *kept_until, ..source });
            (vec![as_before(AUTHORIZED), set(SYNCED, no), as_before(READY)], source, before.target.clone())
        }
        Outcome::Expired { message } => {
            let no = (Truth::False, "KeptTooLong", message.as_str());
            (vec![as_before(AUTHORIZED), set(SYNCED, no), set(READY, no)], None, before.target.clone())
        }
    };
    EdgeSecretStatus { observed_generation: generation, conditions, source, target }
}

/// Until when the last good values may stay while nobody can be asked: `last_good` is when they were last confirmed,
/// as far as this process knows.
pub fn kept_until(before: Option<&EdgeSecretStatus>, last_good: Option<i64>, now: i64) -> Option<i64> {
    let source = before?.source.as_ref()?;
    // What was written down stands: a restart does not begin the time anew.
    source.kept_until.or_else(|| Some(last_good.unwrap_or(now) + source.max_offline_seconds?))
}

/// Seconds to the next round.
pub fn interval_s(spec: &EdgeSecretSpec, max_ttl_s: Option<i64>) -> u64 {
    let wanted = spec.refresh.as_ref().map_or(60, |refresh| refresh.interval_seconds);
    wanted.min(max_ttl_s.unwrap_or(i64::MAX)).clamp(1, 86_400) as u64
}
