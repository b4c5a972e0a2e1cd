//! Patches with one fault each. A fixture is named after its fault and is refused for that reason and no
//! other: without the fault the same patch is taken (`the_fixtures_without_their_faults`).

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

/// `refused!(result, DeltaError::Variant { field: value, .. })`
macro_rules! refused {
    ($result:expr, $reason:pat $(if $guard:expr)?) => {
        match $result {
            Err($reason) $(if $guard)? => {}
            other => panic!("wanted {}, got {other:?}", stringify!($reason)),
        }
    };
}

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

// ---- header ----

#[test]
fn another_magic() {
    let mut patch = good(Codec::Bsdiff).bytes();
    patch[3] ^= 1;
    refused!(try_patch(&patch), DeltaError::Magic { .. });
}

#[test]
fn an_unknown_format_version() {
    let mut patch = good(Codec::Bsdiff).bytes();
    patch[8] = 2;
    refused!(try_patch(&patch), DeltaError::Version { found: 2, known: 1 });
}

#[test]
fn an_unknown_codec() {
    for id in [0, 4, 5, 255] {
        let mut patch = good(Codec::Bsdiff).bytes();
        patch[10] = id;
        refused!(try_patch(&patch), DeltaError::UnknownCodec { found } if found == id);
    }
}

#[test]
fn a_base_longer_than_the_limit() {
    let patch = good(Codec::Bsdiff).bytes();
    let limits = Limits { image_len: 60_100, ..Limits::default() };
    refused!(
        try_with(&patch, &limits),
        DeltaError::ImageTooLong { what: "output", len: 60_500, limit: 60_100 }
    );
    let limits = Limits { image_len: 59_999, ..Limits::default() };
    refused!(
        try_with(&patch, &limits),
        DeltaError::ImageTooLong { what: "base", len: 60_000, limit: 59_999 }
    );
}

#[test]
fn lengths_as_large_as_a_number_can_be() {
    for len in [u64::MAX, i64::MAX as u64, (64 << 30) + 1] {
        for codec in Codec::ALL {
            let patch = good(codec).header(|header| header.base_len = len).bytes();
            refused!(try_patch(&patch), DeltaError::ImageTooLong { what: "base", .. });
            let patch = good(codec).header(|header| header.output_len = len).bytes();
            refused!(try_patch(&patch), DeltaError::ImageTooLong { what: "output", .. });
            let patch = good(codec).header(|header| header.patch_len = len).bytes();
            refused!(try_patch(&patch), DeltaError::PatchLen { .. });
        }
    }
}

#[test]
fn more_frames_than_the_limit() {
    for count in [u32::MAX, 32_769] {
        let patch = good(Codec::Bsdiff).header(|header| header.frame_count = count).bytes();
        refused!(try_patch(&patch), DeltaError::TooManyFrames { limit: 32_768, .. });
    }
}

#[test]
fn more_frames_than_bytes_of_output() {
    let patch =
        Forge::one_frame(Codec::Bsdiff, b"ab", b"ab", 1, compress(b"")).header(|h| h.frame_count = 3).bytes();
    let result = try_pair(&patch, b"ab", &expected(b"ab", b"ab"), &Limits::default());
    refused!(result, DeltaError::TooManyFrames { found: 3, limit: 2 });
}

#[test]
fn fewer_frames_than_the_output_needs() {
    let patch = good(Codec::Bsdiff).header(|header| header.output_len = 8 << 20).bytes();
    refused!(try_patch(&patch), DeltaError::FramesLen { found: 4_194_304, expected: 8_388_608 });
}

#[test]
fn a_window_too_large_or_too_small() {
    for (codec, largest) in [(Codec::Bsdiff, 20), (Codec::Full, 20), (Codec::ZstdPatch, 27)] {
        for window in [largest + 1, 63, 255, 9, 0] {
            let patch = good(codec).header(|header| header.window_log = window).bytes();
            refused!(try_patch(&patch), DeltaError::WindowDeclared { found, max, .. } if found == window && max == largest);
        }
    }
}

#[test]
fn a_window_above_what_this_device_takes() {
    let limits = Limits { window_log: 16, ..Limits::default() };
    refused!(
        try_with(&good(Codec::Bsdiff).bytes(), &limits),
        DeltaError::WindowDeclared { found: 17, max: 16, .. }
    );
}

