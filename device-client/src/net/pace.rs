//! How slow the other side may be. What counts is the time spent waiting for it, whatever this device does meanwhile:
//! a pause of its own, or a slow medium, is nobody's fault.
//!
//! Patience is a store of waiting time: it runs down while a socket is waited for, and bytes that move fill it up again,
//! never above what it began with. So who is faster than [`Limits::bytes_per_s`] may take as long as his bytes need, and
//! who is not is given up, however he spreads them.

use crate::clock;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the other side is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A handshake; connecting before it has as long.
    pub(crate) handshake_ms: u64,
    /// Without any byte.
    pub(crate) silence_ms: u64,
    /// For an answer and for a blob: as long as this, and as long as the rate of what comes makes good for.
    pub(crate) answer_ms: u64,
    pub(crate) blob_ms: u64,
    pub(crate) bytes_per_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_ms: 30_000,
            silence_ms: 120_000,
            answer_ms: 180_000,
            blob_ms: 60_000,
            bytes_per_s: 1024,
        }
    }
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Metadata, JSON: bounded in its length, and a service may think before it answers.
    Answer,
    Blob,
}

/// The patience with one connection.
#[derive(Debug)]
pub(super) struct Patience {
    limits: Limits,
    left: Mutex<Left>,
}

/// Microseconds, so that one byte is something.
#[derive(Debug, Clone, Copy)]
struct Left {
    now_us: u64,
    full_us: u64,
    /// What a byte that is received is worth.
    us_per_byte: u64,
}

impl Patience {
    /// For a handshake.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let full_us = limits.handshake_ms * 1000;
        Arc::new(Self { limits, left: Mutex::new(Left { now_us: full_us, full_us, us_per_byte: 0 }) })
    }

    /// For the next answer.
    pub(super) fn begin(&self, kind: Kind) {
        let full_us = 1000
            * match kind {
                Kind::Answer => self.limits.answer_ms,
                Kind::Blob => self.limits.blob_ms,
            };
        *self.left() = Left { now_us: full_us, full_us, us_per_byte: self.us_per_byte() };
    }

    /// So much came that is of use.
    pub(super) fn received(&self, bytes: usize) {
        let mut left = self.left();
        let worth_us = left.us_per_byte;
        left.fill(bytes, worth_us);
    }

    /// So much is sent: what this device says may take its time in every case.
    pub(super) fn sending(&self, bytes: usize) {
        self.left().fill(bytes, self.us_per_byte());
    }

    /// As if the other side had been waited for until nothing is left.
    #[cfg(test)]
    pub(super) fn exhaust(&self) {
        self.left().now_us = 0;
    }

    fn us_per_byte(&self) -> u64 {
        1_000_000 / self.limits.bytes_per_s.max(1)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the socket in `act`, which is told for how long.
    fn wait<T>(&self, act: impl FnOnce(Option<Duration>) -> Result<T>) -> Result<T> {
        // A socket's timeout cannot be zero.
        let left_ms = self.left().now_us / 1000;
        if left_ms == 0 {
            return Err(too_slow());
        }
        let began_ms = clock::boottime_ms();
        let ended = act(Some(Duration::from_millis(left_ms.min(self.limits.silence_ms))));
        self.left().spend(clock::boottime_ms().saturating_sub(began_ms));
        ended.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => too_slow(),
            _ => error,
        })
    }
}

impl Left {
    fn spend(&mut self, ms: u64) {
        self.now_us = self.now_us.saturating_sub(ms.saturating_mul(1000));
    }

    fn fill(&mut self, bytes: usize, us_per_byte: u64) {
        self.now_us =
            self.now_us.saturating_add((bytes as u64).saturating_mul(us_per_byte)).min(self.full_us);
    }
}

fn too_slow() -> Error {
    Error::new(ErrorKind::TimedOut, "the other side is too slow: it is given up, and asked again later")
}

/// A socket that is waited for with patience.
pub(super) struct Paced {
    pub(super) socket: TcpStream,
    pub(super) patience: Arc<Patience>,
}

impl Read for Paced {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        self.patience.wait(|timeout| {
            self.socket.set_read_timeout(timeout)?;
            self.socket.read(out)
        })
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.patience.wait(|timeout| {
            self.socket.set_write_timeout(timeout)?;
            self.socket.write(bytes)
        })
    }

    fn flush(&mut self) -> Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether so many seconds of so many bytes each are waited for.
    fn lasts(kind: Kind, seconds: u64, bytes: usize) -> bool {
        let patience = Patience::new(Limits::default());
        patience.begin(kind);
        (0..seconds).all(|_| {
            patience.left().spend(1000);
            let waited = patience.wait(|_| Ok(())).is_ok();
            patience.received(bytes);
            waited
        })
    }

    #[test]
    fn a_slow_link_that_gets_somewhere_is_waited_for_and_one_that_does_not_is_given_up() {
        for kind in [Kind::Answer, Kind::Blob] {
            assert!(lasts(kind, 1_000_000, 1100), "eleven days at a little above the rate");
            assert!(!lasts(kind, 3_000, 900));
        }
        assert!(lasts(Kind::Blob, 59, 0) && !lasts(Kind::Blob, 61, 0));
        assert!(lasts(Kind::Answer, 179, 0) && !lasts(Kind::Answer, 181, 0));
    }

    #[test]
    fn a_fast_start_buys_nobody_more_than_a_minute() {
        let patience = Patience::new(Limits::default());
        patience.begin(Kind::Blob);
        patience.received(1 << 30);
        patience.left().spend(60_000);
        let why = patience.wait(|_| Ok(())).unwrap_err();
        assert!(why.to_string().contains("too slow"), "{why}");
    }

    #[test]
    fn what_is_sent_may_take_its_time() {
        let patience = Patience::new(Limits::default());
        patience.begin(Kind::Answer);
        for _ in 0..600 {
            patience.left().spend(1000);
            patience.sending(1100);
        }
        assert!(patience.wait(|_| Ok(())).is_ok());
    }
}
