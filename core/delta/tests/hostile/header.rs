//! The header: what it states about the whole patch.

use super::*;

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
