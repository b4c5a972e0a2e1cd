//! PKCS#10 (RFC 2986): what a signing request may ask for, which is nothing. Only its key is taken; subject and
//! every requested name are ignored, since the service sets them.

use crate::attest::reason::Reason;
use crate::chain::{Algorithms, der, signature};
use crate::limits::{CSR_ATTRIBUTES_MAX, CSR_MAX_BYTES};
use crate::verified::Verified;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

/// A request whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    /// SubjectPublicKeyInfo, DER, as received.
    pub spki: Vec<u8>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("{actual} bytes are above the cap of {CSR_MAX_BYTES}")]
    TooLong { actual: usize },
    #[error("not one PKCS#10 structure: {0}")]
    Malformed(String),
    #[error("{0} attributes are above the cap of {CSR_ATTRIBUTES_MAX}")]
    TooManyAttributes(usize),
    #[error("its signature: {0}")]
    Signature(#[from] signature::SignatureProblem),
    #[error("it asks for {0}")]
    AsksForCa(&'static str),
}

impl CsrError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLong { .. } | Self::Malformed(_) | Self::TooManyAttributes(_) => Reason::CsrMalformed,
            Self::Signature(_) => Reason::CsrSignature,
            Self::AsksForCa(_) => Reason::CsrAsksForCa,
        }
    }
}

/// Verifies a request: exactly one structure, signed by its own key, that does not ask for a CA.
///
/// # Errors
/// [`CsrError`], the first that applies.
pub fn verify(bytes: &[u8], algorithms: Algorithms<'_>) -> Result<Verified<Csr>, CsrError> {
    if bytes.len() > CSR_MAX_BYTES {
        return Err(CsrError::TooLong { actual: bytes.len() });
    }
    let malformed = |why: &str| CsrError::Malformed(why.to_owned());
    let (left, request) =
        X509CertificationRequest::from_der(bytes).map_err(|why| CsrError::Malformed(why.to_string()))?;
    if !left.is_empty() {
        return Err(malformed("bytes left over"));
    }
    let mut outer = bytes;
    let mut content = der::expect(der::SEQUENCE, &mut outer).ok_or_else(|| malformed("no SEQUENCE"))?.content;
    let signed = der::expect(der::SEQUENCE, &mut content).ok_or_else(|| malformed("no request info"))?.whole;
    let algorithm =
        der::expect(der::SEQUENCE, &mut content).ok_or_else(|| malformed("no algorithm"))?.content;
    let bits = der::expect(der::BIT_STRING, &mut content).and_then(|bits| der::bits(bits.content));
    let bits = bits.ok_or_else(|| malformed("no signature"))?;
    if !content.is_empty() {
        return Err(malformed("bytes left over after the signature"));
    }
    let info = &request.certification_request_info;
    if info.attributes().len() > CSR_ATTRIBUTES_MAX {
        return Err(CsrError::TooManyAttributes(info.attributes().len()));
    }
    let spki = info.subject_pki.raw;
    signature::verify(algorithms, spki, algorithm, signed, bits)?;
    for attribute in info.attributes() {
        if let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() {
            asked.extensions.iter().try_for_each(|extension| refuse_ca(extension.parsed_extension()))?;
        }
    }
    Ok(Verified::after_all_checks(Csr { spki: spki.to_vec() }))
}

fn refuse_ca(extension: &ParsedExtension<'_>) -> Result<(), CsrError> {
    match extension {
        ParsedExtension::BasicConstraints(basic) if basic.ca => {
            Err(CsrError::AsksForCa("basicConstraints: CA"))
        }
        ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() => Err(CsrError::AsksForCa("keyCertSign")),
        ParsedExtension::KeyUsage(usage) if usage.crl_sign() => Err(CsrError::AsksForCa("cRLSign")),
        ParsedExtension::ParseError { .. } => Err(CsrError::Malformed("an extension cannot be read".into())),
        _ => Ok(()),
    }
}
