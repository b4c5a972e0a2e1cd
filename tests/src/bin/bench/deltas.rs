//! How small our patches are beside those of public tools on the same bytes, and what making them costs.
//!
//! Public tools: `bsdiff` (its own format, as the distribution ships it), crate `bsdiff` behind `zstd -19`, and
//! `zstd -19 --patch-from`. Their sizes depend on nothing but the pair, and take minutes for a large one: they are
//! kept in the cache under the digests of the pair. Ours are made anew in every run.

use crate::measure::{cpu_s, peak_resident};
use crate::report::Report;
use anyhow::{Context as _, ensure};
use holdfast_delta::encode::{Budget, encode};
use holdfast_delta::{Applied, Codec, Digest, Expected, Limits, Start, apply};
use holdfast_tests::cache::{self, large_pair, pybricks};
use holdfast_tests::plant::write;
use holdfast_tests::process::run;
use holdfast_tests::scratch::Scratch;
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `bench --encode CODEC BASE TARGET`
pub(crate) const ENCODE: &str = "--encode";
/// `bench --public-crate BASE TARGET`
pub(crate) const PUBLIC_CRATE: &str = "--public-crate";

const HUBS: [&str; 5] = ["primehub", "cityhub", "technichub", "movehub", "essentialhub"];
/// Ours may be this much larger than the smallest of the public tools'.
const RATIO: f64 = 1.05;
/// Memory of the encoder, in images.
const MEMORY: f64 = 8.0;

struct Pair {
    name: String,
    base: PathBuf,
    target: PathBuf,
}

/// What one build of ours came to.
struct Built {
    codec: Codec,
    bytes: f64,
    peak: f64,
    cpu_s: f64,
}

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (base, target) = large_pair()?;
    let large = Pair { name: "large".into(), base, target };
    for pair in pybricks_pairs()?.iter().chain([&large]) {
        let ours = smallest(pair)?;
        let (tool, public) = public(pair)?;
        println!("  {}: {} with {}, {public} with {tool}", pair.name, ours.bytes, ours.codec);
        report.at_most(format!("delta_ratio.{}", pair.name), ours.bytes / public, "x", RATIO, Some(public));
    }
    memory(&large, report)?;
    growth(&large, report)
}

/// Consecutive versions of the firmware of every hub.
fn pybricks_pairs() -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for hub in HUBS {
        for step in pybricks(hub)?.windows(2) {
            let name = format!("{hub}-{}-{}", step[0].version, step[1].version);
            pairs.push(Pair { name, base: step[0].path.clone(), target: step[1].path.clone() });
        }
    }
    Ok(pairs)
}

/// The smallest patch that a device with the default memory can apply.
fn smallest(pair: &Pair) -> anyhow::Result<Built> {
    let base_len = std::fs::metadata(&pair.base)?.len();
    let fits = |codec: &Codec| codec.ram_need(20, base_len, 1 << 20) <= Limits::default().ram_bytes;
    let built = Codec::ALL.into_iter().filter(fits).map(|codec| build(codec, pair));
    let built = built.collect::<anyhow::Result<Vec<Built>>>()?;
    built.into_iter().min_by(|a, b| a.bytes.total_cmp(&b.bytes)).context("no codec fits a device's memory")
}

fn memory(large: &Pair, report: &mut Report) -> anyhow::Result<()> {
    let image = std::fs::metadata(&large.target)?.len() as f64;
    let built = [Codec::Bsdiff, Codec::Full].map(|codec| build(codec, large));
    let built = built.into_iter().collect::<anyhow::Result<Vec<Built>>>()?;
    let most = built.iter().map(|built| built.peak).fold(0.0, f64::max);
    report.at_most("delta_encoder_mem", most / image, "x", MEMORY, Some(image));
    Ok(())
}

/// The same kernel, cut: what a build of `bsdiff` takes as the image grows.
fn growth(large: &Pair, report: &mut Report) -> anyhow::Result<()> {
    let scratch = Scratch::new("bench-growth");
    for mebibytes in [1_u64, 4, 16, 62] {
        let cut = |path: &Path, name: &str| -> anyhow::Result<PathBuf> {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(mebibytes << 20).read_to_end(&mut bytes)?;
            let to = scratch.join(name);
            write(&to, &bytes)?;
            Ok(to)
        };
        let pair = Pair {
            name: "cut".into(),
            base: cut(&large.base, "base")?,
            target: cut(&large.target, "target")?,
        };
        let built = build(Codec::Bsdiff, &pair)?;
        let peak = built.peak / f64::from(1 << 20);
        report.fact(format!("delta_encode_cpu.{mebibytes}MiB"), built.cpu_s, "s", None);
        report.fact(format!("delta_encode_peak.{mebibytes}MiB"), peak, "MiB", None);
    }
    Ok(())
}

/// Makes and applies a patch in a process of its own.
fn build(codec: Codec, pair: &Pair) -> anyhow::Result<Built> {
    let said = run(ourselves()?.arg(ENCODE).arg(codec.name()).arg(&pair.base).arg(&pair.target))?;
    let said: Value = serde_json::from_slice(&said)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name} in {said}"));
    Ok(Built { codec, bytes: number("bytes")?, peak: number("peak")?, cpu_s: number("cpu_s")? })
}

