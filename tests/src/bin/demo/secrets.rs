//! A secret that one device may read and another may not.

use crate::report::Report;
use crate::{done, say, text};
use anyhow::{Context as _, ensure};
use holdfast_tests::plant::{Device, Plant};
use serde_json::json;

const PATH: &str = "plant-a/mqtt/password";

pub(crate) fn hand_out(plant: &Plant, devices: &[Device], report: &mut Report) -> anyhow::Result<()> {
    say("secret", &format!("{PATH} is written, and granted to the devices of plant-a at tier T4"));
    let put = ["secret", "put", PATH, "--content-type", "text/plain"];
    plant.holdfast_with("secret-writer", &put, b"correct horse battery staple")?.well(&put)?;
    let propose = ["grant", "propose", PATH, "--devices", "plant=a", "--min-tier", "T4"];
    let grant = plant.json("grant-admin", &propose)?;
    plant.well(
        "grant-approver",
        &["grant", "approve", grant["id"].as_str().context("the grant has no id")?],
    )?;
    for device in &devices[..2] {
        let said = device.run(&["secret", PATH])?;
        let allowed = said.status == 0;
        ensure!(
            allowed == (said.out == "correct horse battery staple"),
            "{} read another value",
            device.serial
        );
        let told = plant.json("grant-admin", &["explain", PATH, "--device", &device.id()?])?;
        ensure!(told["allow"] == json!(allowed), "the explanation and the answer differ: {told}");
        let facts =
            json!({"device": device.id()?, "path": PATH, "allowed": allowed, "reason": told["reason"]});
        report.secrets.push(facts);
        let word = if allowed { "may read it" } else { "may not" };
        done(&format!("{} {word}: {}", device.serial, text(&told["reason"])));
    }
    let right = report.secrets[0]["allowed"] == json!(true) && report.secrets[1]["allowed"] == json!(false);
    ensure!(right, "the wrong device read the secret");
    Ok(())
}
