//! How much memory the applier takes: what it states and never more than 8 MiB, whatever the image's
//! length. Measured from outside, as resident memory of a process that applies from disk to disk, because
//! zstd's memory is C's; and counted, allocation by allocation, for our own part.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use holdfast_delta::{Codec, Limits, Start, apply};
use support::allocator::{Counting, peak_of};
use support::{Pair, expected, large_slice, make, noise};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BOUND: u64 = 8 << 20;
/// Where the child finds its files.
const CHILD: &str = "HOLDFAST_DELTA_MEMORY_CHILD";

/// Longer than the bound, and quick to make: for `bsdiff` an image whose parts changed places, for `full` one
/// that repeats itself; real code at the end of both.
fn long_pair(codec: Codec) -> Pair {
    let real = large_slice(8 << 20, 1 << 20, 4_096);
    let filling = match codec {
        Codec::Full => noise(64 << 10, 4).repeat(160),
        _ => noise(10 << 20, 4),
    };
    let base = [&real.base[..], &filling].concat();
    let target = [&filling[..], &real.target].concat();
    Pair { name: "long".into(), base, target }
}

#[test]
fn resident_memory_stays_within_what_the_patch_states() {
    let short = large_slice(8 << 20, 1 << 20, 4_096);
    for codec in [Codec::Bsdiff, Codec::Full] {
        let long = long_pair(codec);
        assert!(long.target.len() as u64 > BOUND);
        for pair in [&short, &long] {
            let patch = make(codec, &pair.base, &pair.target);
            let (stated, grown) = (patch.header.ram_bytes, resident_growth(codec, pair, &patch.bytes));
            assert!(
                grown <= stated,
                "{}, {codec}: grew by {grown} bytes, the patch states {stated}",
                pair.name
            );
            assert!(stated <= BOUND, "{}, {codec}: {stated}", pair.name);
        }
    }
}

#[test]
fn our_own_allocations_are_few_and_do_not_grow_with_the_image() {
    let held = |codec, pair: &Pair| {
        let patch = make(codec, &pair.base, &pair.target).bytes;
        let (base, out) = (std::io::Cursor::new(&pair.base), Vec::with_capacity(pair.target.len()));
        let (mut base, mut out) = (base, std::io::Cursor::new(out));
        let plan = expected(&pair.base, &pair.target);
        let run = || apply(&mut &patch[..], &mut base, &mut out, &plan, &Limits::default(), Start::Beginning);
        let (result, held) = peak_of(run);
        result.unwrap();
        held
    };
    // `full` reads up to 1 MiB of its own output back as history.
    for (codec, most) in [(Codec::Bsdiff, 256 << 10), (Codec::Full, (1 << 20) + (256 << 10))] {
        let short = held(codec, &large_slice(8 << 20, 1 << 20, 4_096));
        let long = held(codec, &long_pair(codec));
        assert!(short <= most && long <= most, "{codec}: {short} and {long}, at most {most}");
    }
}

/// Resident bytes that applying adds, in a process of its own.
fn resident_growth(codec: Codec, pair: &Pair, patch: &[u8]) -> u64 {
    let folder = std::env::temp_dir().join(format!(
        "holdfast-delta-{}-{codec}-{}",
        std::process::id(),
        pair.base.len()
    ));
    fs::create_dir_all(&folder).unwrap();
    let files = [("base", &pair.base[..]), ("target", &pair.target), ("patch", patch)];
    for (name, bytes) in files {
        File::create(folder.join(name)).unwrap().write_all(bytes).unwrap();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_applies", "--nocapture", "--test-threads=1"])
        .env(CHILD, &folder)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let grown = said.lines().find_map(|line| line.split_once("grown=")?.1.parse().ok());
    grown.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&child.stderr)))
}

/// Not a test by itself: what `resident_growth` starts.
#[test]
fn child_that_applies() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    let plan = {
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        expected(&read("base"), &read("target"))
    };
    let open = |name: &str| File::open(folder.join(name)).unwrap();
    let mut out = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(folder.join("out"))
        .unwrap();
    // From here on the peak is that of the applier (5: reset the high-water mark).
    OpenOptions::new().write(true).open("/proc/self/clear_refs").unwrap().write_all(b"5").unwrap();
    let before = resident("VmRSS:");
    apply(&mut open("patch"), &mut open("base"), &mut out, &plan, &Limits::default(), Start::Beginning)
        .unwrap();
    println!("\ngrown={}", resident("VmHWM:").saturating_sub(before));
}

fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
