//! What a TPM's counters say about time between two attestations.

use holdfast_tpm::wire::ClockInfo;

/// TPMS_CLOCK_INFO and firmwareVersion of an attestation, as a record keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Clock {
    /// Milliseconds of powered time.
    pub clock_ms: u64,
    pub reset_count: u32,
    pub restart_count: u32,
    /// False: the clock may go back after this.
    pub safe: bool,
    /// TPM_PT_FIRMWARE_VERSION_1 ‖ _2, signed by the AK.
    pub firmware_version: u64,
}

/// What happened since an earlier attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// No reset since.
    None,
    /// So many resets.
    Reset(u32),
    /// resetCount fell: TPM2_Clear. Full re-enrolment under the same record; no alarm by itself.
    Cleared,
}

/// The clock went back although it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock went from {before} ms back to {after} ms, with safe = YES and resetCount {reset_count}")]
pub struct ClockWentBack {
    pub before: u64,
    pub after: u64,
    pub reset_count: u32,
}

impl Clock {
    pub(crate) fn of(clock: ClockInfo, firmware_version: u64) -> Self {
        let ClockInfo { clock_ms, reset_count, restart_count, safe } = clock;
        Self { clock_ms, reset_count, restart_count, safe, firmware_version }
    }

    /// Compares with an earlier attestation of the same AK (docs/protocol.md M3, 9).
    ///
    /// # Errors
    /// When the clock went back, the TPM says that it may not, and no clear explains it.
    pub fn since(&self, earlier: &Self) -> Result<Reboot, ClockWentBack> {
        if self.reset_count < earlier.reset_count {
            return Ok(Reboot::Cleared);
        }
        if self.clock_ms < earlier.clock_ms && self.safe {
            let (before, after, reset_count) = (earlier.clock_ms, self.clock_ms, self.reset_count);
            return Err(ClockWentBack { before, after, reset_count });
        }
        Ok(match self.reset_count - earlier.reset_count {
            0 => Reboot::None,
            resets => Reboot::Reset(resets),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(clock_ms: u64, reset_count: u32, safe: bool) -> Clock {
        Clock { clock_ms, reset_count, restart_count: 0, safe, firmware_version: 1 }
    }

    #[test]
    fn counters_tell_reboots_clears_and_clocks_that_went_back() {
        let earlier = clock(100, 5, true);
        for clock_ms in [100, 101] {
            assert_eq!(clock(clock_ms, 5, true).since(&earlier), Ok(Reboot::None));
        }
        assert_eq!(clock(101, 7, true).since(&earlier), Ok(Reboot::Reset(2)));
        assert_eq!(clock(3, 0, true).since(&earlier), Ok(Reboot::Cleared));
        assert_eq!(clock(99, 5, false).since(&earlier), Ok(Reboot::None));
        assert_eq!(clock(99, 6, false).since(&earlier), Ok(Reboot::Reset(1)));
        assert_eq!(
            clock(99, 5, true).since(&earlier),
            Err(ClockWentBack { before: 100, after: 99, reset_count: 5 })
        );
    }
}
