//! Every codec rebuilds every real pair, and whatever else two images may be to each other.

mod support;

use holdfast_delta::encode::{self, Budget};
use holdfast_delta::{Codec, Digest, FRAME_LEN, Limits};
use proptest::prelude::*;
use support::{Pair, expected, large_slice, limits_for, make, noise, pybricks_pairs, rebuild};

/// Makes, applies, compares; returns the bytes of the patch.
fn round_trip(codec: Codec, pair: &Pair) -> u64 {
    let (name, base, target) = (&pair.name, &pair.base[..], &pair.target[..]);
    let patch = make(codec, base, target);
    assert_eq!(patch.header.patch_len, patch.bytes.len() as u64, "{name}, {codec}");
    let limits = limits_for(codec, base.len() as u64);
    let (applied, out) = rebuild(&patch.bytes, base, &expected(base, target), &limits)
        .unwrap_or_else(|error| panic!("{name}, {codec}: {error}"));
    assert!(out == target, "{name}, {codec}: another image came out");
    assert_eq!(applied.output_sha256, Digest::of(target), "{name}, {codec}");
    assert_eq!((applied.codec, applied.frames_kept), (codec, 0), "{name}");
    assert_eq!(applied.frames_applied, patch.header.frame_count, "{name}, {codec}");
    patch.bytes.len() as u64
}

#[test]
fn real_firmware_of_every_hub() {
    for pair in pybricks_pairs() {
        let [bsdiff, full, zstd_patch] = Codec::ALL.map(|codec| round_trip(codec, &pair));
        // What a delta is for: both are far below full, and full is below the image.
        assert!(
            bsdiff * 100 < full * 85 && zstd_patch * 100 < full * 85,
            "{}: {bsdiff} {zstd_patch} {full}",
            pair.name
        );
        assert!(full < pair.target.len() as u64, "{}: {full}", pair.name);
    }
}

#[test]
fn real_firmware_backwards() {
    let mut pair = support::small_pair();
    std::mem::swap(&mut pair.base, &mut pair.target);
    for codec in Codec::ALL {
        round_trip(codec, &pair);
    }
}

#[test]
fn stretches_of_a_real_kernel() {
    // Text, and text whose base lies elsewhere: more than one frame long.
    round_trip(Codec::Bsdiff, &large_slice(40 << 20, 5 << 20, 0));
    round_trip(Codec::Bsdiff, &large_slice(20 << 20, 5 << 20, 777_777));
    round_trip(Codec::Full, &large_slice(4 << 20, 1 << 20, 0));
    // Each frame indexes the whole base again: a short one.
    let mut pair = large_slice(8 << 20, 1 << 20, 4_096);
    pair.base.truncate(256 << 10);
    round_trip(Codec::ZstdPatch, &pair);
}

#[test]
fn a_real_image_padded_to_its_slot() {
    // Runs of one byte in both, in one, of other lengths and other bytes: all of them are cut.
    let real = support::small_pair();
    let padded = |image: &[u8], inside: usize, byte: u8, end: usize| {
        let (head, tail) = image.split_at(image.len() / 3);
        [head, &vec![byte; inside], tail, &vec![0xff; end]].concat()
    };
    for (inside, byte, end) in [(70_000, 0, 300_000), (4_096, 0xff, 4_096), (0, 0, 9_000), (5_000, 7, 0)] {
        let base = padded(&real.base, 70_000, 0, 200_000);
        let target = padded(&real.target, inside, byte, end);
        let pair = Pair { name: format!("padded by {inside} x {byte} and {end}"), base, target };
        round_trip(Codec::Bsdiff, &pair);
    }
}

#[test]
fn images_at_the_edge() {
    let some = noise(10_000, 1);
    let cases: [(&str, &[u8], &[u8]); 9] = [
        ("both empty", &[], &[]),
        ("empty base", &[], &some),
        ("empty target", &some, &[]),
        ("one byte", &[1], &[2]),
        ("the same", &some, &some),
        ("only the beginning is left", &some, &some[..5_000]),
        ("only the end is left", &some, &some[5_000..]),
        ("nothing but one run", &vec![0; 100_000], &vec![0; 200_000]),
        ("one run becomes another", &vec![0; 100_000], &vec![9; 100_000]),
    ];
    for (name, base, target) in cases {
        let pair = Pair { name: name.into(), base: base.to_vec(), target: target.to_vec() };
        for codec in Codec::ALL {
            round_trip(codec, &pair);
        }
    }
}

