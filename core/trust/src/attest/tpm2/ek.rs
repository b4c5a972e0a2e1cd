//! The EK certificate: checks 1 to 9 of M1 in docs/protocol.md, each written down.

use super::curve;
use super::vendor;
use crate::attest::binding::sha256;
use crate::attest::reason::Reason;
use crate::attest::{DenyList, Ledger};
use crate::chain::cert::split_sequences;
use crate::chain::path::{self, PathProblem, Search};
use crate::chain::{Certificate, ManufacturerId, Scope, name};
use crate::limits::{CERTIFICATE_MAX_BYTES, EK_CHAIN_INDICES_MAX, EK_CHAIN_MAX_BYTES, INTERMEDIATES_MAX};
use holdfast_proto::Digest;
use holdfast_proto::api::device::RootClass;
use holdfast_tpm::wire::{Curve, SubjectKey};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::x509::X509Name;

/// An EK certificate that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EkCertificate {
    /// Exactly the certificate, DER.
    pub der: Vec<u8>,
    pub fingerprint: Digest,
    /// Hex.
    pub serial: String,
    pub issuer: String,
    pub manufacturer: ManufacturerId,
    pub model: String,
    pub version: String,
    /// Unix seconds.
    pub not_after: i64,
    pub class: RootClass,
    /// The anchor's fingerprint.
    pub anchor: Digest,
}

/// What is read of a certificate before it is judged.
pub(crate) struct Read<'a> {
    pub(crate) certificate: Certificate<'a>,
    pub(crate) key: Option<SubjectKey>,
}

/// Check 1: cap, NV wrapper, exactly one outer SEQUENCE; what follows is dropped with a note.
pub(crate) fn read<'a>(bytes: &'a [u8], ledger: &mut Ledger) -> Option<Read<'a>> {
    const RULE: Reason = Reason::EkCertificateMalformed;
    if bytes.len() > CERTIFICATE_MAX_BYTES {
        ledger.fail(RULE, format!("{} bytes are above the cap of {CERTIFICATE_MAX_BYTES}", bytes.len()));
        return None;
    }
    let inner = unwrapped(bytes);
    if inner.len() != bytes.len() {
        ledger.note(RULE, "NV wrapper (10 01 00 length) removed");
    }
    let (certificate, left) = match Certificate::read(inner) {
        Ok(read) => read,
        Err(why) => {
            ledger.fail(RULE, why);
            return None;
        }
    };
    ledger.require(RULE, true, format!("X.509, {} bytes, verified as received", certificate.der.len()));
    if !left.is_empty() {
        ledger.note(RULE, format!("{} bytes after the certificate dropped", left.len()));
    }
    certificate.explicit_defaults().into_iter().for_each(|note| ledger.note(RULE, note));
    let key = SubjectKey::from_spki_der(certificate.spki()).ok();
    Some(Read { certificate, key })
}

/// Checks 2 to 8 over a certificate that was read.
pub(crate) fn appraise(
    read: &Read<'_>,
    intermediates: &[Vec<u8>],
    search: Search<'_>,
    deny: &DenyList,
    ledger: &mut Ledger,
) -> Option<EkCertificate> {
    let certificate = &read.certificate;
    let tpm = attributes(certificate);
    let manufacturer = tpm.as_ref().ok().map(|tpm| tpm.manufacturer);
    profile(read, manufacturer, ledger);
    let tpm = ledger.take(
        Reason::EkCertificateSubjectAlternativeName,
        tpm,
        "one directoryName with manufacturer, model and version",
    );
    purpose(certificate, manufacturer, ledger);
    key(read, ledger);
    let found = path(certificate, intermediates, search, ledger);
    serials(certificate, found.as_ref(), deny, ledger);
    let (tpm, found) = (tpm?, found?);
    scope(&found.anchor.scope, tpm.manufacturer, ledger);
    Some(EkCertificate {
        der: certificate.der.to_vec(),
        fingerprint: Digest(certificate.fingerprint()),
        serial: certificate.serial_hex(),
        issuer: certificate.x509.issuer().to_string(),
        manufacturer: tpm.manufacturer,
        model: tpm.model,
        version: tpm.version,
        not_after: certificate.not_after(),
        class: found.anchor.class,
        anchor: Digest(sha256(&[&found.anchor.certificate])),
    })
}

