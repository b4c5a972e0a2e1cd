//! Who is believed to be the service, and at what time.
//!
//! The time is the latest of build time, blob, signed time, and the clock where the kernel vouches for it. A clock
//! that nobody vouches for may say that a certificate has begun; it never says that one has ended.

use super::Site;
use crate::clock;
use crate::error::DeviceError;
use holdfast_trust::tuf::time::WallClock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

type Builder = ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// The service's certificate leads to one of the site's roots.
pub(super) fn verified(site: &Site) -> Result<Builder, DeviceError> {
    let mut roots = RootCertStore::empty();
    for root in &site.roots {
        roots.add(CertificateDer::from(root.0.clone()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let inner = inner.build().map_err(DeviceError::unusable)?;
    Ok(builder(site).dangerous().with_custom_certificate_verifier(Arc::new(InTime { inner })))
}

/// Whoever it is.
pub(super) fn insecure_anyone(site: &Site) -> Builder {
    builder(site).dangerous().with_custom_certificate_verifier(Arc::new(Anyone(ring::default_provider())))
}

fn builder(site: &Site) -> ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(SiteTime { floor: site.floor }));
    // Unwrap safety: ring has suites of TLS 1.3.
    builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("ring speaks TLS 1.3")
}

/// The effective time of a connection.
#[derive(Debug)]
struct SiteTime {
    floor: i64,
}

impl TimeProvider for SiteTime {
    fn current_time(&self) -> Option<UnixTime> {
        let clock = match clock::synchronised() {
            WallClock::Synchronised(now) => now,
            WallClock::Unset => 0,
        };
        Some(unix(clock.max(self.floor).max(clock::BUILD_TIME)))
    }
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.max(0) as u64))
}

/// webpki's verifier; a certificate that has not begun at the effective time may have by a clock that is later.
#[derive(Debug)]
struct InTime {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for InTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify =
            |now| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let first = verify(now);
        match &first {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => verify(unix(clock::wall().max(now.as_secs() as i64))),
            _ => first,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes every certificate; the handshake is still signed by the one shown.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the service was reached and its certificate was not believed: the time, or the roots, may be old.
pub(crate) fn is_certificate_refusal(error: &DeviceError) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the service says, in TLS, that this device's certificate has ended.
pub(crate) fn is_told_expired(error: &DeviceError) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired))
    )
}

fn tls_error(error: &DeviceError) -> Option<&rustls::Error> {
    let DeviceError::Unreachable { source, .. } = error else { return None };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(error) = cause {
        let io = match error.downcast_ref::<ureq::Error>() {
            Some(ureq::Error::Io(io)) => Some(io),
            _ => error.downcast_ref::<std::io::Error>(),
        };
        let inner =
            io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = inner.or_else(|| error.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}