/// What [`build`] starts. The patch is applied after its cost was taken: one that does not rebuild counts for nothing.
pub(crate) fn encode_here(codec: &str, base: &Path, target: &Path) -> anyhow::Result<()> {
    let codec: Codec = codec.parse()?;
    let (base, target) = (std::fs::read(base)?, std::fs::read(target)?);
    let budget = Budget::for_images(base.len() as u64, target.len() as u64);
    let patch = encode(codec, &base, &target, &budget)?;
    let cost = json!({"bytes": patch.bytes.len(), "peak": peak_resident("self")?, "cpu_s": cpu_s("self")?});
    rebuilds(&patch.bytes, &base, &target)?;
    println!("{cost}");
    Ok(())
}

fn rebuilds(patch: &[u8], base: &[u8], target: &[u8]) -> anyhow::Result<Applied> {
    let expected = Expected {
        base_sha256: Some(Digest::of(base)),
        output_sha256: Digest::of(target),
        output_len: target.len() as u64,
    };
    let mut out = Cursor::new(Vec::new());
    let (mut patch, mut base) = (patch, Cursor::new(base));
    Ok(apply(&mut patch, &mut base, &mut out, &expected, &Limits::default(), Start::Beginning)?)
}

/// The smallest of what public tools make of a pair, and whose it is.
fn public(pair: &Pair) -> anyhow::Result<(String, f64)> {
    let digest = |path: &Path| -> anyhow::Result<Digest> { Ok(Digest::of(&std::fs::read(path)?)) };
    let kept = format!("{}-{}.json", digest(&pair.base)?, digest(&pair.target)?);
    let kept = cache::root().join("bench").join(kept);
    let sizes: Value = if let Ok(bytes) = std::fs::read(&kept) {
        serde_json::from_slice(&bytes).with_context(|| format!("{} is torn: remove it", kept.display()))?
    } else {
        let sizes = run_public(pair)?;
        write(&kept, sizes.to_string().as_bytes())?;
        sizes
    };
    let sizes = sizes.as_object().context("the kept sizes are no object")?;
    let sizes = sizes.iter().filter_map(|(tool, bytes)| Some((tool.clone(), bytes.as_f64()?)));
    sizes.min_by(|a, b| a.1.total_cmp(&b.1)).context("no public tool ran")
}

fn run_public(pair: &Pair) -> anyhow::Result<Value> {
    println!("  {}: the public tools run (minutes for a large pair, once)", pair.name);
    let scratch = Scratch::new("bench-public");
    let (by_bsdiff, by_zstd) = (scratch.join("bsdiff"), scratch.join("zstd"));
    let crate_bytes = std::thread::scope(|scope| {
        let by_crate = scope.spawn(|| -> anyhow::Result<u64> {
            let said = run(ourselves()?.arg(PUBLIC_CRATE).arg(&pair.base).arg(&pair.target))?;
            Ok(String::from_utf8_lossy(&said).trim().parse()?)
        });
        run(Command::new("bsdiff").arg(&pair.base).arg(&pair.target).arg(&by_bsdiff))?;
        let patch_from = format!("--patch-from={}", pair.base.display());
        // The window that `--patch-from` asks for itself; a base above 128 MiB would need a larger one.
        run(Command::new("zstd")
            .args(["-q", "-q", "-f", "-19", "--long=27"])
            .arg(patch_from)
            .arg(&pair.target)
            .arg("-o")
            .arg(&by_zstd))?;
        by_crate.join().map_err(|_| anyhow::anyhow!("the crate's run panicked"))?
    })?;
    let size = |path: &Path| -> anyhow::Result<u64> { Ok(std::fs::metadata(path)?.len()) };
    Ok(json!({
        "bsdiff": size(&by_bsdiff)?,
        "crate bsdiff + zstd -19": crate_bytes,
        "zstd -19 --patch-from": size(&by_zstd)?,
    }))
}

/// Address space for the stack of crate `bsdiff`.
const DIFF_STACK_BYTES: usize = 4 << 30;

/// Bytes of crate `bsdiff`'s stream behind zstd 19.
pub(crate) fn public_crate_here(base: &Path, target: &Path) -> anyhow::Result<()> {
    let (base, target) = (std::fs::read(base)?, std::fs::read(target)?);
    // It sorts by recursion, deeper than a usual stack for tens of megabytes; what it does not touch costs nothing.
    let diff = || {
        let mut stream = Vec::new();
        bsdiff::diff(&base, &target, &mut stream).map(|()| stream)
    };
    let stream = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DIFF_STACK_BYTES).spawn_scoped(scope, diff)?;
        thread.join().map_err(|_| anyhow::anyhow!("the crate's run panicked"))?.map_err(anyhow::Error::from)
    })?;
    let mut back = Vec::new();
    bsdiff::patch(&base, &mut Cursor::new(&stream), &mut back)?;
    ensure!(back == target, "the crate's stream does not rebuild the target");
    println!("{}", zstd::bulk::compress(&stream, 19)?.len());
    Ok(())
}

fn ourselves() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}
