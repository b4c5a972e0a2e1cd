//! `bsdiff` is the public BSDIFF43 stream: another program applies ours, and we apply another's.
//!
//! The other program is crate `bsdiff` (a port of Percival's and Endsley's). The `bspatch` of
//! distributions reads BSDIFF40 (three bzip2 streams), which is another file format.

mod support;

use std::io::Cursor;

use holdfast_delta::encode::{Budget, EncodeError, StreamError, bsdiff43_stream, wrap_bsdiff43};
use holdfast_delta::{Codec, Limits};
use support::forge::Forge;
use support::{Pair, expected, large_slice, make, noise, pybricks_pairs, rebuild, small_pair};

fn budget(pair: &Pair) -> Budget<'static> {
    Budget::for_images(pair.base.len() as u64, pair.target.len() as u64)
}

/// What crate `bsdiff` makes of a raw stream.
fn their_output(base: &[u8], stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bsdiff::patch(base, &mut Cursor::new(stream), &mut out).unwrap();
    out
}

fn their_stream(pair: &Pair) -> Vec<u8> {
    let mut stream = Vec::new();
    bsdiff::diff(&pair.base, &pair.target, &mut stream).unwrap();
    stream
}

/// Small enough for their suffix sorting, each of another kind.
fn pairs() -> Vec<Pair> {
    let mut pairs = pybricks_pairs();
    pairs.push(large_slice(12 << 20, 1 << 20, 5_000));
    let target = [noise(5_000, 2), noise(20_000, 1)[10_000..].to_vec()].concat();
    pairs.push(Pair { name: "begins with new bytes".into(), base: noise(20_000, 1), target });
    let target = noise(20_000, 1)[10_000..].to_vec();
    pairs.push(Pair { name: "begins in the middle of the base".into(), base: noise(20_000, 1), target });
    pairs
}

#[test]
fn they_apply_our_stream() {
    for pair in pairs() {
        let stream = bsdiff43_stream(&pair.base, &pair.target, &budget(&pair)).unwrap();
        assert!(their_output(&pair.base, &stream) == pair.target, "{}", pair.name);
    }
}

#[test]
fn we_apply_their_stream() {
    for pair in pairs() {
        let patch = wrap_bsdiff43(&pair.base, &pair.target, &their_stream(&pair), &budget(&pair)).unwrap();
        let plan = expected(&pair.base, &pair.target);
        let (applied, out) = rebuild(&patch.bytes, &pair.base, &plan, &Limits::default()).unwrap();
        assert_eq!(applied.codec, Codec::Bsdiff);
        assert!(out == pair.target, "{}", pair.name);
    }
}

/// The frames of a container, inflated one after another, are a public stream again.
#[test]
fn they_apply_what_is_in_our_container() {
    for pair in [small_pair(), large_slice(12 << 20, 5 << 20, 0)] {
        let forge = Forge::of(&make(Codec::Bsdiff, &pair.base, &pair.target).bytes);
        let inflate = |body: &Vec<u8>| zstd::decode_all(&body[..]).unwrap();
        let mut stream = Vec::new();
        if forge.frames[0].base_position > 0 {
            stream.extend([0; 16]);
            stream.extend(forge.frames[0].base_position.to_le_bytes());
        }
        stream.extend(forge.bodies.iter().flat_map(inflate));
        assert!(their_output(&pair.base, &stream) == pair.target, "{}", pair.name);
    }
}

/// A stream from elsewhere is held against the pair before it is wrapped.
#[test]
fn a_stream_for_another_pair_is_not_wrapped() {
    let pair = small_pair();
    let stream = their_stream(&pair);
    let wrap = |stream: &[u8], target: &[u8]| match wrap_bsdiff43(&pair.base, target, stream, &budget(&pair))
    {
        Err(EncodeError::Stream(error)) => error,
        other => panic!("{:?}", other.map(|patch| patch.header)),
    };
    let mut other = pair.target.clone();
    other[1_000] ^= 1;
    assert_eq!(wrap(&stream, &other), StreamError::OtherTarget { at: 0 });
    assert!(matches!(wrap(&stream[..stream.len() - 1], &pair.target), StreamError::Short { .. }));
    assert!(matches!(wrap(&[], &pair.target), StreamError::Short { at: 0 }));
    let mut far = stream.clone();
    far[16..24].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert!(matches!(wrap(&far, &pair.target), StreamError::OutsideBase { .. }));
    let mut huge = stream;
    huge[0..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(wrap(&huge, &pair.target), StreamError::Short { at: 0 }));
}
