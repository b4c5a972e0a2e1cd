//! Rate limits of what anybody may call: one token bucket for each peer address, bounded in number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

/// Buckets by address.
pub struct RateLimit {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// More addresses than this at once and the fullest buckets are forgotten: a full bucket remembers nothing.
const MAX_BUCKETS: usize = 65_536;

impl RateLimit {
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Takes one token for `peer`; `Err` is the seconds until there is one.
    pub fn take(&self, peer: IpAddr, at: Instant) -> Result<(), u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS {
            let (rate, burst) = (self.per_second, self.burst);
            buckets.retain(|_, b| b.tokens + at.duration_since(b.filled).as_secs_f64() * rate < burst);
        }
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&peer) {
            return Err(1);
        }
        let bucket = buckets.entry(peer).or_insert(Bucket { tokens: self.burst, filled: at });
        let gained = at.saturating_duration_since(bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.burst);
        bucket.filled = at;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - bucket.tokens) / self.per_second).ceil().max(1.0) as u32)
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
}
