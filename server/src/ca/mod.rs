//! The certificate authority: hierarchy, profiles, issuing, revocation. Keys behind [`key::CaKey`].
//!
//! Invariants: nothing is issued to a device without a `Verified` proof; every serial has its row in
//! `certificates` before the certificate leaves; a serial without a row is no certificate of ours.

pub mod der;
pub mod hierarchy;
pub mod issuer;
pub mod key;
pub mod profile;
pub mod revoke;
mod sql;

pub use hierarchy::{Authority, Hierarchy};
pub use issuer::Issued;
pub use sql::{Certificate, CertificateState, authorities};

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the certificate library failed")]
    Rcgen(#[from] rcgen::Error),
    #[error("the authority `{name}` is in the database, its key is not in the keyring")]
    KeyMissing { name: String },
    #[error("a device's key must be ECDSA on P-256 or P-384, this is neither")]
    KeyKind,
    #[error(transparent)]
    Keyring(#[from] crate::keyring::Error),
    #[error(transparent)]
    Db(#[from] crate::db::Error),
}

impl crate::db::Retryable for Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Db(error) => error.is_busy(),
            Self::Keyring(error) => error.is_retryable(),
            _ => false,
        }
    }
}

impl From<Error> for crate::refusal::Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            Error::Keyring(error) => error.into(),
            Error::KeyKind => Self::invalid("device-key-kind", error.to_string()),
            other => Self::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::both_services;

    both_services! {
        // RFC 5280 4.2: OpenSSL finds no issuer for a certificate that repeats one.
        async fn no_certificate_holds_an_extension_twice(service: Service) {
            let device = service.device("serial-1", &serde_json::json!({})).await;
            let (server, _) = crate::tx!(service.state.db, "test.server", |tx| {
                service.state.ca.issue_server(tx, service.state.tenant(), &["localhost".to_owned()], service.state.now()).await
            })
            .unwrap();
            for certificate in device.chain.iter().chain(&server.chain).chain([&service.state.ca.root.certificate]) {
                let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
                let extensions = parsed.extensions_map().expect("each extension once");
                assert!(extensions.len() >= 4);
            }
        }
    }
}
