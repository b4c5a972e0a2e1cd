//! The driver of reconcilers: a timer and a signal, no input. Each may run twice, and does.

use crate::state::AppState;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Wakes a job before its timer does.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Starts `job` now, every `period` and whenever `wake` says so; a failure is logged and tried again.
/// Ends with the process: what it does is a transaction, or may be done again.
pub fn spawn<F>(
    name: &'static str,
    state: AppState,
    period: Duration,
    wake: Wake,
    job: impl Fn(AppState) -> F + Send + Sync + 'static,
) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = Result<(), crate::refusal::Refusal>> + Send,
{
    tokio::spawn(async move {
        loop {
            if let Err(refusal) = job(state.clone()).await {
                tracing::warn!(job.name = name, error.chain = %refusal.chain(), "a job failed; it will be tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(period) => {}
                () = wake.0.notified() => {}
            }
        }
    })
}

/// Runs `job` and then rests for `times` as long as it took: however often it is woken, others get their turns.
#[expect(clippy::disallowed_methods, reason = "how long a job takes, and nothing that it decides")]
pub async fn with_rest<T>(times: u32, job: impl Future<Output = T>) -> T {
    let began = tokio::time::Instant::now();
    let ended = job.await;
    tokio::time::sleep(began.elapsed() * times).await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a rest is measured")]
    async fn a_job_that_was_long_rests_long() {
        let began = tokio::time::Instant::now();
        let length = Duration::from_millis(20);
        with_rest(3, tokio::time::sleep(length)).await;
        assert!(began.elapsed() >= length * 4);
    }
}
