//! Brings an artefact into a slot: whole, block by block, or by a delta, frame by frame.
//!
//! Invariants: no byte is used before its block was verified against a signed root; what was done is read back from
//! the medium and never from a note; nothing here holds an image in memory.

mod blocks;

use crate::clock;
use crate::error::DeviceError;
use crate::installer::Installer;
use crate::meter::Meter;
use crate::net::Service;
use blocks::Blocks;
use holdfast_decide::device::{FetchEnd, FetchFailure, Fetched, Slot};
use holdfast_delta::{Applier, BLOCK_LEN, DeltaError, Expected, Limits};
use holdfast_proto::Digest;
use holdfast_proto::manifest::Artefact;
use holdfast_trust::Verified;
use holdfast_trust::tuf::release::DeltaPlan;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

/// What a fetch needs of the device.
pub(crate) struct Fetch<'a> {
    pub(crate) service: &'a Service,
    pub(crate) installer: &'a dyn Installer,
    pub(crate) meter: &'a mut Meter,
    /// The slot that is written.
    pub(crate) target: Slot,
    /// Stop at this instant of CLOCK_BOOTTIME, later by what it took to find where to go on; one block or frame is
    /// brought in every case.
    pub(crate) until_ms: u64,
    /// The time of day as far as it is known, for the budget.
    pub(crate) now: i64,
}

impl Fetch<'_> {
    /// The artefact itself.
    pub(crate) fn full(mut self, artefact: &Artefact) -> Fetched {
        let mut bytes = 0;
        let end = self.full_within(artefact, &mut bytes);
        self.ended(end, bytes)
    }

    /// A delta from what the running slot holds.
    pub(crate) fn delta(self, artefact: &Artefact, plan: &Verified<DeltaPlan>, ram_bytes: u64) -> Fetched {
        self.by_plan(artefact, plan, ram_bytes)
    }

    fn by_plan(mut self, artefact: &Artefact, plan: &DeltaPlan, ram_bytes: u64) -> Fetched {
        let mut bytes = 0;
        let end = self.delta_within(artefact, plan, ram_bytes, &mut bytes);
        self.ended(end, bytes)
    }

    fn ended(&mut self, end: Result<FetchEnd, FetchFailure>, bytes: u64) -> Fetched {
        // A bill that cannot be noted does not stop an update.
        let _ = self.meter.count(bytes);
        Fetched { bytes, end: end.unwrap_or_else(FetchEnd::Failed) }
    }

    fn full_within(&mut self, artefact: &Artefact, bytes: &mut u64) -> Result<FetchEnd, FetchFailure> {
        let slice = Slice::until(self.until_ms, clock::boottime_ms());
        self.ask(artefact.length)?;
        let mut blocks = Blocks::open(self.service, artefact.sha256, artefact.length, artefact.block_root)?;
        let mut out = self.open_target(&artefact.name)?;
        let have = blocks.list().verified_prefix(&mut out).map_err(|error| storage(&error))?;
        blocks.seek(have * BLOCK_LEN);
        out.seek(SeekFrom::Start(have * BLOCK_LEN)).map_err(|error| storage(&error))?;
        let began = clock::boottime_ms();
        let until_ms = slice.begin(began);
        for index in have..blocks.list().count() {
            if index > have && clock::boottime_ms() >= until_ms {
                *bytes = blocks.received();
                return Ok(FetchEnd::Yielded);
            }
            let written = match blocks.next_block() {
                Ok(block) => out.write_all(block).map_err(|error| storage(&error)),
                Err(failure) => Err(failure),
            };
            *bytes = blocks.received();
            written?;
            std::thread::sleep(self.meter.pause(*bytes, clock::boottime_ms().saturating_sub(began)));
        }
        out.sync_all().map_err(|error| storage(&error))?;
        Ok(FetchEnd::Whole)
    }

    fn delta_within(
        &mut self,
        artefact: &Artefact,
        plan: &DeltaPlan,
        ram_bytes: u64,
        bytes: &mut u64,
    ) -> Result<FetchEnd, FetchFailure> {
        let slice = Slice::until(self.until_ms, clock::boottime_ms());
        self.ask(plan.length)?;
        let mut patch = Blocks::open(self.service, plan.patch_sha256, plan.length, plan.custom.block_root)?;
        let ended = self.apply(artefact, plan, ram_bytes, &mut patch, slice);
        *bytes = patch.received();
        ended.map_err(|error| match patch.take_failure() {
            Some(failure) => failure,
            None => classify(&error, plan),
        })
    }

    fn apply(
        &mut self,
        artefact: &Artefact,
        plan: &DeltaPlan,
        ram_bytes: u64,
        patch: &mut Blocks<'_>,
        slice: Slice,
    ) -> Result<FetchEnd, DeltaError> {
        let expected = Expected {
            base_sha256: Some(holdfast_delta::Digest(plan.custom.base.0)),
            output_sha256: holdfast_delta::Digest(artefact.sha256.0),
            output_len: artefact.length,
        };
        let limits = Limits { ram_bytes, ..Limits::default() };
        let mut applier = Applier::open(patch, &expected, &limits)?;
        if applier.header().patch_len != plan.length {
            return Err(DeltaError::PatchLen { found: plan.length, expected: applier.header().patch_len });
        }
        let base = self
            .installer
            .open(self.target.other(), &artefact.name)
            .map_err(|e| lost("read the base", Some(e)))?;
        let mut base = base.ok_or_else(|| lost("read the base", None))?;
        applier.check_base(&mut base)?;
        let mut out = self
            .installer
            .open_for_writing(self.target, &artefact.name)
            .map_err(|e| lost("write the output", Some(e)))?;
        let from = applier.progress(&mut out)?;
        patch.seek(from.patch_offset);
        let began = clock::boottime_ms();
        let until_ms = slice.begin(began);
        for index in from.next_frame..applier.header().frame_count {
            if index > from.next_frame && clock::boottime_ms() >= until_ms {
                return Ok(FetchEnd::Yielded);
            }
            applier.apply_frame(index, patch, &mut base, &mut out)?;
            std::thread::sleep(
                self.meter.pause(patch.received(), clock::boottime_ms().saturating_sub(began)),
            );
        }
        out.sync_all().map_err(|source| DeltaError::Io { doing: "write the output", source })?;
        applier.check_output(&mut out)?;
        Ok(FetchEnd::Whole)
    }

    /// The budget's word.
    fn ask(&mut self, bytes: u64) -> Result<(), FetchFailure> {
        self.meter
            .ask(bytes, self.now)
            .map_err(|wait_ms| FetchFailure::Offline { retry_after_ms: Some(wait_ms) })
    }

    fn open_target(&self, name: &str) -> Result<File, FetchFailure> {
        self.installer.open_for_writing(self.target, name).map_err(|error| match error {
            DeviceError::Write { source, .. } => storage(&source),
            other => FetchFailure::Storage { detail: other.to_string() },
        })
    }
}

