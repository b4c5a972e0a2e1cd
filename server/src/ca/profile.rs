//! What our certificates say (docs/protocol.md, "Certificate hierarchy and profile"). Pure: no key is named.
//!
//! Root (pathlen 2) -> tenant (1) -> issuing `device` and `server` (0). No name constraints: rustls-webpki
//! refuses every SPIFFE leaf below one; containment is our own table of serials.

use super::der;
use holdfast_proto::api::device::Tier;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

const DAY_S: i64 = 86_400;
/// Clocks of devices are behind: notBefore lies this far back.
const BACKDATE_S: i64 = 3_600;
const ID_SAN: &[u64] = &[2, 5, 29, 17];
const ID_POLICIES: &[u64] = &[2, 5, 29, 32];
const ANY_POLICY: &str = "2.5.29.32.0";
/// RFC 4108 section 5: id-on-hardwareModuleName.
const HARDWARE_MODULE_NAME: &str = "1.3.6.1.5.5.7.8.4";

/// A level of the hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Root,
    Tenant,
    Issuing,
}

/// When a certificate holds, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// Who a leaf is for.
#[derive(Debug, Clone)]
pub enum Leaf<'a> {
    Device { trust_domain: &'a str, id: &'a str, hardware_serial: &'a str, tier: Tier, oid_arc: &'a str },
    Controller { trust_domain: &'a str, site: &'a str },
    Server { names: &'a [String] },
}

impl Level {
    fn path_length(self) -> u8 {
        match self {
            Self::Root => 2,
            Self::Tenant => 1,
            Self::Issuing => 0,
        }
    }

    /// Life, days: each outlives what it signs.
    fn days(self) -> i64 {
        match self {
            Self::Root => 25 * 365,
            Self::Tenant => 15 * 365,
            Self::Issuing => 5 * 365,
        }
    }

    pub fn validity(self, now: i64) -> Validity {
        Validity { not_before: now - BACKDATE_S, not_after: now + self.days() * DAY_S }
    }
}

/// Validity of a leaf of `days`.
pub fn leaf_validity(now: i64, days: i64) -> Validity {
    Validity { not_before: now - BACKDATE_S, not_after: now + days * DAY_S }
}

/// A random serial of exactly 16 octets, positive.
pub fn serial_from(mut random: [u8; 16]) -> [u8; 16] {
    random[0] = (random[0] & 0x7f) | 0x40;
    random
}

/// Parameters of a CA certificate.
pub fn ca(common_name: &str, level: Level, serial: [u8; 16], validity: Validity) -> CertificateParams {
    let mut params = base(serial, validity);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(level.path_length()));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if level != Level::Root {
        params.custom_extensions.push(policies(&[ANY_POLICY.to_owned()]));
    }
    params
}

/// Parameters of a leaf over the public key `spki_key` (the BIT STRING's content).
pub fn leaf(leaf: &Leaf<'_>, serial: [u8; 16], validity: Validity, spki_key: &[u8]) -> CertificateParams {
    let mut params = base(serial, validity);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    // Said to rcgen, which writes the extension once; a second one of our own would be refused by OpenSSL.
    params.key_identifier_method = KeyIdMethod::PreSpecified(subject_key_id(spki_key));
    match leaf {
        Leaf::Device { trust_domain, id, hardware_serial, tier, oid_arc } => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let uri = format!("spiffe://{trust_domain}/device/{id}");
            let hardware = hardware_module_name(&format!("{oid_arc}.2"), hardware_serial);
            params.custom_extensions.push(san(&[uri_name(&uri), hardware]));
            params.custom_extensions.push(policies(&[format!("{oid_arc}.1.{}", *tier as u8)]));
        }
        Leaf::Controller { trust_domain, site } => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params
                .custom_extensions
                .push(san(&[uri_name(&format!("spiffe://{trust_domain}/controller/{site}"))]));
        }
        Leaf::Server { names } => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.distinguished_name.push(DnType::CommonName, "holdfastd");
            params.subject_alt_names = names.iter().filter_map(|name| server_name(name)).collect();
        }
    }
    params
}

fn base(serial: [u8; 16], validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = moment(validity.not_before);
    params.not_after = moment(validity.not_after);
    params.use_authority_key_identifier_extension = true;
    params
}

fn moment(unix_s: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn server_name(name: &str) -> Option<SanType> {
    match name.parse() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    }
}

/// RFC 5280 4.2.1.6: critical, since the subject is empty.
fn san(names: &[Vec<u8>]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(ID_SAN, der::sequence(names));
    extension.set_criticality(true);
    extension
}

fn uri_name(uri: &str) -> Vec<u8> {
    der::tlv(0x86, uri.as_bytes())
}

/// RFC 4108 section 5: otherName, HardwareModuleName ::= SEQUENCE { hwType OID, hwSerialNum OCTET STRING }.
fn hardware_module_name(hardware_type: &str, serial: &str) -> Vec<u8> {
    let value = der::sequence(&[oid(hardware_type), der::tlv(0x04, serial.as_bytes())]);
    der::tlv(0xa0, &[oid(HARDWARE_MODULE_NAME), der::tlv(0xa0, &value)].concat())
}

fn policies(dotted: &[String]) -> CustomExtension {
    let infos: Vec<_> = dotted.iter().map(|policy| der::sequence(&[oid(policy)])).collect();
    CustomExtension::from_oid_content(ID_POLICIES, der::sequence(&infos))
}

/// RFC 7093 section 2, method 1: the leftmost 160 bits of SHA-256 over the key.
fn subject_key_id(key: &[u8]) -> Vec<u8> {
    Sha256::digest(key).into_iter().take(20).collect()
}

fn oid(dotted: &str) -> Vec<u8> {
    // Unwrap safety: constants, and an arc that the configuration has checked.
    der::oid(dotted).expect("a dotted object identifier")
}
