//! The accept loop: TLS handshake, then HTTP, with the connection's facts in each request's extensions.
//!
//! A connection needs no credentials, so it is bounded before anybody is known: by its peer's share of all connections,
//! and by the time for which it may be idle.

use super::idle::{Activity, Watched};
use super::peer::{Peer, Shares};
use axum::Router;
use holdfast_proto::enroll::EXPORTER_LABEL;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::CertificateDer;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

/// What the listener knows of a connection; every request carries it.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    /// The client's chain, leaf first; empty where it showed none. Shown means verified to our root, at this
    /// handshake or at the one that this session resumes.
    pub chain: Vec<CertificateDer<'static>>,
    /// RFC 9266, 32 bytes.
    pub exporter: [u8; 32],
    pub resumed: bool,
}

/// Bounds of the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of all peers; one peer has a quarter of it.
    pub max_connections: usize,
    pub handshake: Duration,
    /// How long a connection without a request may stay, and how long it has to close after that.
    pub idle: Duration,
    /// How long open requests may go on after the stop.
    pub drain: Duration,
}

/// Serves until `stop` ends, then lets open requests finish within the drain.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(bounds.max_connections));
    let shares = Shares::quarter_of(bounds.max_connections);
    let (close, closed) = tokio::sync::watch::channel(());
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = async {
            let place = place.await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            pair = accepted => pair,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, or the peer left before we came: give others time to close theirs.
                tracing::warn!(error = %error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(share) = shares.take(Peer::of(peer.ip())) else {
            tracing::debug!(peer = %peer, "a connection was refused: its address holds a quarter of all already");
            continue;
        };
        let (acceptor, router, closed) = (acceptor.clone(), router.clone(), closed.clone());
        tokio::spawn(async move {
            let _held = (place, share);
            if let Some((stream, connection)) = shake_hands(stream, peer, &acceptor, bounds.handshake).await {
                one(stream, connection, router, bounds.idle, closed).await;
            }
        });
    }
    drop(listener);
    drop(closed);
    let _ = close.send(());
    if tokio::time::timeout(bounds.drain, close.closed()).await.is_err() {
        tracing::warn!("some requests were still open at the end of the drain");
    }
}

async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: &TlsAcceptor,
    handshake: Duration,
) -> Option<(TlsStream<TcpStream>, Connection)> {
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let connection = facts(peer, stream.get_ref().1)?;
            Some((stream, connection))
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %peer, error = %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %peer, "a TLS handshake took too long");
            None
        }
    }
}

async fn one(
    stream: TlsStream<TcpStream>,
    connection: Connection,
    router: Router,
    bound: Duration,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let (peer, connection, activity) = (connection.peer, Arc::new(connection), Activity::new());
    let stream = Watched::new(stream, Arc::clone(&activity));
    let at_work = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let work = at_work.work();
        request.extensions_mut().insert(Arc::clone(&connection));
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await;
            drop(work);
            answer
        }
    });
    let builder = builder();
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let mut idle = std::pin::pin!(activity.idle_for(bound));
    let mut closing = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %peer, error = %error, "a connection ended badly");
                }
                return;
            }
            _ = closed.changed(), if !closing => {
                closing = true;
                serving.as_mut().graceful_shutdown();
            }
            () = idle.as_mut() => {
                if closing {
                    tracing::debug!(peer = %peer, "an idle connection was dropped: its peer did not close it");
                    return;
                }
                closing = true;
                serving.as_mut().graceful_shutdown();
                idle.set(activity.idle_for(bound));
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(15))
        .max_buf_size(64 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).max_header_list_size(64 << 10);
    builder
}

fn facts(peer: SocketAddr, tls: &rustls::ServerConnection) -> Option<Connection> {
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).ok()?;
    let chain = tls.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
    let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    Some(Connection { peer, chain, exporter, resumed })
}

#[cfg(test)]
mod tests;
