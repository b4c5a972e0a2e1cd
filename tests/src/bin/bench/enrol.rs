//! What an enrolment costs the service: its CPU for whole enrolments by TPM, over that of the cryptography that an
//! enrolment cannot do without.
//!
//! A fleet's devices are other machines, and many: their TPMs' work takes no core of the service and no cache. Here,
//! where both share two cores, the service has one for itself, the devices have the other, and what they say is held
//! back until all have come as far ([`Gate`]). The operations are measured on the service's core, repeated as the
//! service repeats them. What one device costs that comes alone, to caches that its TPM has filled, is told beside it.

use crate::alone::{Operations, Traffic};
use crate::gate::Gate;
use crate::measure::{build_programs, cpu_of_threads_ns, stay_on_core};
use crate::report::Report;
use anyhow::ensure;
use holdfast_tests::plant::{Device, Plant};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use std::thread;

const HARDWARE: &str = "gateway";
/// Devices that come at once, and how often so many come; the first crowd warms the service up and is not counted.
const CROWD: usize = 12;
const CROWDS: usize = 12;
/// Devices that come one by one; the first is not counted.
const ALONE: usize = 13;
const ROUNDS: usize = 100;
/// What the service may need, in sums of its cryptographic operations.
const RATIO: f64 = 2.0;
/// An enrolment's connections: M1 and M3, then M5 with the new certificate.
const CONNECTIONS: usize = 2;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    // In a thread that ends: it changes cores.
    thread::scope(|scope| scope.spawn(|| enrolments(report)).join())
        .map_err(|_| anyhow::anyhow!("a panic"))?
}

fn enrolments(report: &mut Report) -> anyhow::Result<()> {
    let operations = Operations::new()?;
    let scratch = Scratch::new("bench-enrol");
    stay_on_core(0)?;
    let mut plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    stay_on_core(1)?;
    plant.trust_maker()?;
    let pid = plant.service().pid().to_string();
    let (mut each, mut traffic) = (Vec::new(), Traffic { received: 0, sent: 0 });
    for crowd in 0..CROWDS {
        let devices = claimed(&plant, &format!("C{crowd}-"), CROWD)?;
        let gate = Gate::before(&plant, CROWD)?;
        for device in &devices {
            gate.redirect(device)?;
        }
        let spent = spent_ns(&pid, || at_once(&devices, &gate))?;
        ensure!(gate.connections() == CROWD * CONNECTIONS, "{} connections", gate.connections());
        traffic = gate.traffic(CROWD);
        println!("  crowd {crowd}: {:.2} ms a device", spent as f64 / CROWD as f64 / 1e6);
        each.push(spent / CROWD as u64);
    }
    let (mut single, mut cold) = (Vec::new(), Vec::new());
    for device in claimed(&plant, "A", ALONE)? {
        single.push(spent_ns(&pid, || enrol(&device))?);
        stay_on_core(0)?;
        cold.push(operations.once_ns(traffic)?);
        stay_on_core(1)?;
    }
    stay_on_core(0)?;
    let mut alone = (0..ROUNDS).map(|_| operations.once_ns(traffic)).collect::<anyhow::Result<Vec<_>>>()?;
    let (each, alone) = (median(&mut each[1..]), median(&mut alone));
    let (single, cold) = (median(&mut single[1..]), median(&mut cold[1..]));
    ensure!(each > 0.0, "the kernel counts no CPU time of threads here");
    report.at_most("enrol_cpu", each / alone, "x", RATIO, Some(1.0));
    report.fact("enrol_cpu.service", each / 1e6, "ms", Some(alone / 1e6));
    report.fact("enrol_cpu.one_by_one", single / 1e6, "ms", Some(cold / 1e6));
    Ok(())
}

/// CPU time of the process's threads during `run`.
fn spent_ns(pid: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let before = cpu_of_threads_ns(pid)?;
    run()?;
    let after = cpu_of_threads_ns(pid)?;
    Ok(after.iter().map(|(thread, ns)| ns - before.get(thread).unwrap_or(&0)).sum())
}

fn at_once(devices: &[Device], gate: &Gate) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = devices
            .iter()
            .map(|device| {
                scope.spawn(|| {
                    let ended = enrol(device);
                    gate.leave();
                    ended
                })
            })
            .collect();
        running.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a panic"))?)
    })
}

fn enrol(device: &Device) -> anyhow::Result<()> {
    device.run(&["enroll"])?.well(&["enroll"]).map(|_| ())
}

/// What the service does for itself meanwhile belongs to nobody's enrolment.
fn median(of: &mut [u64]) -> f64 {
    of.sort_unstable();
    of[of.len() / 2] as f64
}

/// Devices with TPMs of their own, claimed and not yet enrolled.
fn claimed(plant: &Plant, name: &str, count: usize) -> anyhow::Result<Vec<Device>> {
    let one = |n| {
        let device = plant.device(&format!("BENCH-{name}{n}"), HARDWARE, "")?;
        let record = device.manufacture()?.display().to_string();
        plant.well("operator", &["device", "register", &record])?;
        Ok(device)
    };
    (0..count).map(one).collect()
}
