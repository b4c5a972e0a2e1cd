//! The stream: its ends, and each frame's compressed bytes.

use super::*;

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
