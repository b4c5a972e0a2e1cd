//! `zstd_patch`: zstd with the whole base as prefix (`zstd --patch-from`, frame by frame). The applier
//! loads the base once and holds it, so the plan offers this only where base + window + 2 MiB fit.

use crate::container::Frame;
use crate::error::DeltaError;
use crate::inflate::Inflater;
use crate::sink::FrameSink;

pub(super) fn apply(
    frame: &Frame,
    input: &mut Inflater<'_>,
    sink: &mut FrameSink<'_>,
) -> Result<u64, DeltaError> {
    super::full::copy_inflated(u64::from(frame.output_len), input, sink)?;
    Ok(0)
}
