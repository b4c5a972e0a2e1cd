//! What the kernel knows about a process, and the building of what is measured.

use anyhow::Context as _;
use holdfast_tests::process::run;
use std::process::Command;

/// A process's resident memory at its largest, bytes.
pub(crate) fn peak_resident(pid: &str) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// A process's resident memory now, bytes.
pub(crate) fn resident(pid: &str) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: &str, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? * 1024)
}

/// CPU seconds that a process and its threads took, user and system.
pub(crate) fn cpu_s(pid: &str) -> anyhow::Result<f64> {
    // Linux counts in USER_HZ, which is 100 wherever this runs.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; after it, utime and stime are the 12th and 13th words.
    let (_, words) = stat.rsplit_once(')').context("/proc/PID/stat is malformed")?;
    let ticks = words.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_S)
}

/// Builds a package of this workspace as it is shipped: alone, so that no other package's features are in it.
pub(crate) fn build(package: &str) -> anyhow::Result<()> {
    println!("  building {package}, release (the first time takes some minutes)");
    run(cargo().args(["build", "--locked", "--release", "--package", package, "--bins"]))?;
    Ok(())
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
