//! When a connection is idle: no handler is at work for it, and its peer takes nothing of an answer.
//!
//! The HTTP library has no such bound of its own before it knows the version of HTTP, nor for HTTP/2.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// An answer moves when its peer takes so much of it. Less is no answer: a peer that sends a ping now and then to have
/// it echoed is idle.
const MOVES_BYTES: usize = 4 << 10;

/// What happens on one connection: how many handlers are at work, and a sign whenever something moves.
#[derive(Debug)]
pub(super) struct Activity(watch::Sender<usize>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(0)))
    }

    /// A handler is at work until the answer is dropped. How long it may be is bounded by its route.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.0.send_modify(|working| *working += 1);
        Work(Arc::clone(self))
    }

    fn moved(&self) {
        self.0.send_modify(|_| {});
    }

    /// Ends when the connection has been idle for `bound`, counted from this call at the earliest.
    pub(super) async fn idle_for(&self, bound: Duration) {
        let mut signs = self.0.subscribe();
        loop {
            let silent = tokio::time::timeout(bound, signs.changed()).await.is_err();
            if silent && *signs.borrow() == 0 {
                return;
            }
        }
    }
}

/// One handler at work.
#[derive(Debug)]
pub(super) struct Work(Arc<Activity>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.0.send_modify(|working| *working -= 1);
    }
}

/// A stream that tells what its peer takes.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    taken_bytes: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, taken_bytes: 0 }
    }

    fn took(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.taken_bytes += bytes;
            if self.taken_bytes >= MOVES_BYTES {
                self.taken_bytes = 0;
                self.activity.moved();
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.took(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.took(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::timeout;

    const BOUND: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_handler_at_work_is_not_idle_and_one_that_has_answered_is() {
        let activity = Activity::new();
        let work = activity.work();
        assert!(timeout(BOUND * 5, activity.idle_for(BOUND)).await.is_err());
        drop(work);
        assert!(timeout(BOUND * 400, activity.idle_for(BOUND)).await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_moves_and_the_echo_of_a_ping_does_not() {
        let activity = Activity::new();
        let signs = activity.0.subscribe();
        let mut stream = Watched::new(tokio::io::sink(), Arc::clone(&activity));
        stream.write_all(&[0; 17]).await.unwrap();
        assert!(!signs.has_changed().unwrap());
        stream.write_all(&[0; MOVES_BYTES]).await.unwrap();
        assert!(signs.has_changed().unwrap());
    }
}
