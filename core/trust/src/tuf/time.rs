//! What time it is, for a device whose clock may say anything.
//!
//! The effective time is the highest of: build time, signed time, and the clock where the kernel says that it is
//! synchronised. Signed time is `x-holdfast-issued-at` of a verified timestamp; it never counts beyond the expiry
//! of the trusted root, and is dropped when a root retires a key that signed it. A clock that is far ahead of it
//! is refused and never stored: a wrong clock may delay an update, never block updates for good.

use super::TufError;
use super::limits::CLOCK_AHEAD_S;
use super::trusted::Trusted;
use super::walk::{Clock, malformed};
use holdfast_proto::assignment::ISSUED_AT_FIELD;
use serde::{Deserialize, Serialize};
use sigstore_tuf::{Root, Timestamp};

/// What the machine's clock is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallClock {
    /// Never set, or nobody vouches for it.
    Unset,
    /// The kernel says that it is synchronised: Unix seconds.
    Synchronised(i64),
}

/// A signed time that was believed, and the keys that stood behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTime {
    /// Unix seconds.
    pub at: i64,
    /// The timestamp keys that signed it. With none of them named it is worth nothing.
    pub key_ids: Vec<String>,
}

/// The device's clock for a walk.
#[derive(Debug, Clone)]
pub struct DeviceClock<'a> {
    /// No time before this is believed: build time and the blob's minimum.
    pub build_time: i64,
    pub wall: WallClock,
    pub signed: Option<&'a SignedTime>,
}

impl DeviceClock<'_> {
    fn floor(&self, root: &Root) -> i64 {
        let signed = self.signed.filter(|signed| still_trusted(signed, root)).map_or(0, |signed| signed.at);
        self.build_time.max(signed.min(last_second(root)))
    }
}

impl Clock for DeviceClock<'_> {
    /// The clock itself has no say yet: one that is ahead would find every root expired.
    fn before(&self, root: &Root) -> Result<i64, TufError> {
        Ok(self.floor(root))
    }

    fn with(&self, root: &Root, timestamp: &Timestamp) -> Result<i64, TufError> {
        let said = said_at(timestamp).ok_or_else(|| malformed("timestamp.json", "it has no signed time"))?;
        let floor = self.floor(root).max(said.min(last_second(root)));
        let WallClock::Synchronised(clock) = self.wall else { return Ok(floor) };
        // A root that ended, by what its own keys say, is expired; one that only this clock says has ended is not.
        let newest = floor.max(said);
        let root_expires = root.expires.as_second();
        if clock > newest.saturating_add(CLOCK_AHEAD_S) || (clock >= root_expires && newest < root_expires) {
            return Err(TufError::ClockAhead { clock, signed: newest, root_expires });
        }
        Ok(floor.max(clock))
    }
}

/// The time for what is not a walk (TLS, assignments): the same maximum, from what is stored.
pub fn effective_now(build_time: i64, wall: WallClock, signed: Option<&SignedTime>) -> i64 {
    let floor = build_time.max(signed.map_or(0, |signed| signed.at));
    match wall {
        WallClock::Synchronised(clock) => floor.max(clock),
        WallClock::Unset => floor,
    }
}

/// The timestamp's signed time, at most the root's last second: it ends no root by itself.
pub fn issued_at(root: &Root, timestamp: &Timestamp) -> Option<i64> {
    said_at(timestamp).map(|at| at.min(last_second(root)))
}

fn said_at(timestamp: &Timestamp) -> Option<i64> {
    timestamp.extra.get(ISSUED_AT_FIELD)?.as_i64().filter(|at| *at >= 0)
}

fn last_second(root: &Root) -> i64 {
    root.expires.as_second().saturating_sub(1)
}

/// The signed time to keep after a walk: never lower than before, unless a key behind it was retired. What an
/// older key said keeps that key's name.
pub fn signed_time(before: Option<&SignedTime>, trusted: &Trusted) -> Option<SignedTime> {
    let root = trusted.root();
    let before = before.filter(|signed| still_trusted(signed, root)).cloned();
    let issued = trusted.timestamp().and_then(|timestamp| issued_at(root, timestamp));
    let now = issued.map(|at| SignedTime { at, key_ids: trusted.timestamp_signers().to_vec() });
    match (before, now) {
        (Some(before), Some(now)) if before.at > now.at => Some(before),
        (before, now) => now.or(before),
    }
}

fn still_trusted(signed: &SignedTime, root: &Root) -> bool {
    let current = root.role("timestamp").map(|role| role.keyids.as_slice()).unwrap_or_default();
    !signed.key_ids.is_empty() && signed.key_ids.iter().all(|id| current.contains(id))
}
