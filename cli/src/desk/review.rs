//! What a key holder is shown before he signs: the document's head, and each fact that differs from what was published.
//!
//! Invariant: every field of a document is shown, known or not, within a bound that says when it was reached; and
//! nothing that a document holds can move the cursor or hide a line.

use super::Desk;
use super::counter::{self, kept_file, manifest};
use super::envelope::Envelope;
use super::predecessor::published;
use holdfast_proto::manifest::{AssignmentKeys, CaBundle, Manifest};
use serde_json::{Map, Value};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};

/// More differences than this are counted, not shown.
const DIFFERENCES_MAX: usize = 100;
const LINE_MAX_CHARS: usize = 2000;

/// By name, e.g. `target products/hub/r1.json`: what the document says of it.
type Facts = BTreeMap<String, String>;

/// The lines to be shown for a document that is about to be signed for `role`.
pub(crate) fn lines(desk: &Desk, role: &str, envelope: &Envelope) -> anyhow::Result<Vec<String>> {
    let before = published(desk, role)?;
    let mut lines = head(role, envelope, before.as_ref())?;
    let old = before.as_ref().map(|before| facts(&before.signed)).unwrap_or_default();
    let new = facts(&envelope.signed);
    let names: BTreeSet<&String> =
        old.keys().chain(new.keys()).filter(|n| old.get(*n) != new.get(*n)).collect();
    for name in names.iter().take(DIFFERENCES_MAX) {
        lines.push(match (old.get(*name), new.get(*name)) {
            (None, Some(new)) => format!("  + {name}: {new}"),
            (Some(old), None) => format!("  - {name}: {old}"),
            (old, new) => format!(
                "  ~ {name}: {} (before: {})",
                new.map_or("", String::as_str),
                old.map_or("", String::as_str)
            ),
        });
        if let Some(path) = name.strip_prefix("target ") {
            lines.extend(kept_lines(desk, path, &envelope.signed["targets"][path]));
        }
    }
    if names.len() > DIFFERENCES_MAX {
        lines.push(format!("  and {} more: read the file before you sign it", names.len() - DIFFERENCES_MAX));
    }
    lines.extend(counter_warning(desk, role, envelope, before.as_ref()));
    Ok(lines.iter().map(|line| plain(line)).collect())
}

fn head(role: &str, envelope: &Envelope, before: Option<&Envelope>) -> anyhow::Result<Vec<String>> {
    let version = envelope.version()?;
    let expires = envelope.signed["expires"].as_str().unwrap_or("at no time");
    let mut lines = vec![format!("{role} version {version}, expires {expires}")];
    lines.push(match before.map(Envelope::version).transpose()? {
        None => "  this desk has published none before: all of it is new".to_owned(),
        Some(before) if version.checked_sub(1) == Some(before) => {
            format!("  what differs from version {before} that this desk published:")
        }
        Some(before) => format!(
            "  WARNING: this does not follow version {before} that this desk published; what differs from it:"
        ),
    });
    Ok(lines)
}

fn facts(signed: &Value) -> Facts {
    let mut facts = Facts::new();
    for (name, value) in object(signed) {
        match (name.as_str(), value) {
            // They stand in the head.
            ("_type" | "version" | "expires", _) => {}
            ("keys", _) => add_each(&mut facts, "key", value, key_text),
            ("roles", _) => add_each(&mut facts, "role", value, role_text),
            ("targets", _) => add_each(&mut facts, "target", value, target_text),
            ("delegations", _) => delegations(&mut facts, value),
            _ => add(&mut facts, "field", name, value.to_string()),
        }
    }
    facts
}

fn delegations(facts: &mut Facts, value: &Value) {
    for (name, value) in object(value) {
        match (name.as_str(), value) {
            ("keys", _) => add_each(facts, "key", value, key_text),
            ("roles", Value::Array(roles)) => roles.iter().for_each(|entry| {
                add(facts, "delegation", entry["name"].as_str().unwrap_or_default(), role_text(entry));
            }),
            _ => add(facts, "field", &format!("delegations.{name}"), value.to_string()),
        }
    }
}

fn add_each(facts: &mut Facts, kind: &str, values: &Value, text: fn(&Value) -> String) {
    for (name, value) in object(values) {
        add(facts, kind, name, text(value));
    }
}

/// A second fact of one name must not cover the first.
fn add(facts: &mut Facts, kind: &str, name: &str, text: String) {
    let mut name = format!("{kind} {name}");
    while facts.contains_key(&name) {
        name.push_str(" (again)");
    }
    facts.insert(name, text);
}