#[test]
fn less_ram_stated_than_taken() {
    for codec in Codec::ALL {
        let patch = good(codec).header(|header| header.ram_bytes -= 1).bytes();
        refused!(try_patch(&patch), DeltaError::RamUnderstated { stated, needed } if stated + 1 == needed);
    }
}

#[test]
fn more_ram_needed_than_given() {
    for codec in Codec::ALL {
        let patch = good(codec);
        let limits = Limits { ram_bytes: patch.header.ram_bytes - 1, ..Limits::default() };
        refused!(try_with(&patch.bytes(), &limits), DeltaError::RamAboveLimit { .. });
        let patch = good(codec).header(|header| header.ram_bytes = u64::MAX).bytes();
        refused!(try_patch(&patch), DeltaError::RamAboveLimit { needed: u64::MAX, .. });
    }
}

/// `zstd_patch` holds the base: one that does not fit is refused before a byte is allocated for it.
#[test]
fn a_base_that_does_not_fit_into_ram() {
    let patch = good(Codec::ZstdPatch)
        .header(|header| (header.base_len, header.ram_bytes) = (1 << 30, (1 << 30) + (8 << 20)))
        .bytes();
    let (result, held) = peak_of(|| try_patch(&patch));
    refused!(result, DeltaError::RamAboveLimit { .. });
    assert!(held < 1 << 20, "{held}");
}

#[test]
fn a_full_patch_with_a_base() {
    let patch = good(Codec::Full).header(|header| header.base_len = 1).bytes();
    refused!(try_patch(&patch), DeltaError::ImageTooLong { what: "base", len: 1, limit: 0 });
    let patch = good(Codec::Full).header(|header| header.base_sha256 = Digest::of(b"x")).bytes();
    refused!(try_patch(&patch), DeltaError::BaseDeclared { .. });
}

// ---- what the plan expects ----

#[test]
fn a_patch_for_another_base() {
    let patch = good(Codec::Bsdiff).header(|header| header.base_sha256 = Digest::of(b"another")).bytes();
    refused!(try_patch(&patch), DeltaError::BaseDeclared { declared, .. } if declared == Digest::of(b"another"));
    // A plan without a base takes `full` alone.
    let no_base = Expected { base_sha256: None, ..expected(&base(), &target()) };
    let result = try_pair(&good(Codec::Bsdiff).bytes(), &base(), &no_base, &Limits::default());
    refused!(result, DeltaError::BaseDeclared { .. });
    try_pair(&good(Codec::Full).bytes(), &[], &no_base, &Limits::default()).unwrap();
}

#[test]
fn a_patch_to_another_output() {
    let patch = good(Codec::Bsdiff).header(|header| header.output_sha256 = Digest::of(b"another")).bytes();
    refused!(try_patch(&patch), DeltaError::OutputDeclared { .. });
}

#[test]
fn a_patch_to_another_length() {
    let longer = Expected { output_len: 60_501, ..expected(&base(), &target()) };
    let result = try_pair(&good(Codec::Bsdiff).bytes(), &base(), &longer, &Limits::default());
    refused!(result, DeltaError::OutputLen { declared: 60_500, expected: 60_501 });
}

#[test]
fn another_base_on_the_medium() {
    let mut other = base();
    other[59_999] ^= 1;
    for codec in [Codec::Bsdiff, Codec::ZstdPatch] {
        let plan = expected(&base(), &target());
        refused!(
            try_pair(&good(codec).bytes(), &other, &plan, &Limits::default()),
            DeltaError::BaseDigest { .. }
        );
    }
}

#[test]
fn a_base_that_ends_too_early() {
    let plan = expected(&base(), &target());
    let result = try_pair(&good(Codec::Bsdiff).bytes(), &base()[..59_999], &plan, &Limits::default());
    refused!(result, DeltaError::BaseShort { found: 59_999, expected: 60_000 });
}

/// A slot is larger than its image: what follows the image does not count.
#[test]
fn bytes_behind_the_base_are_no_fault() {
    let slot = [base(), vec![0xff; 4_096]].concat();
    let plan = expected(&base(), &target());
    try_pair(&good(Codec::Bsdiff).bytes(), &slot, &plan, &Limits::default()).unwrap();
}

// ---- frame table ----

