//! One file a noun: its words, the call that each makes, how the answer is shown.

mod artefact;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod device;
pub(crate) mod enrollment;
pub(crate) mod inspect;
pub(crate) mod release;
pub(crate) mod rollout;
pub(crate) mod secret;
pub(crate) mod site;
pub(crate) mod token;
pub(crate) mod tuf;

use crate::client::{Client, escaped};
use anyhow::{Context as _, ensure};
use holdfast_proto::api::Page;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// All pages of a list.
fn all<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<Vec<T>> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page: Page<T> = match &cursor {
            None => client.get(path)?,
            Some(cursor) => client.get(&format!("{path}{separator}cursor={}", escaped(cursor)))?,
        };
        items.extend(page.items);
        ensure!(page.next.is_none() || page.next != cursor, "the service gave the same cursor twice");
        match page.next {
            None => return Ok(items),
            next => cursor = next,
        }
    }
}

/// `k=v`, as --label takes it.
fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}

fn labels(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// Reads JSON from a file, or from standard input for `-`.
fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = read_input(path)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} does not hold what this command takes", path.display()))
}

fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(64 << 20).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}
