//! `status`: what this device is, where it stands, what it runs. Reads; changes nothing.

use crate::boot;
use crate::config::Config;
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::journal;
use holdfast_decide::device::Saved;
use serde_json::{Value, json};

/// Prints it as JSON.
pub(crate) fn show(config: &Config) -> Result<(), DeviceError> {
    let identity = Identity::load(config)?;
    let mut status = json!({
        "serial": config.serial,
        "model": config.model,
        "device": identity.as_ref().map(|identity| identity.device.to_string()),
        "acknowledged": identity.as_ref().is_some_and(|identity| identity.acknowledged),
        "renew_at": identity.as_ref().map(|identity| identity.renew_at),
        "not_after": identity.as_ref().map(|identity| identity.not_after),
    });
    if config.slots.is_some() {
        status["update"] = update(config)?;
    }
    println!("{}", serde_json::to_string_pretty(&status).map_err(DeviceError::unusable)?);
    Ok(())
}

fn update(config: &Config) -> Result<Value, DeviceError> {
    let saved = journal::peek(&config.state("journal"))?;
    let booted = boot::facts(config).ok();
    let mut update = json!({
        "slot": booted.as_ref().map(|facts| facts.slot.as_str()),
        "on_trial": booted.as_ref().map(|facts| facts.on_trial),
        "state": match &saved {
            Saved::Record(record) => record.state.word(),
            Saved::Nothing => "new",
            Saved::NotUnderstood => "recovery",
        },
    });
    if let Saved::Record(record) = &saved {
        let standing = &record.standing;
        let quarantine: Vec<Value> = standing
            .quarantine
            .iter()
            .map(|entry| json!({"release": entry.release.as_str(), "code": entry.code}))
            .collect();
        update["release"] = json!(standing.running.release.as_ref().map(ToString::to_string));
        update["floor"] = json!(standing.floor);
        update["quarantine"] = json!(quarantine);
        update["under_way"] = json!(record.state.job().map(|job| job.manifest.release.to_string()));
        update["ended"] = json!(standing.ended);
    }
    Ok(update)
}
