//! A metered link: how much a month of releases may take, and how fast.

use crate::error::DeviceError;
use crate::files;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A budget is for so long, seconds.
const WINDOW_S: i64 = 30 * 86_400;
/// How long a fetch waits for budget before it asks again.
const WAIT_MAX_MS: u64 = 6 * 3_600_000;

/// What was used, on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    /// Unix seconds.
    since: i64,
    bytes: u64,
}

/// The meter.
#[derive(Debug)]
pub(crate) struct Meter {
    path: PathBuf,
    used: Used,
    monthly_bytes: Option<u64>,
    rate_bytes_per_s: Option<u64>,
}

impl Meter {
    pub(crate) fn open(path: PathBuf, monthly_bytes: Option<u64>, rate_bytes_per_s: Option<u64>) -> Self {
        // A meter that cannot be read begins again: it guards a bill, not the device.
        let used = files::read_json(&path).ok().flatten().unwrap_or_default();
        Self { path, used, monthly_bytes, rate_bytes_per_s }
    }

    /// Whether so many bytes may be fetched now; else how long to wait, milliseconds.
    pub(crate) fn ask(&mut self, bytes: u64, now: i64) -> Result<(), u64> {
        let Some(budget) = self.monthly_bytes else { return Ok(()) };
        if now >= self.used.since.saturating_add(WINDOW_S) || now < self.used.since {
            self.used = Used { since: now, bytes: 0 };
        }
        if self.used.bytes.saturating_add(bytes) <= budget {
            return Ok(());
        }
        let left_s = self.used.since.saturating_add(WINDOW_S).saturating_sub(now).max(1) as u64;
        Err(left_s.saturating_mul(1000).min(WAIT_MAX_MS))
    }

    /// Notes what was moved.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn count(&mut self, bytes: u64) -> Result<(), DeviceError> {
        if self.monthly_bytes.is_none() || bytes == 0 {
            return Ok(());
        }
        self.used.bytes = self.used.bytes.saturating_add(bytes);
        files::write_json(&self.path, &self.used)
    }

    /// How long a transfer that moved so many bytes in so long must pause to keep to its rate.
    pub(crate) fn pause(&self, bytes: u64, took_ms: u64) -> Duration {
        let Some(rate) = self.rate_bytes_per_s.filter(|rate| *rate > 0) else { return Duration::ZERO };
        let due_ms = bytes.saturating_mul(1000) / rate;
        Duration::from_millis(due_ms.saturating_sub(took_ms).min(60_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_holds_for_a_month_and_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link.json");
        let open = || Meter::open(path.clone(), Some(100), None);
        let mut meter = open();
        assert_eq!(meter.ask(100, 1_000), Ok(()));
        meter.count(60).unwrap();
        let mut meter = open();
        assert_eq!(meter.ask(40, 1_001), Ok(()));
        assert!(meter.ask(41, 1_001).is_err());
        assert_eq!(meter.ask(100, 1_000 + WINDOW_S), Ok(()), "a new month");
        assert_eq!(Meter::open(path, None, None).ask(u64::MAX, 0), Ok(()));
    }

    #[test]
    fn a_rate_is_kept_by_pausing() {
        let meter = Meter::open("unused".into(), None, Some(1000));
        assert_eq!(meter.pause(500, 100), Duration::from_millis(400));
        assert_eq!(meter.pause(500, 900), Duration::ZERO);
        assert_eq!(Meter::open("unused".into(), None, None).pause(1 << 40, 0), Duration::ZERO);
    }
}