fn key_text(key: &Value) -> String {
    let mut rest = owned(key);
    let kind = take_text(&mut rest, "keytype");
    if rest.get("scheme").and_then(Value::as_str) == Some(&kind) {
        rest.remove("scheme");
    }
    let mut keyval = owned(&rest.remove("keyval").unwrap_or_default());
    let public = take_text(&mut keyval, "public");
    rest.append(&mut keyval);
    format!("{kind} {public}{}", remaining(rest))
}

fn role_text(entry: &Value) -> String {
    let mut rest = owned(entry);
    rest.remove("name");
    let threshold = rest.remove("threshold").unwrap_or_default();
    let ids = match rest.remove("keyids") {
        Some(Value::Array(ids)) => {
            ids.iter().map(|id| id.as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    format!("threshold {threshold} of {ids}{}", remaining(rest))
}

fn target_text(target: &Value) -> String {
    let mut rest = owned(target);
    let length = rest.remove("length").unwrap_or_default();
    let mut hashes = owned(&rest.remove("hashes").unwrap_or_default());
    let sha256 = take_text(&mut hashes, "sha256");
    rest.append(&mut hashes);
    format!("{length} bytes, sha256 {sha256}{}", remaining(rest))
}

/// What a small target file says, where the desk keeps it.
fn kept_lines(desk: &Desk, path: &str, described: &Value) -> Vec<String> {
    if described.is_null() {
        return Vec::new();
    }
    let indented = |lines: Vec<String>| lines.into_iter().map(|line| format!("      {line}")).collect();
    let Ok(Some(bytes)) = kept_file(desk, path, described) else {
        return indented(vec!["its file is not at this desk: what it says cannot be shown".to_owned()]);
    };
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
        return indented(manifest_lines(&manifest));
    }
    if let Ok(keys) = serde_json::from_slice::<AssignmentKeys>(&bytes) {
        let ids: Vec<&str> = keys.keys.keys().map(String::as_str).collect();
        return indented(vec![format!(
            "epoch {}, threshold {} of {} (the service's word)",
            keys.epoch,
            keys.threshold,
            ids.join(" ")
        )]);
    }
    let Ok(bundle) = serde_json::from_slice::<CaBundle>(&bytes) else { return Vec::new() };
    let print = |root: &holdfast_proto::Bytes| {
        format!(
            "CA root with the SHA-256 fingerprint {} (the service's word)",
            hex::encode(sha2::Sha256::digest(root))
        )
    };
    indented(bundle.roots.iter().map(print).collect())
}

fn manifest_lines(manifest: &Manifest) -> Vec<String> {
    let mut lines = vec![format!(
        "release {} ({}) for {}, security counter {}",
        manifest.release,
        manifest.version,
        manifest.hardware.join(" "),
        manifest.security_counter
    )];
    if let Some(floor) = manifest.allow_downgrade_from {
        lines.push(format!("WARNING: may be installed below the floor {floor}"));
    }
    let artefact = |a: &holdfast_proto::manifest::Artefact| {
        format!("artefact {}: {} bytes, sha256 {}, block root {}", a.name, a.length, a.sha256, a.block_root)
    };
    lines.extend(manifest.artefacts.iter().map(artefact));
    lines
}

fn counter_warning(
    desk: &Desk,
    role: &str,
    envelope: &Envelope,
    before: Option<&Envelope>,
) -> Option<String> {
    if !role.starts_with("product-") {
        return None;
    }
    let released = before.map(Envelope::targets).unwrap_or_default();
    let highest = counter::highest(desk, &released).ok()?;
    let added =
        envelope.targets().into_iter().filter(|(path, described)| released.get(path) != Some(described));
    let counters =
        added.filter_map(|(path, described)| Some(manifest(desk, &path, &described).ok()??.security_counter));
    counter::warning(counters.max()?, highest)
}

/// Printable ASCII as it is; anything else escaped: a terminal obeys what it is sent.
fn plain(line: &str) -> String {
    let mut out: String = line.chars().take(LINE_MAX_CHARS).flat_map(escaped).collect();
    if line.chars().count() > LINE_MAX_CHARS {
        out.push_str(" .. (cut)");
    }
    out
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let printable = c == ' ' || c.is_ascii_graphic();
    printable.then_some(c).into_iter().chain((!printable).then(|| c.escape_unicode()).into_iter().flatten())
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn owned(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn take_text(map: &mut Map<String, Value>, name: &str) -> String {
    map.remove(name)
        .map_or_else(|| "?".to_owned(), |value| value.as_str().map_or(value.to_string(), str::to_owned))
}

fn remaining(rest: Map<String, Value>) -> String {
    if rest.is_empty() { String::new() } else { format!("; {}", Value::Object(rest)) }
}

#[cfg(test)]
mod tests;