#[test]
fn a_gap_or_an_overlap_between_frames() {
    let (base, target) = long();
    let patch = Forge::of(&make(Codec::Bsdiff, &base, &target).bytes);
    let plan = expected(&base, &target);
    for shift in [1, u64::MAX] {
        let patch =
            patch.clone().frame(1, |frame| frame.output_offset = frame.output_offset.wrapping_add(shift));
        let result = try_pair(&patch.bytes(), &base, &plan, &Limits::default());
        refused!(result, DeltaError::FrameNotContiguous { frame: 1, .. });
    }
}

#[test]
fn a_frame_that_rebuilds_nothing_or_too_much() {
    for len in [0, (4 << 20) + 1, u32::MAX] {
        let patch = good(Codec::Bsdiff).frame(0, |frame| frame.output_len = len).bytes();
        refused!(try_patch(&patch), DeltaError::FrameOutputLen { frame: 0, .. });
    }
}

#[test]
fn a_frame_with_no_or_too_many_compressed_bytes() {
    for len in [0, (512 << 10) + 1, u32::MAX] {
        let patch = good(Codec::Bsdiff).frame(0, |frame| frame.compressed_len = len).bytes();
        refused!(try_patch(&patch), DeltaError::FrameCompressedLen { frame: 0, .. });
    }
}

#[test]
fn a_frame_that_begins_outside_the_base() {
    for position in [60_001, u64::MAX] {
        let patch = good(Codec::Bsdiff).frame(0, |frame| frame.base_position = position).bytes();
        refused!(try_patch(&patch), DeltaError::FrameBasePosition { frame: 0, limit: 60_000, .. });
    }
    for codec in [Codec::Full, Codec::ZstdPatch] {
        let patch = good(codec).frame(0, |frame| frame.base_position = 1).bytes();
        refused!(try_patch(&patch), DeltaError::FrameBasePosition { frame: 0, limit: 0, .. });
    }
}

#[test]
fn reserved_bytes_that_are_not_zero() {
    for at in 140..144 {
        let mut patch = good(Codec::Bsdiff).bytes();
        patch[at] = 1;
        refused!(try_patch(&patch), DeltaError::Reserved { at: 140 });
    }
}

#[test]
fn frames_that_do_not_make_the_output() {
    let patch = good(Codec::Bsdiff).frame(0, |frame| frame.output_len -= 1).bytes();
    refused!(try_patch(&patch), DeltaError::FramesLen { found: 60_499, expected: 60_500 });
}

#[test]
fn a_patch_of_another_length_than_declared() {
    let patch = good(Codec::Bsdiff).header(|header| header.patch_len += 1).bytes();
    refused!(try_patch(&patch), DeltaError::PatchLen { .. });
}

#[test]
fn too_many_controls() {
    let limit = max_controls(60_500);
    let patch = good(Codec::Bsdiff).frame(0, |frame| frame.controls = limit as u32 + 1).bytes();
    refused!(try_patch(&patch), DeltaError::TooManyControls { found, .. } if found == limit + 1);
    // At the limit the table is taken, and the stream is found to have fewer.
    let patch = good(Codec::Bsdiff).frame(0, |frame| frame.controls = limit as u32).bytes();
    refused!(try_patch(&patch), DeltaError::InflatedShort { frame: 0 });
}

#[test]
fn controls_where_the_codec_has_none() {
    for codec in [Codec::Full, Codec::ZstdPatch] {
        let patch = good(codec).frame(0, |frame| frame.controls = 1).bytes();
        refused!(try_patch(&patch), DeltaError::TooManyControls { found: 1, limit: 0 });
    }
}

#[test]
fn a_patch_that_would_inflate_above_twice_its_output() {
    let most = (max_inflated(60_500) - 60_500) / 24;
    for controls in [most as u32 + 1, u32::MAX] {
        let patch = good(Codec::Bsdiff).frame(0, |frame| frame.controls = controls).bytes();
        refused!(try_patch(&patch), DeltaError::InflatedTooLong { .. });
    }
}

// ---- the stream's ends ----

#[test]
fn truncated_at_every_boundary_and_between() {
    let (base, target) = long();
    let plan = expected(&base, &target);
    let patch = make(Codec::Bsdiff, &base, &target).bytes;
    let forge = Forge::of(&patch);
    let mut cuts = vec![0, 1, 111, 112, 113, 112 + 64, forge.header.head_len() as usize - 1];
    for frame in &forge.frames {
        let at = frame.patch_offset as usize;
        cuts.extend([at, at + 1, at + frame.compressed_len as usize - 1]);
    }
    for cut in cuts {
        refused!(
            try_pair(&patch[..cut], &base, &plan, &Limits::default()),
            DeltaError::Truncated { at, missing } if at == cut as u64 && missing > 0
        );
    }
}

