//! The clock: the only file of the device that reads the time.

use holdfast_decide::device::{Now, Wall};
use holdfast_trust::tuf::time::WallClock;
use std::time::{SystemTime, UNIX_EPOCH};

/// When this program was built is unknown to a reproducible build; this is a lower bound of it: 2026-01-01.
pub(crate) const BUILD_TIME: i64 = 1_767_225_600;

/// Unix seconds as the machine has them, right or wrong.
#[expect(clippy::disallowed_methods, reason = "the device's one clock adapter")]
pub(crate) fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// CLOCK_BOOTTIME, milliseconds: runs through suspend, and no one can set it.
pub(crate) fn boottime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (now.tv_sec as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
}

/// What the machine's clock is worth: something only where the kernel says that it is synchronised.
pub(crate) fn synchronised() -> WallClock {
    if kernel_says_synchronised() { WallClock::Synchronised(wall()) } else { WallClock::Unset }
}

/// The instant of an event. `floor` is the latest time that was signed, or that the line wrote into the blob.
pub(crate) fn now(floor: i64) -> Now {
    let wall = match synchronised() {
        WallClock::Synchronised(at) => Wall::Synchronised(at.max(floor)),
        WallClock::Unset => Wall::Floor(floor.max(BUILD_TIME)),
    };
    Now { boottime_ms: boottime_ms(), wall }
}

#[expect(unsafe_code, reason = "adjtimex(2) has no other door")]
fn kernel_says_synchronised() -> bool {
    // SAFETY: all of `timex` are integers, for which zero is a value; with modes = 0 adjtimex only writes into it.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_runs_and_the_kernel_can_be_asked() {
        let first = boottime_ms();
        assert!(first > 0 && boottime_ms() >= first);
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(
            (seconds - first as f64 / 1000.0).abs() < 5.0,
            "/proc/uptime says {seconds} s, this is {first} ms"
        );
        let _ = kernel_says_synchronised();
    }

    #[test]
    fn an_unsynchronised_clock_is_a_floor_and_never_below_the_build() {
        if synchronised() == WallClock::Unset {
            assert_eq!(now(0).wall, Wall::Floor(BUILD_TIME));
            assert_eq!(now(BUILD_TIME + 5).wall, Wall::Floor(BUILD_TIME + 5));
        }
    }
}
