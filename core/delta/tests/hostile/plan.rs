//! What the plan expects, and the base on the medium.

use super::*;

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