#[test]
fn truncated_at_every_byte_of_a_small_patch() {
    for codec in Codec::ALL {
        let patch = make(codec, b"hello, old world", b"hello, new world").bytes;
        let plan = expected(b"hello, old world", b"hello, new world");
        for cut in 0..patch.len() {
            let result = try_pair(&patch[..cut], b"hello, old world", &plan, &Limits::default());
            refused!(result, DeltaError::Truncated { .. });
        }
    }
}

#[test]
fn trailing_bytes() {
    for codec in Codec::ALL {
        let mut patch = good(codec).bytes();
        let end = patch.len() as u64;
        patch.push(0);
        refused!(try_patch(&patch), DeltaError::TrailingBytes { at } if at == end);
    }
}

// ---- a frame's compressed bytes ----

#[test]
fn random_bytes_for_a_frame() {
    for codec in Codec::ALL {
        let patch = good(codec).body(0, noise(500, 9)).bytes();
        refused!(try_patch(&patch), DeltaError::Corrupt { frame: 0, .. });
    }
}

#[test]
fn a_stream_with_a_larger_window_than_declared() {
    for window in [18, 21, 27] {
        let stream = zstd::decode_all(&good(Codec::Bsdiff).bodies[0][..]).unwrap();
        let body = compress_with_window(&stream, window);
        let patch = good(Codec::Bsdiff).body(0, body).bytes();
        let (result, held) = peak_of(|| try_patch(&patch));
        refused!(result, DeltaError::WindowUsed { frame: 0, declared: 17 });
        assert!(held < 1 << 20, "{held}");
    }
}

/// 64 MiB of zeros in some KiB: refused at the first byte too many.
#[test]
fn a_delta_bomb() {
    let bomb = compress(&vec![0; 64 << 20]);
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    for codec in [Codec::Full, Codec::ZstdPatch] {
        let zeros = vec![0; 60_500];
        let patch = Forge::one_frame(codec, &base(), &zeros, 0, bomb.clone()).bytes();
        let plan = expected(&base(), &zeros);
        let (result, held) = peak_of(|| try_pair(&patch, &base(), &plan, &Limits::default()));
        refused!(result, DeltaError::InflatedMore { frame: 0 });
        assert!(held < 1 << 20, "{codec}: {held}");
    }
    // As controls, zeros are the control that does nothing.
    let patch = Forge::one_frame(Codec::Bsdiff, &base(), &target(), 100, bomb).bytes();
    refused!(try_patch(&patch), DeltaError::EmptyControl { frame: 0, control: 0 });
}

#[test]
fn a_stream_that_goes_on() {
    let patch = good(Codec::Bsdiff).inflated(0, |stream| stream.push(0)).bytes();
    refused!(try_patch(&patch), DeltaError::InflatedMore { frame: 0 });
}

#[test]
fn a_stream_that_ends_too_early() {
    let patch = good(Codec::Full).inflated(0, |stream| stream.truncate(60_499));
    refused!(try_patch(&patch.bytes()), DeltaError::InflatedShort { frame: 0 });
    // Cut inside: the frame's bytes end, its stream does not.
    let mut body = good(Codec::Full).bodies[0].clone();
    body.truncate(body.len() / 2);
    refused!(try_patch(&good(Codec::Full).body(0, body).bytes()), DeltaError::InflatedShort { frame: 0 });
}

#[test]
fn a_second_stream_behind_the_first() {
    let mut body = good(Codec::Full).bodies[0].clone();
    body.extend(compress(b"more"));
    let patch = good(Codec::Full).body(0, body).bytes();
    refused!(try_patch(&patch), DeltaError::CompressedUnused { frame: 0, .. });
}

// ---- controls ----

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

