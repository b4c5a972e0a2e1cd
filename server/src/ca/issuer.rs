//! Issuing leaves: from the public key alone (a CSR's subject and names are ignored), each with its row.

use super::hierarchy::{Authority, Hierarchy};
use super::profile::{self, Leaf, Validity};
use super::{Error, sql};
use crate::db::Tx;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

/// A certificate that was issued, with its issuers.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Hex, 16 octets.
    pub serial: String,
    /// Leaf first, up to but without the root.
    pub chain: Vec<CertificateDer<'static>>,
    pub not_after: i64,
    /// Fingerprint of the issuing CA.
    pub signer: String,
}

/// A public key to certify.
pub(crate) struct LeafKey {
    algorithm: &'static SignatureAlgorithm,
    point: Vec<u8>,
}

impl PublicKeyData for LeafKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl LeafKey {
    /// From a SubjectPublicKeyInfo (DER): an uncompressed point on P-256 or P-384.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| Error::KeyKind)?;
        let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let point = spki.subject_public_key.data.to_vec();
        let kind = (spki.algorithm.algorithm.to_id_string(), curve.map(|c| c.to_id_string()), point.len());
        let algorithm = match (kind.0.as_str(), kind.1.as_deref(), kind.2) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7"), 65) => &PKCS_ECDSA_P256_SHA256,
            ("1.2.840.10045.2.1", Some("1.3.132.0.34"), 97) => &PKCS_ECDSA_P384_SHA384,
            _ => return Err(Error::KeyKind),
        };
        if !rest.is_empty() || point.first() != Some(&4) {
            return Err(Error::KeyKind);
        }
        Ok(Self { algorithm, point })
    }
}

/// Who a leaf is issued for; `subject` is the id that the row is found by.
pub(crate) struct Request<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) profile: &'static str,
    pub(crate) subject: &'a str,
    pub(crate) leaf: Leaf<'a>,
    pub(crate) validity: Validity,
}

impl Hierarchy {
    /// Signs and writes the row, in the caller's transaction. For devices and controllers go through
    /// `enroll` or the site's noun: they hold the proof.
    pub(crate) async fn issue(
        &self,
        tx: &mut Tx,
        issuer: &Authority,
        request: &Request<'_>,
        key: &LeafKey,
        now: i64,
    ) -> Result<Issued, Error> {
        let serial = profile::serial_from(crate::chance::bytes());
        let params = profile::leaf(&request.leaf, serial, request.validity, key.der_bytes());
        let certificate = params.signed_by(key, &issuer.issuer())?;
        let serial = hex::encode(serial);
        let row = sql::Certificate {
            serial: serial.clone(),
            issuer: issuer.fingerprint.clone(),
            profile: request.profile.to_owned(),
            subject: request.subject.to_owned(),
            not_before: request.validity.not_before,
            not_after: request.validity.not_after,
            state: sql::CertificateState::Issued,
            der: certificate.der().to_vec(),
        };
        sql::insert(tx, request.tenant, &row, now).await?;
        Ok(Issued {
            serial,
            chain: self.chain(certificate.der().clone(), issuer),
            not_after: request.validity.not_after,
            signer: issuer.fingerprint.clone(),
        })
    }

    /// The listener's own certificate, on a key that lives only in this process.
    pub async fn issue_server(
        &self,
        tx: &mut Tx,
        tenant: &str,
        names: &[String],
        now: i64,
    ) -> Result<(Issued, Zeroizing<Vec<u8>>), Error> {
        let key = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf_key = LeafKey { algorithm: &PKCS_ECDSA_P256_SHA256, point: key.der_bytes().to_vec() };
        let request = Request {
            tenant,
            profile: "server",
            subject: "holdfastd",
            leaf: Leaf::Server { names },
            validity: profile::leaf_validity(now, 90),
        };
        let issued = self.issue(tx, &self.server, &request, &leaf_key, now).await?;
        Ok((issued, Zeroizing::new(key.serialize_der())))
    }
}