#[test]
fn the_same_pair_gives_the_same_patch() {
    let pair = support::small_pair();
    for codec in Codec::ALL {
        assert!(
            make(codec, &pair.base, &pair.target).bytes == make(codec, &pair.base, &pair.target).bytes,
            "{codec}"
        );
    }
}

#[test]
fn plain_codecs_state_less_than_the_default_device_gives() {
    for codec in [Codec::Full, Codec::Bsdiff] {
        let pair = large_slice(0, 1 << 20, 0);
        let header = make(codec, &pair.base, &pair.target).header;
        assert!(header.ram_bytes < Limits::default().ram_bytes, "{codec}: {}", header.ram_bytes);
        // What is stated is what the parameters take: window, history, table, decoder.
        let table = u64::from(header.frame_count) * FRAME_LEN;
        assert_eq!(header.ram_bytes, codec.ram_need(header.window_log, header.base_len, table), "{codec}");
    }
}

/// What an edit does to an image.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Move(usize, usize, usize),
    /// Every `.2`th byte of a stretch is raised: what a moved branch target looks like.
    Raise(usize, usize, usize),
    Run(usize, u8, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0_usize..60_000;
    prop_oneof![
        (at.clone(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), 0_usize..3_000).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at.clone(), at.clone(), 0_usize..5_000).prop_map(|(from, to, len)| Edit::Move(from, to, len)),
        (at.clone(), 0_usize..8_000, 1_usize..40).prop_map(|(at, len, step)| Edit::Raise(at, len, step)),
        (at, any::<u8>(), 0_usize..20_000).prop_map(|(at, byte, len)| Edit::Run(at, byte, len)),
    ]
}

fn edited(mut image: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let inside = |at: usize| at.min(image.len());
        match edit {
            Edit::Insert(at, bytes) => {
                let at = inside(*at);
                image.splice(at..at, bytes.iter().copied());
            }
            Edit::Remove(at, len) => drop(image.drain(inside(*at)..inside(at + len))),
            Edit::Move(from, to, len) => {
                let taken: Vec<u8> = image.drain(inside(*from)..inside(from + len)).collect();
                let to = (*to).min(image.len());
                image.splice(to..to, taken);
            }
            Edit::Raise(at, len, step) => {
                let stretch = inside(*at)..inside(at + len);
                image[stretch].iter_mut().step_by(*step).for_each(|byte| *byte = byte.wrapping_add(4));
            }
            Edit::Run(at, byte, len) => {
                let at = inside(*at);
                image.splice(at..at, std::iter::repeat_n(*byte, *len));
            }
        }
    }
    image
}

/// Images like firmware: repeated words, noise, runs.
fn image() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (0_usize..8_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        (prop::collection::vec(any::<u8>(), 1..24), 0_usize..600)
            .prop_map(|(word, times)| word.repeat(times)),
        (any::<u8>(), 0_usize..12_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edited_image(base in image(), edits in prop::collection::vec(edit(), 0..12)) {
        let target = edited(base.clone(), &edits);
        let pair = Pair { name: "edited".into(), base, target };
        for codec in Codec::ALL {
            round_trip(codec, &pair);
        }
    }

    #[test]
    fn two_images_that_share_nothing(base in image(), target in image()) {
        let pair = Pair { name: "strangers".into(), base, target };
        round_trip(Codec::Full, &pair);
        round_trip(Codec::ZstdPatch, &pair);
        // So many controls may be needed that no applier would take them: then the encoder says so.
        let budget = Budget::for_images(pair.base.len() as u64, pair.target.len() as u64);
        match encode::encode(Codec::Bsdiff, &pair.base, &pair.target, &budget) {
            Ok(_) => { round_trip(Codec::Bsdiff, &pair); }
            Err(encode::EncodeError::TooManyControls { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
