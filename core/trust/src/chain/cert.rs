//! One certificate, read once, kept with its bytes.

use super::{der, name};
use crate::limits::{EXTENSIONS_MAX, INSPECT_MAX_BYTES, INTERMEDIATES_MAX};
use base64::Engine as _;
use sha2::Digest as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;

/// Why bytes are no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("no DER SEQUENCE at the start")]
    NoSequence,
    #[error("not an X.509 certificate: {0}")]
    NotX509(String),
    #[error("the signature algorithm inside the signed part differs from the one outside")]
    AlgorithmsDiffer,
    #[error("the extension {0} stands twice")]
    Duplicate(String),
    #[error("the extension {0} cannot be read")]
    Extension(String),
    #[error("{0} extensions")]
    TooManyExtensions(usize),
    #[error("{actual} bytes are above the cap of {cap}")]
    TooLong { actual: usize, cap: usize },
    #[error("no certificate in it")]
    None,
    #[error("a PEM block that is not base64")]
    Base64,
}

/// A parsed certificate that borrows its bytes. Extensions are unique, and those that are used can be read.
#[derive(Debug, Clone)]
pub struct Certificate<'a> {
    pub(crate) x509: X509Certificate<'a>,
    /// Exactly the outer SEQUENCE.
    pub(crate) der: &'a [u8],
    /// The signed bytes.
    pub(crate) tbs: &'a [u8],
    /// Contents of the signature's AlgorithmIdentifier.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

/// What `holdfast inspect cert` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    pub subject: String,
    pub issuer: String,
    /// Lower-case hex.
    pub serial: String,
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// For example `RSA-2048`, `P-256`.
    pub key: String,
    /// The signature algorithm's OID.
    pub signature_algorithm: String,
    pub is_ca: bool,
    pub path_len: Option<u32>,
    pub key_usage: Vec<String>,
    /// Names, or OIDs.
    pub extended_key_usage: Vec<String>,
    /// `URI:..`, `DNS:..`, `dirName:..` and so on.
    pub alternative_names: Vec<String>,
    /// OIDs of certificatePolicies.
    pub policies: Vec<String>,
    pub subject_key_id: Option<String>,
    pub authority_key_id: Option<String>,
    /// OIDs of critical extensions.
    pub critical: Vec<String>,
    /// SHA-256 over the DER, hex.
    pub fingerprint: String,
    /// DEFAULT values that are written out, trailing bytes.
    pub notes: Vec<String>,
}

