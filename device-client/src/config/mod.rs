//! The device's configuration (TOML) and its blob.

mod update;

pub(crate) use update::{Boot, HealthProfile, Slots, Update};

use crate::error::DeviceError;
use crate::files;
use holdfast_proto::blob::DeviceBlob;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `device.toml`. Relative paths are relative to the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) serial: String,
    pub(crate) model: String,
    /// Where keys, certificates and the journal live.
    pub(crate) state_dir: PathBuf,
    /// What `holdfast device blob` wrote.
    pub(crate) blob: PathBuf,
    #[serde(default)]
    pub(crate) keystore: KeyStoreKind,
    /// `device:/dev/tpmrm0`, `swtpm:host=HOST,port=PORT`, `swtpm-unix:PATH`; needed by the keystore `tpm`.
    #[serde(default)]
    pub(crate) tpm: Option<String>,
    /// TCG event log of this boot.
    #[serde(default)]
    pub(crate) event_log: Option<PathBuf>,
    /// Where releases are installed; a device without it is not updated.
    #[serde(default)]
    pub(crate) slots: Option<Slots>,
    /// Who boots them; the installer `file` needs nobody.
    #[serde(default)]
    pub(crate) boot: Option<Boot>,
    #[serde(default)]
    pub(crate) update: Update,
    /// The commands behind each health profile; `default` is that of releases that name none.
    #[serde(default)]
    pub(crate) health: BTreeMap<String, HealthProfile>,
}

/// Where the device key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyStoreKind {
    #[default]
    Tpm,
    /// A software key: tier T0, enrolled by a join token.
    File,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, DeviceError> {
        let malformed = |why: String| DeviceError::Malformed { path: path.to_owned(), why };
        let bytes = files::read(path)?.ok_or_else(|| malformed("it is not there".into()))?;
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if config.keystore == KeyStoreKind::Tpm && config.tpm.is_none() {
            return Err(malformed(
                "keystore = \"tpm\" needs tpm = \"device:/dev/tpmrm0\" or another transport".into(),
            ));
        }
        let base = path.parent().unwrap_or(Path::new(".")).to_owned();
        config.state_dir = base.join(&config.state_dir);
        config.blob = base.join(&config.blob);
        config.event_log = config.event_log.map(|log| base.join(log));
        config.resolve(&base);
        config.check().map_err(malformed)?;
        Ok(config)
    }

    fn resolve(&mut self, base: &Path) {
        if let Some(slots) = &mut self.slots {
            slots.resolve(base);
        }
        if let Some(boot) = &mut self.boot {
            boot.resolve(base);
        }
    }

    /// What no single section can say.
    fn check(&self) -> Result<(), String> {
        let wrong = match (&self.slots, &self.boot) {
            (Some(Slots::AbSlot { a, b }), _) if a.is_empty() || !a.keys().eq(b.keys()) => {
                "[slots] a and b name the same artefacts, at least one"
            }
            (Some(Slots::AbSlot { a, b }), _) if names_a_place_twice(a, b) => {
                "[slots] a and b name one place twice: an update would write over what runs; give each its own"
            }
            (Some(Slots::AbSlot { .. }), None) => "the installer ab_slot needs a section [boot]",
            (Some(Slots::File { .. }), Some(_)) => "the installer file swaps a symlink: it takes no [boot]",
            (None, Some(_)) => "[boot] without [slots] boots nothing",
            _ => "",
        };
        if !wrong.is_empty() {
            return Err(wrong.to_owned());
        }
        self.update.check()?;
        match self.health.iter().find(|(_, profile)| profile.commands.iter().any(Vec::is_empty)) {
            Some((name, _)) => Err(format!("[health.{name}] holds an empty command")),
            None => Ok(()),
        }
    }

    /// The blob, needed by everything but `manufacture`.
    pub(crate) fn read_blob(&self) -> Result<DeviceBlob, DeviceError> {
        let malformed = |why: String| DeviceError::Malformed { path: self.blob.clone(), why };
        let blob: DeviceBlob = files::read_json(&self.blob)?
            .ok_or_else(|| malformed("it is not there: `holdfast device blob` writes it".into()))?;
        if blob.schema != 1 {
            return Err(malformed(format!("it has schema {}, this version knows 1", blob.schema)));
        }
        if blob.ca_roots.is_empty() {
            return Err(malformed("it holds no CA root".into()));
        }
        Ok(blob)
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join(name)
    }
}

/// By their paths; the installer holds the places themselves against each other.
fn names_a_place_twice(a: &BTreeMap<String, PathBuf>, b: &BTreeMap<String, PathBuf>) -> bool {
    let mut paths: Vec<&PathBuf> = a.values().chain(b.values()).collect();
    paths.sort_unstable();
    // Unwrap safety: windows of two.
    paths.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests;
