//! What the demonstration showed, read back from the service: `.demo/report.json`.

use holdfast_tests::plant::{Device, Plant, write};
use serde_json::{Value, json};
use std::path::Path;

/// The facts.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) devices: Vec<Value>,
    pub(crate) refused: Vec<Value>,
    pub(crate) updates: Vec<Value>,
    pub(crate) rollouts: Vec<Value>,
    pub(crate) secrets: Vec<Value>,
    /// None: the leg was not asked for.
    pub(crate) kubernetes: Option<Value>,
    pub(crate) power_cuts: u32,
}

impl Report {
    /// The devices as the service has them now.
    pub(crate) fn read_devices(&mut self, plant: &Plant, devices: &[Device]) -> anyhow::Result<()> {
        for device in devices {
            let id = device.id()?;
            let shown = plant.json("viewer", &["device", "show", &id])?;
            self.devices.push(json!({
                "id": id, "serial": device.serial, "tier": shown["tier"], "root_class": shown["root_class"],
                "state": shown["state"], "release": shown["release"],
            }));
        }
        Ok(())
    }

    pub(crate) fn write(&self, demo: &Path, wall_s: u64) -> anyhow::Result<()> {
        let mut document = json!({
            "devices": self.devices, "refused": self.refused, "updates": self.updates,
            "rollouts": self.rollouts, "secrets": self.secrets, "power_cuts": self.power_cuts, "wall_s": wall_s,
        });
        if let Some(facts) = &self.kubernetes {
            document["kubernetes"] = facts.clone();
        }
        write(&demo.join("report.json"), serde_json::to_string_pretty(&document)?.as_bytes())
    }
}
