//! `status`: what this device is, where it stands, what it runs. Reads; changes nothing.

use crate::boot;
use crate::config::Config;
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::{installer, journal};
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
    let saved = journal::peek(&config.state("journal"));
    let booted = boot::facts(config).ok();
    let mut update = json!({
        "slot": booted.as_ref().map(|facts| facts.slot.as_str()),
        "on_trial": booted.as_ref().map(|facts| facts.on_trial),
        "state": match &saved {
            Saved::Record(record) => record.state.word(),
            // The journal begins with the first update: until then nothing is under way.
            Saved::Nothing => "idle",
            Saved::NotUnderstood => "recovery",
        },
    });
    if let (Saved::Nothing, Some(facts)) = (&saved, &booted) {
        // What the line put there, by the slot's own install record.
        let record = installer::open(config)?.record(facts.slot);
        update["release"] = json!(record.map(|record| record.release.to_string()));
        update["quarantine"] = json!([]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Fake;
    use crate::installer::SlotRecord;
    use holdfast_decide::device::{BootKind, Slot};
    use holdfast_proto::Digest;
    use std::collections::BTreeMap;

    #[test]
    fn a_device_that_never_updated_says_what_the_line_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        let text = "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob.json\"\nkeystore = \"file\"\n\
                    [slots]\ninstaller = \"ab_slot\"\na = { rootfs = \"a.img\" }\nb = { rootfs = \"b.img\" }\n\
                    [boot]\nkind = \"fake\"\n";
        crate::files::write(&path, text.as_bytes()).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(update(&config).unwrap()["slot"], Value::Null, "it is off");
        let record = SlotRecord {
            release: "7".into(),
            manifest: Digest([1; 32]),
            security_counter: 1,
            artefacts: BTreeMap::new(),
        };
        installer::open(&config).unwrap().put_record(Slot::A, &record).unwrap();
        Fake::open(&folder.path().join("boot"), BootKind::OneShot).unwrap().came_up(Slot::A).unwrap();
        let update = update(&config).unwrap();
        assert_eq!((&update["release"], &update["state"]), (&json!("7"), &json!("idle")));
    }
}