fn try_controls(change: impl FnOnce(&mut [Control<'_>; 2])) -> Result<Applied, DeltaError> {
    let (base, target, forge) = hand_made(change);
    try_pair(&forge.bytes(), &base, &expected(&base, &target), &Limits::default())
}

#[test]
fn a_control_that_adds_and_copies_nothing() {
    let result = try_controls(|controls| controls[1] = Control { add: 0, copy: 0, seek: 1, bytes: b"" });
    refused!(result, DeltaError::EmptyControl { frame: 0, control: 1 });
}

#[test]
fn a_negative_length() {
    refused!(
        try_controls(|controls| controls[1].add |= SIGN),
        DeltaError::NegativeLength { frame: 0, control: 1 }
    );
    refused!(
        try_controls(|controls| controls[0].copy |= SIGN),
        DeltaError::NegativeLength { frame: 0, control: 0 }
    );
}

#[test]
fn a_control_that_rebuilds_more_than_its_frame() {
    for len in [4, u64::from(u32::MAX), SIGN - 1] {
        refused!(
            try_controls(|controls| controls[1].add = len),
            DeltaError::ControlOverrun { control: 1, left: 3, .. }
        );
        refused!(
            try_controls(|controls| (controls[1].add, controls[1].copy) = (0, len)),
            DeltaError::ControlOverrun { control: 1, left: 3, .. }
        );
    }
    let result = try_controls(|controls| (controls[0].add, controls[0].copy) = (SIGN - 1, SIGN - 1));
    refused!(result, DeltaError::ControlOverrun { control: 0, left: 11, .. });
}

#[test]
fn an_add_past_the_end_of_the_base() {
    let result = try_controls(|controls| controls[0].seek = 2);
    refused!(result, DeltaError::AddOutsideBase { control: 1, position: 8, len: 3, base_len: 10, .. });
}

#[test]
fn a_seek_outside_the_base() {
    for seek in [back(7), 5, SIGN - 1, u64::MAX] {
        let result = try_controls(|controls| controls[0].seek = seek);
        refused!(result, DeltaError::SeekOutsideBase { control: 0, position: 6, base_len: 10, .. });
    }
    // The last one as well, though nothing is read there.
    let result = try_controls(|controls| controls[1].seek = 7);
    refused!(result, DeltaError::SeekOutsideBase { control: 1, .. });
}

#[test]
fn controls_that_rebuild_less_than_their_frame() {
    let result = try_controls(|controls| (controls[1].add, controls[1].bytes) = (2, b"\0\0"));
    refused!(result, DeltaError::FrameShort { frame: 0, found: 10, expected: 11 });
    // Fewer controls declared than there are.
    let (base, target, forge) = hand_made(|_| {});
    let patch = forge.frame(0, |frame| frame.controls = 1).bytes();
    let result = try_pair(&patch, &base, &expected(&base, &target), &Limits::default());
    refused!(result, DeltaError::FrameShort { frame: 0, found: 8, expected: 11 });
}

#[test]
fn a_frame_that_begins_elsewhere_than_the_last_one_ended() {
    let (base, target) = long();
    let patch = Forge::of(&make(Codec::Bsdiff, &base, &target).bytes);
    let patch = patch.frame(1, |frame| frame.base_position -= 1).bytes();
    let result = try_pair(&patch, &base, &expected(&base, &target), &Limits::default());
    refused!(result, DeltaError::FrameBaseJump { frame: 1, .. });
}

// ---- digests ----

#[test]
fn a_frame_that_rebuilds_other_bytes() {
    let patch = good(Codec::Full).inflated(0, |stream| stream[100] ^= 1).bytes();
    refused!(try_patch(&patch), DeltaError::FrameDigest { frame: 0, .. });
    // Byte 24 is the first diff byte.
    let patch = good(Codec::Bsdiff).inflated(0, |stream| stream[24] ^= 1).bytes();
    refused!(try_patch(&patch), DeltaError::FrameDigest { frame: 0, .. });
}

/// A whole patch that is in itself without fault, but lies about what it makes.
#[test]
fn an_output_that_is_not_the_signed_one() {
    let mut other = target();
    other[5] ^= 1;
    let patch = Forge::of(&make(Codec::Bsdiff, &base(), &other).bytes);
    let patch = patch.header(|header| header.output_sha256 = Digest::of(&target())).bytes();
    refused!(try_patch(&patch), DeltaError::OutputDigest { found, .. } if found == Digest::of(&other));
}

// ---- the medium and the caller ----

#[test]
fn a_frame_that_does_not_exist() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let start = Start::Frame(2);
    let mut out = Cursor::new(Vec::new());
    let result = apply(&mut &patch[..], &mut Cursor::new(base()), &mut out, &plan, &Limits::default(), start);
    refused!(result, DeltaError::NoSuchFrame { frame: 2, count: 1 });
}

/// A medium that takes every byte and keeps none of those from `full_at` on.
struct Lossy {
    inner: Cursor<Vec<u8>>,
    full_at: u64,
    says_so: bool,
}

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.position() + bytes.len() as u64 <= self.full_at {
            return self.inner.write(bytes);
        }
        if self.says_so {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.write(&vec![0; bytes.len()])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Lossy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out)
    }
}

