//! How large the device's program is, and how many packages it is made of.

use crate::measure::{build_device, cargo};
use crate::report::Report;
use anyhow::ensure;
use holdfast_tests::process::run;
use holdfast_tests::programs::program;
use std::collections::BTreeSet;

const PACKAGE: &str = "holdfast-device-client";

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_device()?;
    let size = std::fs::metadata(program("holdfast-device")?)?.len();
    report.at_most("client_size", size as f64, "B", f64::from(3 << 20), None);
    let packages = packages()?;
    ensure!(packages.iter().any(|line| line.starts_with(PACKAGE)), "cargo tree says nothing of {PACKAGE}");
    report.at_most("client_packages", packages.len() as f64, "", 110.0, None);
    Ok(())
}

/// Name and version of everything that the program is made of (build scripts and tests are not), itself included.
fn packages() -> anyhow::Result<BTreeSet<String>> {
    let args =
        ["tree", "--locked", "--package", PACKAGE, "--edges", "normal", "--prefix", "none", "--no-dedupe"];
    let said = run(cargo().args(args))?;
    let name_and_version = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(String::from_utf8_lossy(&said).lines().map(name_and_version).filter(|line| !line.is_empty()).collect())
}
