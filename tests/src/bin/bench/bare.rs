//! A bare axum handler behind the service's kind of TLS (1.3, aws-lc-rs, client certificates): what polls are measured
//! against. It answers 304 with as many bytes as the service does, and does nothing else.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::TcpListener;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Where it listens, and the root of its certificate. It serves until this program ends.
pub(crate) struct Bare {
    pub(crate) address: String,
    pub(crate) root: CertificateDer<'static>,
}

/// `clients`: whose certificates it takes. `answer_len`: bytes of an answer.
pub(crate) fn serve(clients: CertificateDer<'static>, answer_len: usize) -> anyhow::Result<Bare> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let root = made.cert.der().clone();
    let tls = TlsAcceptor::from(Arc::new(server_config(clients, &root, made.signing_key.serialize_der())?));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener, tls, answer_len)));
    Ok(Bare { address, root })
}

fn server_config(
    clients: CertificateDer<'static>,
    root: &CertificateDer<'static>,
    key: Vec<u8>,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![root.clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, answer_len: usize) -> std::io::Result<()> {
    // Status line, date and the header's own name take the rest.
    let padding =
        HeaderValue::try_from("x".repeat(answer_len.saturating_sub(80))).map_err(std::io::Error::other)?;
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("etag"), padding);
    let router =
        Router::new().route("/v1/state", get(|| async move { (StatusCode::NOT_MODIFIED, headers.clone()) }));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (tls, service) = (tls.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                // A client that leaves is no fault of the measure.
                drop(
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await,
                );
            }
        });
    }
}