/// The maker's intermediates from NV: all indices in order as one stream, split at outer SEQUENCEs (Intel).
pub(crate) fn chain<'a>(
    indices: impl ExactSizeIterator<Item = &'a [u8]>,
    ledger: &mut Ledger,
) -> Vec<Vec<u8>> {
    const RULE: Reason = Reason::EkCertificatePath;
    let count = indices.len();
    let stream: Vec<u8> =
        indices.take(EK_CHAIN_INDICES_MAX).flatten().copied().take(EK_CHAIN_MAX_BYTES + 1).collect();
    if count > EK_CHAIN_INDICES_MAX || stream.len() > EK_CHAIN_MAX_BYTES {
        ledger.note(
            RULE,
            format!("EK chain above {EK_CHAIN_INDICES_MAX} indices or {EK_CHAIN_MAX_BYTES} bytes: ignored"),
        );
        return Vec::new();
    }
    let (found, left) = split_sequences(&stream);
    let (certificates, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|der| Certificate::parse(der).is_ok());
    if !others.is_empty() || !left.is_empty() {
        ledger.note(
            RULE,
            format!(
                "EK chain: {} structures that are no certificates, {} bytes left",
                others.len(),
                left.len()
            ),
        );
    }
    certificates.into_iter().take(INTERMEDIATES_MAX).map(<[u8]>::to_vec).collect()
}

/// `10 01 00 len16` (TCG PC Client TPM certificate structure), and its inner `10 02` of full certificates.
fn unwrapped(bytes: &[u8]) -> &[u8] {
    let Some(rest) = bytes.strip_prefix(&[0x10, 0x01, 0x00]) else { return bytes };
    let Some((length, rest)) = rest.split_first_chunk::<2>() else { return bytes };
    let rest = rest.get(..usize::from(u16::from_be_bytes(*length))).unwrap_or(rest);
    rest.strip_prefix(&[0x10, 0x02]).unwrap_or(rest)
}

/// Check 2, and the unknown critical extensions of check 3.
fn profile(read: &Read<'_>, manufacturer: Option<ManufacturerId>, ledger: &mut Ledger) {
    let x509 = &read.certificate.x509;
    ledger.require(
        Reason::EkCertificateVersion,
        x509.version().0 == 2,
        format!("version {}", x509.version().0 + 1),
    );
    let serial = x509.raw_serial();
    let digits = serial.strip_prefix(&[0]).unwrap_or(serial);
    let positive =
        serial.first().is_some_and(|first| first & 0x80 == 0) && digits.iter().any(|byte| *byte != 0);
    ledger.require(
        Reason::EkCertificateSerial,
        positive && digits.len() <= 20,
        format!("serial {} of {} octets", hex::encode(serial), digits.len()),
    );
    ledger.require(
        Reason::EkCertificateIssuer,
        !name::is_empty(x509.issuer()),
        format!("issuer `{}`", x509.issuer()),
    );
    let is_ca = read.certificate.basic_constraints().is_some_and(|(ca, _)| ca);
    ledger.require(Reason::EkCertificateIsCa, !is_ca, if is_ca { "basicConstraints: CA" } else { "no CA" });
    let rule = Reason::EkCertificateKeyIdentifier;
    let has_aki = read.certificate.authority_key_id().is_some();
    ledger.require_or_waive(rule, has_aki, vendor::waiver(manufacturer, rule), "authorityKeyIdentifier");
    key_usage(read, manufacturer, ledger);
    let unknown: Vec<String> = x509
        .extensions()
        .iter()
        .filter(|extension| extension.critical && !known(extension.parsed_extension()))
        .map(|extension| extension.oid.to_string())
        .collect();
    ledger.require(
        Reason::EkCertificateCriticalExtension,
        unknown.is_empty(),
        if unknown.is_empty() { "every critical extension is known".into() } else { unknown.join(", ") },
    );
}

fn key_usage(read: &Read<'_>, manufacturer: Option<ManufacturerId>, ledger: &mut Ledger) {
    let rule = Reason::EkCertificateKeyUsage;
    let usage = read.certificate.key_usage();
    let holds = usage.is_some_and(|usage| {
        let takes_secrets = match read.key {
            Some(SubjectKey::Ecc { .. }) => usage.key_agreement(),
            _ => usage.key_encipherment(),
        };
        takes_secrets && !usage.key_cert_sign() && !usage.crl_sign()
    });
    let detail = usage.map_or_else(|| "no keyUsage".into(), |usage| format!("keyUsage {usage}"));
    ledger.require_or_waive(
        rule,
        holds,
        vendor::waiver(manufacturer, rule).filter(|_| usage.is_none()),
        detail,
    );
}

/// The TPM's attributes in the SAN (EK Credential Profile, 3.2.9).
struct TpmAttributes {
    manufacturer: ManufacturerId,
    model: String,
    version: String,
}

/// Check 3.
fn attributes(certificate: &Certificate<'_>) -> Result<TpmAttributes, String> {
    let names = certificate.alternative_names().ok_or("no subjectAltName")?;
    let mut directories = names.iter().filter_map(|name| match name {
        GeneralName::DirectoryName(name) => Some(name),
        _ => None,
    });
    let (Some(directory), None) = (directories.next(), directories.next()) else {
        return Err("subjectAltName does not hold exactly one directoryName".into());
    };
    let manufacturer = attribute(directory, "2.23.133.2.1")?;
    Ok(TpmAttributes {
        manufacturer: manufacturer.parse().map_err(|why| format!("manufacturer: {why}"))?,
        model: attribute(directory, "2.23.133.2.2")?,
        version: attribute(directory, "2.23.133.2.3")?,
    })
}

