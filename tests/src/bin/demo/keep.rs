//! What a kept demonstration leaves behind: `.demo/env` for the operator's commands, `.demo/pids` for `make demo-stop`.

use crate::folder;
use anyhow::Context as _;
use holdfast_tests::kube_leg::Leg;
use holdfast_tests::plant::{Plant, write};
use holdfast_tests::programs::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Programs that `stop` may end.
const OURS: [&str; 6] = ["device-life", "holdfast-device", "holdfastd", "swtpm", "kube-apiserver", "etcd"];

/// `.demo/env`: what the commands need to speak to this service.
pub(crate) fn write_env(demo: &Path, plant: &Plant, leg: Option<&Leg>) -> anyhow::Result<()> {
    let data = plant.data();
    let tokens: Value = serde_json::from_slice(&std::fs::read(data.join("tokens.json"))?)?;
    let token = tokens["installation-admin"].as_str().context("no token for installation-admin")?;
    let command = program("holdfast")?;
    let programs = command.parent().context("the program stands in no folder")?.display();
    let mut text = format!(
        "export PATH=\"$PATH:{programs}\"\nexport HOLDFAST_URL='{}'\nexport HOLDFAST_CA='{}'\nexport HOLDFAST_TOKEN='{token}'\nexport HOLDFAST_TOKEN_FILE='{}'\n",
        plant.url,
        data.join("ca.pem").display(),
        data.join("tokens.json").display()
    );
    if let Some(leg) = leg {
        let (kubectl, config) = (leg.kube.kubectl_path().display(), leg.kube.admin_kubeconfig().display());
        writeln!(text, "export KUBECONFIG='{config}'\nalias kubectl='{kubectl}'")?;
    }
    write(&demo.join("env"), text.as_bytes())
}

/// Ends what a kept demo left running: processes that it started, by id, if they are still those.
pub(crate) fn stop() -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(folder().join("pids")) else {
        println!("[demo-stop] no demo is running");
        return Ok(());
    };
    let mut ended = 0;
    // Machines before what they speak to: the last that was started first.
    for pid in text.lines().rev().filter_map(|line| line.parse::<i32>().ok()) {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = OURS.iter().any(|name| command.contains(name));
        if let Some(pid) = Pid::from_raw(pid).filter(|_| ours) {
            // After SIGTERM the API server lingers on its port; nothing of it is worth a farewell.
            let is_kube = ["kube-apiserver", "etcd"].iter().any(|name| command.contains(name));
            kill_process(pid, if is_kube { Signal::KILL } else { Signal::TERM })?;
            ended += 1;
        }
    }
    std::fs::remove_file(folder().join("pids"))?;
    println!("[demo-stop] {ended} processes ended");
    Ok(())
}