/// The time that a fetch may take, whatever preparing it takes: a slow medium that is read from its beginning each time
/// must not eat the time for every block.
#[derive(Debug, Clone, Copy)]
struct Slice(u64);

impl Slice {
    fn until(until_ms: u64, now_ms: u64) -> Self {
        Self(until_ms.saturating_sub(now_ms))
    }

    /// Its end, when it begins now.
    fn begin(self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.0)
    }
}

/// A place that cannot be opened.
fn lost(doing: &'static str, error: Option<DeviceError>) -> DeltaError {
    let source = match error {
        Some(DeviceError::Read { source, .. } | DeviceError::Write { source, .. }) => source,
        Some(other) => std::io::Error::other(other),
        None => std::io::ErrorKind::NotFound.into(),
    };
    DeltaError::Io { doing, source }
}

/// Why a medium failed.
fn storage(error: &std::io::Error) -> FetchFailure {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let detail = error.to_string();
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => FetchFailure::NoSpace { detail },
        _ => FetchFailure::Storage { detail },
    }
}

/// Whose fault it is: the medium's, the base's, or the patch's.
fn classify(error: &DeltaError, plan: &DeltaPlan) -> FetchFailure {
    match error {
        DeltaError::Io { source, .. } => storage(source),
        DeltaError::BaseDigest { .. } | DeltaError::BaseShort { .. } => {
            FetchFailure::DigestMismatch { detail: error.to_string() }
        }
        _ => FetchFailure::DeltaBad {
            detail: format!("{error}\n{}", delta_bad(plan.custom.base, plan.custom.output)),
        },
    }
}

/// The line of a report's detail by which the service counts devices that could not use a delta.
pub(crate) fn delta_bad(base: Digest, output: Digest) -> String {
    format!("delta-bad:{base}-{output}")
}

#[cfg(test)]
mod tests;
