//! The accept loop: TLS handshake, then HTTP, with the connection's facts in each request's extensions.

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
    pub max_connections: usize,
    pub handshake: Duration,
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
        let (acceptor, router, closed) = (acceptor.clone(), router.clone(), closed.clone());
        tokio::spawn(async move {
            let _place = place;
            one(stream, peer, acceptor, router, bounds.handshake, closed).await;
        });
    }
    drop(listener);
    drop(closed);
    let _ = close.send(());
    if tokio::time::timeout(bounds.drain, close.closed()).await.is_err() {
        tracing::warn!("some requests were still open at the end of the drain");
    }
}

async fn one(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    handshake: Duration,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(peer = %peer, error = %error, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(peer = %peer, "a TLS handshake took too long");
            return;
        }
    };
    let Some(connection) = facts(peer, stream.get_ref().1) else { return };
    let connection = Arc::new(connection);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&connection));
        router.clone().call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(15))
        .max_buf_size(64 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).max_header_list_size(64 << 10);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
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
        }
    }
}

fn facts(peer: SocketAddr, tls: &rustls::ServerConnection) -> Option<Connection> {
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None).ok()?;
    let chain = tls.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
    let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    Some(Connection { peer, chain, exporter, resumed })
}
