//! The frame table.

use super::*;

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
