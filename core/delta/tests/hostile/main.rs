//! Patches with one fault each. A fixture is named after its fault and is refused for that reason and no
//! other: without the fault the same patch is taken (`the_fixtures_without_their_faults`).

#[path = "../support/mod.rs"]
mod support;

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use holdfast_delta::limits::{max_controls, max_inflated};
use holdfast_delta::{Applied, Codec, DeltaError, Digest, Expected, Limits, Start, apply};
use proptest::prelude::*;
use support::allocator::{Counting, peak_of};
use support::forge::{Control, Forge, back, compress, compress_with_window};
use support::{expected, make, noise};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIGN: u64 = 1 << 63;

fn base() -> Vec<u8> {
    noise(60_000, 1)
}

/// The base with its second half changed here and there, and something new between.
fn target() -> Vec<u8> {
    let mut target = base();
    target[30_000..].iter_mut().step_by(100).for_each(|byte| *byte = byte.wrapping_add(4));
    target.splice(20_000..20_000, noise(500, 2));
    target
}

fn good(codec: Codec) -> Forge {
    Forge::of(&make(codec, &base(), &target()).bytes)
}

/// Three frames and more: each closes at 192 KiB compressed, and most of the target is new.
fn long() -> (Vec<u8>, Vec<u8>) {
    let base = noise(100_000, 3);
    let target = [&base[..50_000], &noise(300_000, 4), &base[50_000..], &noise(300_000, 5), &base].concat();
    (base, target)
}

fn try_patch(patch: &[u8]) -> Result<Applied, DeltaError> {
    try_with(patch, &Limits::default())
}

fn try_with(patch: &[u8], limits: &Limits) -> Result<Applied, DeltaError> {
    try_pair(patch, &base(), &expected(&base(), &target()), limits)
}

fn try_pair(patch: &[u8], base: &[u8], expected: &Expected, limits: &Limits) -> Result<Applied, DeltaError> {
    support::rebuild(patch, base, expected, limits).map(|(applied, _)| applied)
}

/// `tar` out of `bar`-like images by hand: add 6, copy 2, back to 1, add 3.
fn hand_made(change: impl FnOnce(&mut [Control<'_>; 2])) -> (Vec<u8>, Vec<u8>, Forge) {
    let (base, target) = (b"0123456789".to_vec(), b"012345xy123".to_vec());
    let mut controls = [
        Control { add: 6, copy: 2, seek: back(5), bytes: b"\0\0\0\0\0\0xy" },
        Control { add: 3, copy: 0, seek: 0, bytes: b"\0\0\0" },
    ];
    change(&mut controls);
    let forge = Forge::controls(&base, &target, &controls);
    (base, target, forge)
}

/// `refused!(result, DeltaError::Variant { field: value, .. })`
macro_rules! refused {
    ($result:expr, $reason:pat $(if $guard:expr)?) => {
        match $result {
            Err($reason) $(if $guard)? => {}
            other => panic!("wanted {}, got {other:?}", stringify!($reason)),
        }
    };
}

mod anything;
mod controls;
mod frames;
mod header;
mod medium;
mod plan;
mod stream;

#[test]
fn the_fixtures_without_their_faults() {
    for codec in Codec::ALL {
        let forge = good(codec);
        assert_eq!(
            forge.bytes(),
            make(codec, &base(), &target()).bytes,
            "the forge changes nothing by itself"
        );
        try_patch(&forge.bytes()).unwrap_or_else(|error| panic!("{codec}: {error}"));
    }
    let (base, target, forge) = hand_made(|_| {});
    try_pair(&forge.bytes(), &base, &expected(&base, &target), &Limits::default()).unwrap();
    let (base, target) = long();
    for codec in [Codec::Full, Codec::Bsdiff] {
        let patch = make(codec, &base, &target);
        assert!(patch.header.frame_count >= 3, "{codec}");
        try_pair(&patch.bytes, &base, &expected(&base, &target), &Limits::default()).unwrap();
    }
}
