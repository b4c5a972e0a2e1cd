//! Which patch to publish for a pair: every codec is costed, none is guessed.

use crate::codec::Codec;
use crate::encode::{Budget, EncodeError, Encoded, encode};

/// A delta above this share of `full`, in percent, is not worth its risk and its cache.
const MAX_PERCENT_OF_FULL: u64 = 70;

/// A patch that may be published.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Codec.
    pub codec: Codec,
    /// Bytes of the patch file.
    pub bytes: u64,
    /// Bytes of RAM that applying takes.
    pub ram: u64,
    /// The patch.
    pub encoded: Encoded,
}

/// Why a codec is not among the candidates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not small enough.
    #[error("{bytes} bytes are above {MAX_PERCENT_OF_FULL} % of the {full} bytes of full")]
    NotWorthIt {
        /// Bytes of the patch.
        bytes: u64,
        /// Bytes of `full`.
        full: u64,
    },
    /// The device cannot hold it.
    #[error("applying takes {needed} bytes of RAM, the device has {device}")]
    Ram {
        /// Bytes needed.
        needed: u64,
        /// Bytes declared by the device.
        device: u64,
    },
    /// The build failed or went over its budget.
    #[error("the build failed")]
    Build(#[source] EncodeError),
}

/// All codecs for one pair.
#[derive(Debug)]
pub struct Plan {
    /// Bytes of `full`.
    pub full_bytes: u64,
    /// Publishable, cheapest first; `full` is always among them.
    pub candidates: Vec<Candidate>,
    /// The others, each with its reason.
    pub refused: Vec<(Codec, Refusal)>,
}

/// Costs every codec for a pair and a device that gives `device_ram` bytes.
///
/// A codec that goes over its budget falls out and the others stay; only a cancelled build or a failing
/// `full` is an error.
pub fn cheapest(
    base: &[u8],
    target: &[u8],
    device_ram: u64,
    budget: &Budget<'_>,
) -> Result<Plan, EncodeError> {
    let full = candidate(Codec::Full, encode(Codec::Full, base, target, budget)?);
    let mut plan = Plan { full_bytes: full.bytes, candidates: vec![full], refused: Vec::new() };
    for codec in [Codec::Bsdiff, Codec::ZstdPatch] {
        match attempt(codec, base, target, device_ram, plan.full_bytes, budget) {
            Ok(candidate) => plan.candidates.push(candidate),
            Err(Refusal::Build(EncodeError::Cancelled(cancelled))) => return Err(cancelled.into()),
            Err(refusal) => plan.refused.push((codec, refusal)),
        }
    }
    plan.candidates.sort_by_key(|candidate| (candidate.bytes, candidate.ram));
    Ok(plan)
}

fn attempt(
    codec: Codec,
    base: &[u8],
    target: &[u8],
    device: u64,
    full: u64,
    budget: &Budget<'_>,
) -> Result<Candidate, Refusal> {
    // Known before the build: the least that any patch of this codec takes.
    let least = codec.ram_need(crate::limits::MIN_WINDOW_LOG, base.len() as u64, 0);
    if least > device {
        return Err(Refusal::Ram { needed: least, device });
    }
    let candidate = candidate(codec, encode(codec, base, target, budget).map_err(Refusal::Build)?);
    if candidate.ram > device {
        return Err(Refusal::Ram { needed: candidate.ram, device });
    }
    if candidate.bytes.saturating_mul(100) > full.saturating_mul(MAX_PERCENT_OF_FULL) {
        return Err(Refusal::NotWorthIt { bytes: candidate.bytes, full });
    }
    Ok(candidate)
}

fn candidate(codec: Codec, encoded: Encoded) -> Candidate {
    Candidate { codec, bytes: encoded.bytes.len() as u64, ram: encoded.header.ram_bytes, encoded }
}
