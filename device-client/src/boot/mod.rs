//! Who decides which slot runs. One trait, one registry; whatever is said to a boot loader is read back.

mod fake;
mod measure;
mod power;
mod swap;

pub(crate) use fake::Fake;

use crate::config::{Boot, Config, Slots};
use crate::error::DeviceError;
use crate::installer::Installer;
use holdfast_decide::device::{Activation, Slot};
use swap::Swap;

/// How the boot loader started this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootFacts {
    pub(crate) boot_id: String,
    pub(crate) slot: Slot,
    /// It was not told that the running slot is good.
    pub(crate) on_trial: bool,
    /// Boots that it still grants the other slot; none where that is not armed.
    pub(crate) other_tries: Option<u32>,
}

/// A boot loader. Every change is durable, and read back, when it returns.
pub(crate) trait BootLoader {
    /// What it can do for a trial.
    fn activation(&self) -> Activation;

    fn facts(&self) -> Result<BootFacts, DeviceError>;

    /// This slot shall not be booted, neither once nor by default. Refused for the default one.
    fn mark_bad(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// The next boot shall try this slot.
    fn arm(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// Swaps the running version now; for what boots, an error.
    fn activate(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// The running slot is good: from now on it is the default.
    fn mark_good(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// This slot is the one to run, the other is not to be tried. May be repeated.
    fn revert(&mut self, to: Slot) -> Result<(), DeviceError>;
}

/// The one that the configuration names.
///
/// # Errors
/// When none is, or it cannot be read.
pub(crate) fn open(config: &Config) -> Result<Box<dyn BootLoader>, DeviceError> {
    match (&config.slots, &config.boot) {
        (Some(Slots::File { folder }), _) => Ok(Box::new(Swap::open(folder)?)),
        (Some(_), Some(Boot::Fake { folder, style, tries })) => {
            Ok(Box::new(Fake::open(folder, style.kind(*tries))?))
        }
        _ => Err(DeviceError::unusable("the configuration has no [slots]: this device is not updated")),
    }
}

/// How this boot was started, for someone who does not own the boot loader.
///
/// # Errors
/// When that cannot be read.
pub(crate) fn facts(config: &Config) -> Result<BootFacts, DeviceError> {
    match &config.boot {
        Some(Boot::Fake { folder, .. }) => Fake::peek(folder),
        None => open(config)?.facts(),
    }
}

/// `boot`: the power button of the fake. Says which slot came up.
///
/// # Errors
/// When the configuration names another boot loader, or no slot boots.
pub(crate) fn power_on(config: &Config) -> Result<(), DeviceError> {
    let Some(Boot::Fake { folder, style, tries }) = &config.boot else {
        return Err(DeviceError::unusable("`boot` is the power button of [boot] kind = \"fake\""));
    };
    let installer = crate::installer::open(config)?;
    let mut fake = Fake::open(folder, style.kind(*tries))?;
    let slot =
        fake.power_on(|slot, is_default| measure::is_bootable(installer.as_ref(), slot, is_default))?;
    measure::into_tpm(config, installer.as_ref(), slot)?;
    let facts = fake.came_up(slot)?;
    println!(
        "{}: slot {} runs{}",
        facts.boot_id,
        slot.as_str(),
        if facts.on_trial { ", on trial" } else { "" }
    );
    Ok(())
}

/// What a slot's artefacts are on the medium, by name.
pub(crate) fn digests(installer: &dyn Installer, slot: Slot) -> Result<Vec<(String, [u8; 32])>, DeviceError> {
    measure::digests(installer, slot)
}

#[cfg(test)]
mod tests;
