//! Anything at all: bytes that follow no plan.

use super::*;

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
