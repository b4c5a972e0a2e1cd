//! A boot loader in a folder that behaves as real ones do: what was armed is spent by the boot, not by its success;
//! its environment has two copies; it knows nothing of the journal.
//!
//! `env.a` and `env.b` are its environment. `machine.json` is what the hardware is doing: which slot was started.

use super::{BootFacts, BootLoader};
use crate::copies::{Copies, Found};
use crate::error::DeviceError;
use crate::files;
use holdfast_decide::device::{Activation, BootKind, Slot};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"HFBOOT_1";

/// The environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    default: Slot,
    /// The slot to try, and how often still.
    armed: Option<(Slot, u32)>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Started {
    boot_id: String,
    slot: Slot,
}

/// The fake.
#[derive(Debug)]
pub(crate) struct Fake {
    folder: PathBuf,
    kind: BootKind,
    copies: Copies,
    environment: Environment,
}

impl Fake {
    pub(crate) fn open(folder: &Path, kind: BootKind) -> Result<Self, DeviceError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| DeviceError::Write { path: folder.to_owned(), source })?;
        let (copies, found) = Copies::open(folder, "env", MAGIC)?;
        Ok(Self { folder: folder.to_owned(), kind, copies, environment: understood(&found, folder) })
    }

    /// How it started the device; nothing is repaired.
    ///
    /// # Errors
    /// When it is off, or that cannot be read.
    pub(crate) fn peek(folder: &Path) -> Result<BootFacts, DeviceError> {
        let found = Copies::peek(folder, "env", MAGIC);
        facts(folder, &understood(&found, folder))
    }

    /// Chooses the slot of the next boot, spending what is armed; a slot that does not boot is given up by the
    /// watchdog and the next choice made.
    ///
    /// # Errors
    /// When no slot boots, or the environment cannot be written.
    pub(crate) fn power_on(
        &mut self,
        boots: impl Fn(Slot, bool) -> Result<bool, DeviceError>,
    ) -> Result<Slot, DeviceError> {
        while let Some((slot, tries)) = self.environment.armed.filter(|(_, tries)| *tries > 0) {
            let left = match self.kind {
                BootKind::OneShot => None,
                BootKind::Counted(_) => Some((slot, tries - 1)),
            };
            self.set(Environment { armed: left, ..self.environment.clone() })?;
            if boots(slot, slot == self.environment.default)? {
                return Ok(slot);
            }
        }
        let default = self.environment.default;
        if boots(default, true)? {
            return Ok(default);
        }
        Err(DeviceError::unusable(format!(
            "no slot boots: {} is the default and not whole",
            default.as_str()
        )))
    }

    /// The chosen slot is up.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn came_up(&mut self, slot: Slot) -> Result<BootFacts, DeviceError> {
        let uuid = files::read(Path::new("/proc/sys/kernel/random/uuid"))?.unwrap_or_default();
        let boot_id = String::from_utf8_lossy(&uuid).trim().to_owned();
        files::write_json(&machine(&self.folder), &Started { boot_id, slot })?;
        self.facts()
    }

    /// Writes the environment and reads it back.
    fn set(&mut self, environment: Environment) -> Result<(), DeviceError> {
        self.copies.write(&serde_json::to_vec(&environment).map_err(DeviceError::unusable)?)?;
        let (_, found) = Copies::open(&self.folder, "env", MAGIC)?;
        let back = match &found {
            Found::Body(body) => serde_json::from_slice(body).ok(),
            _ => None,
        };
        if back.as_ref() != Some(&environment) {
            return Err(DeviceError::unusable(
                "the boot environment reads back as something else than was written",
            ));
        }
        self.environment = environment;
        Ok(())
    }
}

impl BootLoader for Fake {
    fn activation(&self) -> Activation {
        Activation::Reboot(self.kind)
    }

    fn facts(&self) -> Result<BootFacts, DeviceError> {
        facts(&self.folder, &self.environment)
    }

    fn mark_bad(&mut self, slot: Slot) -> Result<(), DeviceError> {
        if slot == self.environment.default {
            return Err(DeviceError::unusable(format!(
                "slot {} is the one that boots by default",
                slot.as_str()
            )));
        }
        let armed = self.environment.armed.filter(|(armed, _)| *armed != slot);
        self.set(Environment { armed, ..self.environment.clone() })
    }

    fn arm(&mut self, slot: Slot) -> Result<(), DeviceError> {
        let tries = match self.kind {
            BootKind::OneShot => 1,
            BootKind::Counted(tries) => tries,
        };
        self.set(Environment { armed: Some((slot, tries)), ..self.environment.clone() })
    }

    fn activate(&mut self, _: Slot) -> Result<(), DeviceError> {
        Err(DeviceError::unusable("a slot is booted, not swapped"))
    }

    fn mark_good(&mut self, slot: Slot) -> Result<(), DeviceError> {
        if self.facts()?.slot != slot {
            return Err(DeviceError::unusable("only the running slot can be marked good"));
        }
        self.set(Environment { default: slot, armed: None })
    }

    fn revert(&mut self, to: Slot) -> Result<(), DeviceError> {
        self.set(Environment { default: to, armed: None })
    }
}

/// Unreadable, or never written: what ran last is what boots, and nothing is armed.
fn understood(found: &Found, folder: &Path) -> Environment {
    let environment = match found {
        Found::Body(body) => serde_json::from_slice(body).ok(),
        Found::Nothing | Found::Unreadable => None,
    };
    environment.unwrap_or_else(|| {
        let started: Option<Started> = files::read_json(&machine(folder)).unwrap_or_default();
        Environment { default: started.map_or(Slot::A, |started| started.slot), armed: None }
    })
}

fn facts(folder: &Path, environment: &Environment) -> Result<BootFacts, DeviceError> {
    let started: Option<Started> = files::read_json(&machine(folder))?;
    let started = started
        .ok_or_else(|| DeviceError::unusable("the device is off: `holdfast-device boot` starts it"))?;
    let other = started.slot.other();
    Ok(BootFacts {
        on_trial: started.slot != environment.default,
        other_tries: environment.armed.filter(|(slot, _)| *slot == other).map(|(_, tries)| tries),
        boot_id: started.boot_id,
        slot: started.slot,
    })
}

fn machine(folder: &Path) -> PathBuf {
    folder.join("machine.json")
}
