//! `holdfastd all`: the whole service in one process, with embedded defaults.

use crate::clock::Clock;
use crate::config::Config;
use crate::http::listen::{Bounds, serve};
use crate::http::tls;
use crate::keyring::Restored;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::work::{Wake, spawn};
use crate::{checkin, enroll, release, rollout};
use anyhow::Context as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A service that listens.
pub struct Running {
    pub state: AppState,
    /// `https://127.0.0.1:<port>`.
    pub url: String,
    listener: TcpListener,
}

/// Binds, opens everything, and is ready to [`Running::serve`].
pub async fn start(config: Config, clock: Clock, restored: Restored) -> anyhow::Result<Running> {
    let address = config.listen.address;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let bound = listener.local_addr()?;
    let host = if bound.ip().is_unspecified() { "127.0.0.1".to_owned() } else { bound.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{}", bound.port());
    let state = AppState::open(config, clock, &url, restored).await?;
    Ok(Running { state, url, listener })
}

impl Running {
    /// Serves until `stop` ends, then drains.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let state = self.state;
        let roots = [state.ca.root.certificate.clone()];
        let tls =
            Arc::new(tls::server_config(Arc::clone(&state.server_certificate), &roots, state.clock.clone())?);
        let bounds = Bounds {
            max_connections: state.config.listen.max_connections,
            handshake: Duration::from_secs(10),
            // Longer than clients keep a connection for the next request: a device's is 15 s.
            idle: Duration::from_secs(30),
            drain: Duration::from_secs(state.config.listen.drain_s),
        };
        let jobs = jobs(&state);
        serve(self.listener, tls, super::router::service(state.clone()), bounds, stop).await;
        state.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        for job in jobs {
            job.abort();
        }
        if let Err(refusal) = checkin::work::flush(state.clone()).await {
            tracing::warn!(error.chain = %refusal.chain(), "when devices were last seen was not written");
        }
        state.db.close().await;
        Ok(())
    }
}

/// Every periodic job, one line each.
#[rustfmt::skip]
fn jobs(state: &AppState) -> Vec<tokio::task::JoinHandle<()>> {
    let (seconds, config) = (Duration::from_secs, &state.config);
    let (plan_every, flush_every) = (seconds(config.rollout.plan_every_s), seconds(config.checkin.flush_s));
    vec![
        spawn("server-certificate", state.clone(), seconds(30 * 86_400), Wake::default(), renew_server_certificate),
        spawn("planner", state.clone(), plan_every, state.wake_rollouts.clone(), rollout::work::plan),
        spawn("deltas", state.clone(), seconds(300), state.wake_deltas.clone(), release::work::build),
        spawn("metadata", state.clone(), seconds(600), state.wake_metadata.clone(), release::work::renew_metadata),
        spawn("last-seen", state.clone(), flush_every, Wake::default(), checkin::work::flush),
        spawn("enroll-nonces", state.clone(), seconds(3_600), Wake::default(), enroll::work::forget_nonces),
    ]
}

async fn renew_server_certificate(state: AppState) -> Result<(), Refusal> {
    state.renew_server_certificate().await.map_err(Refusal::internal)
}

/// Runs until SIGTERM or SIGINT; says on standard output, and in `ready.json`, where it listens.
pub async fn run(config: Config, restored: Restored) -> anyhow::Result<()> {
    let ready_file = config.data_dir.join("ready.json");
    let running = start(config, Clock::system(), restored).await?;
    let ready = serde_json::json!({
        "url": running.url,
        "public_url": running.state.public_url,
        "pid": std::process::id(),
        "ca": running.state.config.data_dir.join("ca.pem"),
        "tokens": running.state.config.data_dir.join("tokens.json"),
    });
    crate::keyring::kek::write_private(&ready_file, &serde_json::to_vec_pretty(&ready)?)?;
    tracing::info!(url = %running.url, data_dir = %running.state.config.data_dir.display(), "ready");
    {
        use std::io::Write as _;
        let mut out = std::io::stdout();
        writeln!(out, "holdfastd ready {}", running.url)?;
        out.flush()?;
    }
    let ended = running.serve(stop_signal()?).await;
    let _ = std::fs::remove_file(&ready_file);
    tracing::info!("stopped");
    ended
}

pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
