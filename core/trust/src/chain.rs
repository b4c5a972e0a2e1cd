//! Certificate paths to scoped anchors, for certificates that are not ours: makers' EK certificates.
//!
//! Our own validator over x509-parser, since rustls-webpki refuses many genuine intermediates (critical
//! certificatePolicies) and knows no anchor scopes. Signatures are verified over the bytes received.
//! Paths of our own device certificates are rustls' job, not this one's.

pub mod anchor;
pub mod cert;
pub(crate) mod der;
pub mod name;
pub mod path;
pub mod signature;

pub use anchor::{Anchor, Anchors, Certifies, ManufacturerId, Scope, TimePolicy};
pub use cert::{Certificate, CertificateError, CertificateFacts, certificates_of};

/// Signature algorithms, as a crypto provider offers them.
pub type Algorithms<'a> = &'a [&'a dyn rustls_pki_types::SignatureVerificationAlgorithm];
