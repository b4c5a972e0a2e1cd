//! `holdfastd controller`: EdgeSecrets of one cluster into Secrets.

use super::all::stop_signal;
use crate::clock::Clock;
pub use crate::k8s::controller::Options;

/// Runs until SIGTERM or SIGINT, or until it finds that it could read Secrets.
pub async fn run(options: Options) -> anyhow::Result<()> {
    tracing::info!(data_dir = %options.data_dir.display(), "the controller starts");
    crate::k8s::controller::run(options, Clock::system(), stop_signal()?).await?;
    tracing::info!("stopped");
    Ok(())
}
