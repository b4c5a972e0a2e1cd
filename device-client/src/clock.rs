//! The clock: the only file of the device that reads the time.

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When this program was built is unknown to a reproducible build; this is a lower bound of it: 2026-01-01.
pub(crate) const BUILD_TIME: i64 = 1_767_225_600;

/// Unix seconds as the machine has them, right or wrong.
#[expect(clippy::disallowed_methods, reason = "the device's one clock adapter")]
pub(crate) fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The time that TLS holds certificates against: never before `floor`, so that a clock of 1970 does not lock the
/// device out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsTime {
    pub(crate) floor: i64,
}

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now = wall().max(self.floor).max(BUILD_TIME);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now as u64)))
    }
}
