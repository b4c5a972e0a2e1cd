//! The manufacturing line and enrolment: devices with release 1 in slot a, each with a TPM of its own; the last one is
//! an impostor.

use crate::report::Report;
use crate::{HARDWARE, done, say, text};
use anyhow::{Context as _, ensure};
use holdfast_tests::plant::{Device, Plant};
use serde_json::json;
use std::path::Path;

/// Of this device's link, so that its download takes a while: the power is cut in the middle of it.
pub(crate) const SLOW_BYTES_PER_S: u64 = 24 << 10;

/// How the agents of the demonstration are configured; `number` counts from 1, and device 2 has a slow link.
fn configuration(number: usize) -> String {
    let rate = if number == 2 { format!("rate_bytes_per_s = {SLOW_BYTES_PER_S}\n") } else { String::new() };
    format!(
        "event_log = \"boot/eventlog\"\n\n\
         [slots]\ninstaller = \"ab_slot\"\na = {{ rootfs = \"slots/a.img\" }}\nb = {{ rootfs = \"slots/b.img\" }}\n\n\
         [boot]\nkind = \"fake\"\nstyle = \"one_shot\"\n\n\
         [update]\npoll_min_s = 1\npoll_max_s = 1\n{rate}\n\
         [health.rootfs]\ncommands = [[\"sh\", \"-c\", \"unsquashfs -s $HOLDFAST_ARTEFACT_ROOTFS\"]]\ndeadline_s = 20\n"
    )
}

/// Makes the devices, claims them, and lets them enrol.
pub(crate) fn enrol(
    plant: &Plant,
    count: usize,
    image: &Path,
    report: &mut Report,
) -> anyhow::Result<Vec<Device>> {
    say(
        "line",
        &format!(
            "manufacturing {count} devices, each with a software TPM of its own and release 1 in slot a"
        ),
    );
    plant.trust_maker()?;
    let mut devices = Vec::new();
    for number in 1..=count {
        let device = plant.device(&format!("SN-{number:04}"), HARDWARE, &configuration(number))?;
        let record = device.put_release(plant, HARDWARE, "1", image)?.display().to_string();
        // `site` would be a fact of the record and not this label.
        let plant_of = if number % 2 == 1 { "plant=a" } else { "plant=b" };
        let args =
            ["device", "register", &record, "--label", &format!("hardware={HARDWARE}"), "--label", plant_of];
        plant.well("operator", &args)?;
        devices.push(device);
    }
    let claimed = plant.json("viewer", &["device", "list"])?;
    done(&format!(
        "{} devices made and claimed by serial and endorsement key",
        claimed.as_array().map_or(0, Vec::len)
    ));

    let mut impostor = devices.pop().context("no device")?;
    say(
        "enrol",
        &format!(
            "{} devices prove themselves; {} holds an imported software key",
            devices.len(),
            impostor.serial
        ),
    );
    for device in &devices {
        device.run(&["boot"])?.well(&["boot", &device.serial])?;
        device.run(&["enroll"])?.well(&["enroll", &device.serial])?;
    }
    refuse_the_impostor(plant, &mut impostor, report)?;
    for device in &devices {
        let shown = plant.json("viewer", &["device", "show", &device.id()?])?;
        ensure!(shown["state"] == "ACTIVE", "{} is {}", device.serial, shown["state"]);
        done(&format!(
            "{} is ACTIVE, tier {} ({} root)",
            device.serial,
            text(&shown["tier"]),
            text(&shown["root_class"])
        ));
    }
    Ok(devices)
}

fn refuse_the_impostor(plant: &Plant, impostor: &mut Device, report: &mut Report) -> anyhow::Result<()> {
    impostor.run(&["boot"])?.well(&["boot", &impostor.serial])?;
    impostor.import_software_key()?;
    let refused = impostor.run(&["enroll"])?;
    ensure!(refused.status == 4, "the impostor was not refused: {}{}", refused.err, refused.out);
    let attempts = plant.json("viewer", &["enrollment", "list", "--state", "refused"])?;
    for attempt in attempts.as_array().into_iter().flatten() {
        report.refused.push(json!({"serial": attempt["serial"], "reason": attempt["reason"]}));
        done(&format!("{} was refused: {}", text(&attempt["serial"]), text(&attempt["reason"])));
    }
    ensure!(
        report.refused.iter().any(|one| one["serial"] == json!(impostor.serial)),
        "the service keeps no record of the impostor"
    );
    // Nobody has a use for its TPM any more: a kept demo would leave it behind.
    if let Some(tpm) = &mut impostor.tpm {
        tpm.stop()?;
    }
    Ok(())
}
