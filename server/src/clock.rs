//! The clock: the only place of the service that reads the time.
//!
//! Everything else takes `now` (Unix seconds) as an argument. Tests set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds, from the system or from a test.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Set(Arc<AtomicI64>),
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = u64::try_from(self.now()).unwrap_or(0);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now)))
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `now` until it is moved.
    pub fn standing_at(now: i64) -> Self {
        Self(Source::Set(Arc::new(AtomicI64::new(now))))
    }

    /// Unix seconds.
    #[expect(clippy::disallowed_methods, reason = "the clock adapter")]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64),
            Source::Set(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a standing clock; the system's does not move.
    pub fn advance(&self, seconds: i64) {
        if let Source::Set(now) = &self.0 {
            now.fetch_add(seconds, Ordering::SeqCst);
        }
    }
}
