//! The TLS side of the listener: TLS 1.3 on aws-lc-rs, client certificates optional.
//!
//! A client certificate that is shown must chain to our root; whether its serial is ours, unrevoked and its
//! device in a state to speak is asked of the database on every request (`auth.rs`), because a resumed
//! session skips the check made here.

use crate::clock::Clock;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::sync::{Arc, RwLock};
use zeroize::Zeroizing;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the TLS library refused its configuration")]
    Tls(#[from] rustls::Error),
    #[error("the client verifier cannot be built")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The certificate that the listener shows; replaced while it runs.
#[derive(Debug)]
pub struct ServerCertificate(RwLock<Arc<CertifiedKey>>);

impl ServerCertificate {
    pub fn new(chain: Vec<CertificateDer<'static>>, key_pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        Ok(Self(RwLock::new(certified(chain, key_pkcs8)?)))
    }

    /// Shows another certificate from the next handshake on.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        let new = certified(chain, key)?;
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new;
        Ok(())
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key_pkcs8: &Zeroizing<Vec<u8>>,
) -> Result<Arc<CertifiedKey>, Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8.to_vec()));
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())?))
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

/// The listener's configuration: `roots` are our own, and verify clients by the service's clock.
pub fn server_config(
    certificate: Arc<ServerCertificate>,
    roots: &[CertificateDer<'static>],
    clock: Clock,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // Each holds the client's certificates: on a bad link, one is enough for the next connection, which brings another.
    config.send_tls13_tickets = 1;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
