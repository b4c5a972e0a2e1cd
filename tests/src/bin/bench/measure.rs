//! What the kernel knows about a process, and the building of what is measured.

use anyhow::Context as _;
use holdfast_tests::process::run;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::BTreeMap;
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

/// CPU time of each thread of a process, nanoseconds, by thread id.
pub(crate) fn cpu_of_threads_ns(pid: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        // One that ended since has no more to say.
        let Ok(said) = std::fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let ns = said.split_whitespace().next().context("schedstat is empty")?.parse()?;
        threads.insert(entry.file_name().to_string_lossy().into_owned(), ns);
    }
    Ok(threads)
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(crate) fn stay_on_core(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("there is no core {core}"))
}

/// Builds packages of this workspace as they are shipped, with no features of others in them, and puts their programs
/// beside us.
fn build(profile: &str, packages: &[&str], programs: &[&str]) -> anyhow::Result<()> {
    println!("  building {}, profile {profile} (the first time takes some minutes)", packages.join(" and "));
    let named = packages.iter().flat_map(|package| ["--package", package]);
    run(cargo().args(["build", "--locked", "--profile", profile, "--bins"]).args(named))?;
    let own = std::env::current_exe()?;
    let ours = own.parent().context("a program stands in a folder")?;
    let theirs = ours.with_file_name(profile);
    if theirs == ours {
        return Ok(());
    }
    for program in programs {
        std::fs::copy(theirs.join(program), ours.join(program))
            .with_context(|| format!("{program} is not in {}", theirs.display()))?;
    }
    Ok(())
}

/// The device's program, small.
pub(crate) fn build_device() -> anyhow::Result<()> {
    build("release", &["holdfast-device-client"], &["holdfast-device"])
}

/// Every program that a plant needs.
pub(crate) fn build_programs() -> anyhow::Result<()> {
    // Each by itself, as `docs/start/install.md` has it: together, libraries that both use get the features of both.
    build("service", &["holdfast-server"], &["holdfastd"])?;
    build("service", &["holdfast-cli"], &["holdfast"])?;
    build_device()
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
