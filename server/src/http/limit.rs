//! Rate limits of what anybody may call: one token bucket for each peer, bounded in number.

use super::peer::Peer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Buckets by peer.
pub struct RateLimit {
    per_second: f64,
    burst: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_peer: HashMap<Peer, Bucket>,
    swept: Option<Instant>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// More peers than this at once and the fullest buckets are forgotten: a full bucket remembers nothing.
const MAX_BUCKETS: usize = 65_536;
/// Looking through all buckets holds everybody up: whoever keeps them many makes us do it no more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl RateLimit {
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Takes one token for `address`'s peer; `Err` is the seconds until there is one.
    pub fn take(&self, address: IpAddr, at: Instant) -> Result<(), u32> {
        let peer = Peer::of(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.by_peer.len() >= MAX_BUCKETS && !buckets.by_peer.contains_key(&peer) {
            self.sweep(&mut buckets, at);
            if buckets.by_peer.len() >= MAX_BUCKETS {
                return Err(1);
            }
        }
        let bucket = buckets.by_peer.entry(peer).or_insert(Bucket { tokens: self.burst, filled: at });
        let gained = at.saturating_duration_since(bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.burst);
        bucket.filled = at;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - bucket.tokens) / self.per_second).ceil().max(1.0) as u32)
    }

    /// Forgets the full buckets, if that was not done just now.
    fn sweep(&self, buckets: &mut Buckets, at: Instant) {
        if buckets.swept.is_some_and(|swept| at.saturating_duration_since(swept) < SWEEP_EVERY) {
            return;
        }
        buckets.swept = Some(at);
        let (rate, burst) = (self.per_second, self.burst);
        buckets
            .by_peer
            .retain(|_, b| b.tokens + at.saturating_duration_since(b.filled).as_secs_f64() * rate < burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    #[test]
    fn a_burst_then_the_rate_and_each_address_for_itself() {
        let limit = RateLimit::new(2.0, 3.0);
        let (start, one, two) = (Instant::now(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..3 {
            assert_eq!(limit.take(one, start), Ok(()));
        }
        assert_eq!(limit.take(one, start), Err(1));
        assert_eq!(limit.take(two, start), Ok(()));
        assert_eq!(limit.take(one, start + Duration::from_millis(400)), Err(1));
        assert_eq!(limit.take(one, start + Duration::from_millis(500)), Ok(()));
    }

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    #[test]
    fn the_addresses_of_one_ipv6_network_share_a_bucket() {
        let (limit, start) = (RateLimit::new(1.0, 2.0), Instant::now());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(limit.take(address("2001:db8::1"), start), Ok(()));
        assert_eq!(limit.take(address("2001:db8::2"), start), Ok(()));
        assert_eq!(limit.take(address("2001:db8::3"), start), Err(1));
        assert_eq!(limit.take(address("2001:db8:0:1::1"), start), Ok(()));
    }

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    #[test]
    fn a_map_that_is_kept_full_is_looked_through_once_a_second() {
        let (limit, start) = (RateLimit::new(10.0, 2.0), Instant::now());
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        for n in 0..MAX_BUCKETS as u32 {
            assert_eq!(limit.take(address(n), start), Ok(()));
        }
        let newcomer = address(MAX_BUCKETS as u32);
        assert_eq!(limit.take(newcomer, start), Err(1), "none is full yet");
        let later = start + Duration::from_millis(500);
        assert_eq!(limit.take(newcomer, later), Err(1), "all are full, and nobody looks yet");
        assert_eq!(limit.take(address(0), later), Ok(()), "who is known is served");
        assert_eq!(limit.take(newcomer, start + SWEEP_EVERY), Ok(()));
    }
}