fn attribute(name: &X509Name<'_>, oid: &str) -> Result<String, String> {
    let mut values = name.iter_attributes().filter(|attribute| attribute.attr_type().to_string() == oid);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(format!("directoryName does not hold {oid} exactly once"));
    };
    crate::chain::name::text(value.attr_value().tag(), value.as_slice())
        .ok_or_else(|| format!("{oid} is no text"))
}

/// Check 4.
fn purpose(certificate: &Certificate<'_>, manufacturer: Option<ManufacturerId>, ledger: &mut Ledger) {
    let rule = Reason::EkCertificateExtendedKeyUsage;
    let Some(usage) = certificate.extended_key_usage() else {
        return ledger.require_or_waive(
            rule,
            false,
            vendor::waiver(manufacturer, rule),
            "no extendedKeyUsage",
        );
    };
    let is_ek = usage.other.iter().any(|oid| oid.to_string() == "2.23.133.8.1");
    ledger.require(
        rule,
        is_ek,
        if is_ek { "tcg-kp-EKCertificate" } else { "tcg-kp-EKCertificate is missing" },
    );
}

/// Check 5.
fn key(read: &Read<'_>, ledger: &mut Ledger) {
    let Some(key) = &read.key else {
        let why = SubjectKey::from_spki_der(read.certificate.spki()).err();
        return ledger.fail(Reason::EkCertificateKey, why.map_or_else(String::new, |why| why.to_string()));
    };
    let sound = curve::check(key, 2048, &[Curve::P256, Curve::P384, Curve::P521]);
    let detail = sound.clone().unwrap_or_default();
    ledger.take(Reason::EkCertificateKey, sound, detail);
    match key {
        SubjectKey::Rsa { .. } => {
            ledger.require(Reason::EkKeyRoca, !curve::is_roca(key), "fingerprint of CVE-2017-15361");
        }
        SubjectKey::Ecc { .. } => ledger.skip(Reason::EkKeyRoca, "not RSA"),
    }
}

/// Check 6.
fn path<'a>(
    certificate: &Certificate<'_>,
    intermediates: &[Vec<u8>],
    search: Search<'a>,
    ledger: &mut Ledger,
) -> Option<path::Path<'a>> {
    let kept = search.anchors.intermediates.iter();
    let parsed: Vec<_> =
        intermediates.iter().chain(kept).filter_map(|der| Certificate::parse(der).ok()).collect();
    match path::find(search, certificate, &parsed) {
        Ok(found) => {
            ledger.require(Reason::EkCertificatePath, true, found.issuers.join(" < "));
            ledger.require(Reason::EkCertificateTime, true, format!("policy {:?}", found.anchor.time));
            found.notes.iter().for_each(|note| ledger.note(Reason::EkCertificateTime, note));
            Some(found)
        }
        Err(PathProblem::NoPath(tried)) => {
            ledger.fail(Reason::EkCertificatePath, tried.join("; "));
            None
        }
        Err(PathProblem::Time(why)) => {
            ledger.require(Reason::EkCertificatePath, true, "a path exists");
            ledger.fail(Reason::EkCertificateTime, why);
            None
        }
    }
}

/// Check 7: serial numbers of the certificate and of its issuers.
fn serials(
    certificate: &Certificate<'_>,
    found: Option<&path::Path<'_>>,
    deny: &DenyList,
    ledger: &mut Ledger,
) {
    let own = certificate.serial_hex();
    let issuers = found.map(|found| found.serials.as_slice()).unwrap_or_default();
    let denied = [&own].into_iter().chain(issuers).find(|serial| deny.has_serial(serial));
    let detail = denied.map_or_else(
        || format!("serial {own} and its issuers' are not denied"),
        |serial| format!("serial {serial} is denied"),
    );
    ledger.require(Reason::EkDenyListed, denied.is_none(), detail);
}

/// Check 8.
fn scope(scope: &Scope, manufacturer: ManufacturerId, ledger: &mut Ledger) {
    let rule = Reason::EkCertificateManufacturer;
    match scope {
        Scope::Unscoped => {
            ledger.note(rule, format!("{manufacturer}; the anchor is not limited to manufacturers"));
        }
        Scope::Only(pairs) => {
            let listed: Vec<String> = pairs.iter().map(ToString::to_string).collect();
            let allowed = pairs.iter().any(|pair| pair.san == manufacturer);
            ledger.require(
                rule,
                allowed,
                format!("{manufacturer}; the anchor may certify {}", listed.join(", ")),
            );
        }
    }
}

/// Critical extensions that an EK certificate may carry, since they are evaluated here or, as policies, not needed.
fn known(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::BasicConstraints(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::AuthorityInfoAccess(_)
    )
}
