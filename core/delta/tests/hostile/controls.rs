//! Controls, and the digests of what they rebuild.

use super::*;

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