impl Seek for Lossy {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn a_medium_that_is_full() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let mut out = Lossy { inner: Cursor::new(Vec::new()), full_at: 30_000, says_so: true };
    let result = apply(
        &mut &patch[..],
        &mut Cursor::new(base()),
        &mut out,
        &plan,
        &Limits::default(),
        Start::Beginning,
    );
    match result {
        Err(DeltaError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
}

/// What was written is believed only after it was read back.
#[test]
fn a_medium_that_lies() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let mut out = Lossy { inner: Cursor::new(Vec::new()), full_at: 30_000, says_so: false };
    let result = apply(
        &mut &patch[..],
        &mut Cursor::new(base()),
        &mut out,
        &plan,
        &Limits::default(),
        Start::Beginning,
    );
    refused!(result, DeltaError::OutputDigest { .. });
}

// ---- anything at all ----

/// Whatever the bytes: no panic, nothing written past the output, no more memory than was given, and a
/// success only with the right output.
fn survives(patch: &[u8], limits: &Limits) {
    let (base, target) = (base(), target());
    let plan = expected(&base, &target);
    let mut out = Cursor::new(Vec::with_capacity(2 * target.len()));
    let (result, held) = peak_of(|| {
        apply(&mut &patch[..], &mut Cursor::new(&base), &mut out, &plan, limits, Start::Beginning)
    });
    assert!(held <= limits.ram_bytes, "{held} bytes held");
    let out = out.into_inner();
    assert!(out.len() <= target.len());
    assert!(result.is_err() || out == target);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes, &Limits::default());
    }

    #[test]
    fn a_good_patch_with_bytes_changed(
        codec in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut patch = cached(codec).bytes();
        for (at, byte) in changes {
            let at = at.index(patch.len());
            patch[at] = byte;
        }
        survives(&patch, &Limits::default());
    }

    #[test]
    fn a_head_with_fields_changed(
        codec in 0_usize..3,
        field in 0_usize..12,
        value in prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(SIGN), any::<u64>(), (0_u32..64).prop_map(|bit| 1 << bit)],
        ram in prop_oneof![Just(8_u64 << 20), Just(64 << 20)],
    ) {
        let patch = cached(codec).clone().header(|header| match field {
            0 => header.window_log = value as u8,
            1 => header.frame_count = value as u32,
            2 => header.ram_bytes = value,
            3 => header.base_len = value,
            4 => header.output_len = value,
            5 => header.patch_len = value,
            _ => {}
        }).frame(0, |frame| match field {
            6 => frame.output_offset = value,
            7 => frame.base_position = value,
            8 => frame.output_len = value as u32,
            9 => frame.compressed_len = value as u32,
            10 => frame.controls = value as u32,
            11 => frame.output_sha256.0[0] = value as u8,
            _ => {}
        });
        survives(&patch.bytes(), &Limits { ram_bytes: ram, ..Limits::default() });
    }

    #[test]
    fn a_stream_with_words_changed(at in any::<prop::sample::Index>(), word in prop_oneof![
        any::<u64>(), (0_u64..100_000), (0_u64..100_000).prop_map(back), Just(u64::MAX),
    ]) {
        let patch = cached(0).clone().inflated(0, |stream| {
            let at = at.index(stream.len() - 8);
            stream[at..at + 8].copy_from_slice(&word.to_le_bytes());
        });
        survives(&patch.bytes(), &Limits::default());
    }
}

/// The good patch of each codec, made once.
fn cached(codec: usize) -> &'static Forge {
    static GOOD: std::sync::OnceLock<Vec<Forge>> = std::sync::OnceLock::new();
    &GOOD.get_or_init(|| Codec::ALL.map(good).into())[codec]
}