impl<'a> Certificate<'a> {
    /// Reads the certificate that starts `bytes`; what follows its outer SEQUENCE is returned, not judged.
    ///
    /// # Errors
    /// When there is no certificate, an extension stands twice, or one that matters cannot be read.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), CertificateError> {
        let mut rest = bytes;
        let outer = der::expect(der::SEQUENCE, &mut rest).ok_or(CertificateError::NoSequence)?;
        Ok((Self::parse(outer.whole)?, rest))
    }

    /// Reads a certificate that fills `der`.
    ///
    /// # Errors
    /// As [`Certificate::read`].
    pub fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        let (left, x509) =
            X509Certificate::from_der(der).map_err(|why| CertificateError::NotX509(format!("{why}")))?;
        if !left.is_empty() {
            return Err(CertificateError::NotX509(format!("{} bytes left over", left.len())));
        }
        let (tbs, algorithm, signature) = outer_parts(der).ok_or(CertificateError::NoSequence)?;
        // RFC 5280 4.1.1.2: the two algorithm identifiers are the same.
        if x509.signature_algorithm != x509.tbs_certificate.signature {
            return Err(CertificateError::AlgorithmsDiffer);
        }
        check_extensions(x509.extensions())?;
        Ok(Self { x509, der, tbs, algorithm, signature })
    }

    /// SHA-256 over the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha2::Sha256::digest(self.der).into()
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        self.x509.public_key().raw
    }

    /// Serial number's content bytes, hex.
    pub fn serial_hex(&self) -> String {
        hex::encode(self.x509.raw_serial())
    }

    pub(crate) fn not_before(&self) -> i64 {
        self.x509.validity().not_before.timestamp()
    }

    pub(crate) fn not_after(&self) -> i64 {
        self.x509.validity().not_after.timestamp()
    }

    pub(crate) fn extension(
        &self,
        read: impl Fn(&ParsedExtension<'a>) -> bool,
    ) -> Option<&X509Extension<'a>> {
        self.x509.extensions().iter().find(|extension| read(extension.parsed_extension()))
    }

    pub(crate) fn key_usage(&self) -> Option<&KeyUsage> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => Some(usage),
            _ => None,
        })
    }

    pub(crate) fn extended_key_usage(&self) -> Option<&ExtendedKeyUsage<'a>> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
            _ => None,
        })
    }

    pub(crate) fn alternative_names(&self) -> Option<&[GeneralName<'a>]> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
            _ => None,
        })
    }

    /// (cA, pathLenConstraint); none without basicConstraints.
    pub(crate) fn basic_constraints(&self) -> Option<(bool, Option<u32>)> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => Some((basic.ca, basic.path_len_constraint)),
            _ => None,
        })
    }

    pub(crate) fn subject_key_id(&self) -> Option<&[u8]> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
    }

    /// The extension is there; its key identifier may be missing from it.
    #[expect(clippy::option_option, reason = "absent, there without an identifier, there with one")]
    pub(crate) fn authority_key_id(&self) -> Option<Option<&[u8]>> {
        self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref().map(|id| id.0)),
            _ => None,
        })
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        name::same(self.x509.subject(), self.x509.issuer())
    }

    /// DEFAULT values that DER leaves out but this certificate writes (Intel does): accepted, logged.
    pub(crate) fn explicit_defaults(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for extension in self.x509.extensions() {
            if !extension.critical && has_explicit_critical(self.tbs, extension) {
                notes.push(format!("extension {}: critical FALSE is written out", extension.oid));
            }
            if matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(_))
                && extension.value.starts_with(&[0x30, 3, der::BOOLEAN, 1, 0])
            {
                notes.push("basicConstraints: cA FALSE is written out".into());
            }
        }
        notes
    }

    /// Everything that a person wants to see.
    pub fn facts(&self) -> CertificateFacts {
        let usage = self.key_usage().map(ToString::to_string).unwrap_or_default();
        let (is_ca, path_len) = self.basic_constraints().unwrap_or((false, None));
        let policies =
            self.x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::CertificatePolicies(list) => {
                    Some(list.iter().map(|p| p.policy_id.to_string()).collect())
                }
                _ => None,
            });
        let critical = self.x509.extensions().iter().filter(|extension| extension.critical);
        CertificateFacts {
            subject: self.x509.subject().to_string(),
            issuer: self.x509.issuer().to_string(),
            serial: self.serial_hex(),
            not_before: self.not_before(),
            not_after: self.not_after(),
            key: key_name(self.spki()),
            signature_algorithm: self.x509.signature_algorithm.algorithm.to_string(),
            is_ca,
            path_len,
            key_usage: usage.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            extended_key_usage: self.extended_key_usage().map(eku_names).unwrap_or_default(),
            alternative_names: self
                .alternative_names()
                .unwrap_or_default()
                .iter()
                .map(general_name)
                .collect(),
            policies: policies.unwrap_or_default(),
            subject_key_id: self.subject_key_id().map(hex::encode),
            authority_key_id: self.authority_key_id().flatten().map(hex::encode),
            critical: critical.map(|extension| extension.oid.to_string()).collect(),
            fingerprint: hex::encode(self.fingerprint()),
            notes: self.explicit_defaults(),
        }
    }
}

/// The certificates in a file, PEM (any number of blocks) or DER (any number of SEQUENCEs).
///
/// # Errors
/// When there is none, one cannot be delimited, or the file is too large.
pub fn certificates_of(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    if bytes.len() > INSPECT_MAX_BYTES {
        return Err(CertificateError::TooLong { actual: bytes.len(), cap: INSPECT_MAX_BYTES });
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains(PEM_BEGIN));
    let found = match text {
        Some(text) => pem_blocks(text)?,
        None => split_sequences(bytes).0.into_iter().map(<[u8]>::to_vec).collect(),
    };
    if found.is_empty() { Err(CertificateError::None) } else { Ok(found) }
}

/// The outer SEQUENCEs that stand one after another at the start, and what is left.
pub(crate) fn split_sequences(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while found.len() < INTERMEDIATES_MAX * 8 {
        let mut next = rest;
        let Some(element) = der::expect(der::SEQUENCE, &mut next) else { break };
        found.push(element.whole);
        rest = next;
    }
    (found, rest)
}

fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    text.split(PEM_BEGIN)
        .skip(1)
        .map(|block| {
            let body = block.split(PEM_END).next().unwrap_or_default();
            let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            base64::engine::general_purpose::STANDARD.decode(digits).map_err(|_| CertificateError::Base64)
        })
        .collect()
}

/// (tbs, AlgorithmIdentifier contents, signature bits).
fn outer_parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut outer = der;
    let mut content = der::expect(der::SEQUENCE, &mut outer)?.content;
    let tbs = der::expect(der::SEQUENCE, &mut content)?.whole;
    let algorithm = der::expect(der::SEQUENCE, &mut content)?.content;
    let signature = der::bits(der::expect(der::BIT_STRING, &mut content)?.content)?;
    (outer.is_empty() && content.is_empty()).then_some((tbs, algorithm, signature))
}

fn check_extensions(extensions: &[X509Extension<'_>]) -> Result<(), CertificateError> {
    if extensions.len() > EXTENSIONS_MAX {
        return Err(CertificateError::TooManyExtensions(extensions.len()));
    }
    for (number, extension) in extensions.iter().enumerate() {
        if extensions.iter().take(number).any(|earlier| earlier.oid == extension.oid) {
            return Err(CertificateError::Duplicate(extension.oid.to_string()));
        }
        let oid = extension.oid.to_string();
        let matters = extension.critical || READ.contains(&oid.as_str());
        if matters && extension.parsed_extension().error().is_some() {
            return Err(CertificateError::Extension(oid));
        }
    }
    Ok(())
}

/// Looks into the signed bytes for `OID, BOOLEAN FALSE` of this extension.
fn has_explicit_critical(tbs: &[u8], extension: &X509Extension<'_>) -> bool {
    let oid = extension.oid.as_bytes();
    let needle = [&[0x06, oid.len() as u8][..], oid, &[der::BOOLEAN, 1, 0]].concat();
    tbs.windows(needle.len()).any(|window| window == needle)
}

fn key_name(spki: &[u8]) -> String {
    use holdfast_tpm::wire::{Curve, SubjectKey};
    match SubjectKey::from_spki_der(spki) {
        Ok(SubjectKey::Ecc { curve: Curve::P256, .. }) => "P-256".into(),
        Ok(SubjectKey::Ecc { curve: Curve::P384, .. }) => "P-384".into(),
        Ok(SubjectKey::Ecc { curve: Curve::P521, .. }) => "P-521".into(),
        Ok(key @ SubjectKey::Rsa { .. }) => format!("RSA-{}", key.bits()),
        Err(why) => format!("unknown ({why})"),
    }
}

fn eku_names(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let flags = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let named = flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned());
    named
        .chain(usage.other.iter().map(|oid| match oid.to_string().as_str() {
            "2.23.133.8.1" => "tcg-kp-EKCertificate (2.23.133.8.1)".into(),
            other => other.to_owned(),
        }))
        .collect()
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) => format!("DNS:{text}"),
        GeneralName::URI(text) => format!("URI:{text}"),
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        GeneralName::DirectoryName(name) => {
            let attributes = name.iter_attributes().map(|attribute| {
                let value = name::text(attribute.attr_value().tag(), attribute.as_slice());
                format!(
                    "{}={}",
                    attribute.attr_type(),
                    value.unwrap_or_else(|| hex::encode(attribute.as_slice()))
                )
            });
            format!("dirName:{}", attributes.collect::<Vec<_>>().join(","))
        }
        GeneralName::OtherName(oid, value) => format!("otherName:{oid}={}", hex::encode(value)),
        GeneralName::IPAddress(bytes) => format!("IP:{}", hex::encode(bytes)),
        GeneralName::RegisteredID(oid) => format!("RID:{oid}"),
        GeneralName::X400Address(_) => "x400Address".into(),
        GeneralName::EDIPartyName(_) => "ediPartyName".into(),
        GeneralName::Invalid(tag, bytes) => format!("unreadable [{}] {}", tag.0, hex::encode(bytes)),
    }
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Extensions that decide something here: they must be readable even when they are not critical.
const READ: [&str; 6] = ["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.35", "2.5.29.37"];
