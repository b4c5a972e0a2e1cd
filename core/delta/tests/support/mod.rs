//! What the suites of this crate stand on: real firmware, one call to make and to apply a patch, and a
//! forge that writes patches with exactly one fault.
//!
//! Must not live here: expectations.
#![allow(dead_code, unreachable_pub, reason = "each suite compiles it for itself and uses its part")]

pub mod allocator;
pub mod forge;

use std::io::Cursor;
use std::path::PathBuf;

use holdfast_delta::encode::{self, Budget, Encoded};
use holdfast_delta::{Applied, Codec, DeltaError, Digest, Expected, Limits, Start, apply};

/// A base and what it becomes.
pub struct Pair {
    pub name: String,
    pub base: Vec<u8>,
    pub target: Vec<u8>,
}

const HUBS: [&str; 5] = ["primehub", "cityhub", "technichub", "movehub", "essentialhub"];
const VERSIONS: [&str; 3] = ["7.22.0", "7.27.0", "7.28.0"];

/// Consecutive versions of the firmware of every hub.
pub fn pybricks_pairs() -> Vec<Pair> {
    let pair = |hub: &str, step: &[&str]| {
        let image = |version: &str| firmware(&format!("pybricks-{version}-{hub}.bin"));
        Pair {
            name: format!("{hub} {} to {}", step[0], step[1]),
            base: image(step[0]),
            target: image(step[1]),
        }
    };
    HUBS.iter().flat_map(|hub| VERSIONS.windows(2).map(move |step| pair(hub, step))).collect()
}

/// A small pair with much in common: one hub, one minor version.
pub fn small_pair() -> Pair {
    pybricks_pairs().remove(1)
}

/// A stretch of both large images; `shift` moves the base's against the target's.
pub fn large_slice(offset: u64, len: u64, shift: u64) -> Pair {
    Pair {
        name: format!("large, {len} bytes at {offset}, shifted by {shift}"),
        base: slice("large-1.bin", offset + shift, len),
        target: slice("large-2.bin", offset, len),
    }
}

fn firmware(name: &str) -> Vec<u8> {
    let path = firmware_path(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run tests/setup/firmware.sh", path.display()))
}

fn slice(name: &str, offset: u64, len: u64) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let path = firmware_path(name);
    let mut bytes = vec![0; len as usize];
    let mut read = || {
        let mut file = std::fs::File::open(&path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)
    };
    read().unwrap_or_else(|error| panic!("{}: {error}: run tests/setup/firmware.sh", path.display()));
    bytes
}

fn firmware_path(name: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cache =
        std::env::var_os("HOLDFAST_CACHE").map_or_else(|| home().join(".cache/holdfast"), PathBuf::from);
    cache.join("firmware").join(name)
}

/// Deterministic bytes that no codec can shrink.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

pub fn expected(base: &[u8], target: &[u8]) -> Expected {
    Expected {
        base_sha256: Some(Digest::of(base)),
        output_sha256: Digest::of(target),
        output_len: target.len() as u64,
    }
}

pub fn make(codec: Codec, base: &[u8], target: &[u8]) -> Encoded {
    encode::encode(codec, base, target, &Budget::for_images(base.len() as u64, target.len() as u64))
        .unwrap_or_else(|error| panic!("{codec}: {error}"))
}

/// Limits of a device that gives `zstd_patch` what this base needs, and everything else the default.
pub fn limits_for(codec: Codec, base_len: u64) -> Limits {
    let default = Limits::default();
    match codec {
        Codec::ZstdPatch => Limits { ram_bytes: default.ram_bytes + base_len, ..default },
        _ => default,
    }
}

/// Applies to an empty medium.
pub fn rebuild(
    patch: &[u8],
    base: &[u8],
    expected: &Expected,
    limits: &Limits,
) -> Result<(Applied, Vec<u8>), DeltaError> {
    let mut out = Cursor::new(Vec::new());
    let applied =
        apply(&mut &patch[..], &mut Cursor::new(base), &mut out, expected, limits, Start::Beginning)?;
    Ok((applied, out.into_inner()))
}
