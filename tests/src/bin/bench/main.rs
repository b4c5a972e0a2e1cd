//! `make bench`: the numbers that Holdfast promises, measured on real parts in this run, as `.bench/report.json` and
//! as a table.
//!
//! Lives here: what is measured and against which goal. Must not live here: a number. A part that cannot be measured
//! leaves its rows out, says why, and makes the whole run fail.

mod alone;
mod bare;
mod client;
mod deltas;
mod enrol;
mod gate;
mod growth;
mod measure;
mod poll;
mod report;
mod update;

use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// A group of rows, by the name that `--only` takes.
struct Part {
    name: &'static str,
    measure: fn(&mut Report) -> anyhow::Result<()>,
}

const PARTS: [Part; 6] = [
    Part { name: "client", measure: client::measure },
    Part { name: "delta", measure: deltas::measure },
    Part { name: "update", measure: update::measure },
    Part { name: "poll", measure: poll::measure },
    Part { name: "enrol", measure: enrol::measure },
    Part { name: "growth", measure: growth::measure },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ended = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(None),
        ["--only", part] => run(Some(part)),
        // What this program starts of itself, so that each build is a process with a peak of its own.
        [deltas::ENCODE, codec, base, target] => {
            deltas::encode_here(codec, Path::new(base), Path::new(target))
        }
        [deltas::PUBLIC_CRATE, base, target] => deltas::public_crate_here(Path::new(base), Path::new(target)),
        _ => {
            eprintln!("usage: bench [--only {}]", PARTS.map(|part| part.name).join("|"));
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the bench says how long it took")]
fn run(only: Option<&str>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut report = Report::default();
    let mut failed = Vec::new();
    for part in PARTS.iter().filter(|part| only.is_none_or(|only| only == part.name)) {
        println!("[bench] {}", part.name);
        if let Err(error) = (part.measure)(&mut report) {
            eprintln!("[bench] {} could not be measured: {error:#}", part.name);
            failed.push(part.name);
        }
    }
    let path = Path::new(".bench/report.json");
    report.write(path)?;
    println!("\n{report}\n{} rows in {} after {} s", report.len(), path.display(), began.elapsed().as_secs());
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
