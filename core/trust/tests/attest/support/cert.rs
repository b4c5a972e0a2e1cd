//! Certificates and requests written element by element, so that one thing can be wrong at a time.

use super::key::{Hash, Key};
use holdfast_tpm::wire::der::{
    BIT_STRING, OCTET_STRING, OID, SEQUENCE, SET, UTF8_STRING, bit_string, element,
};

pub const NOW: i64 = 1_780_000_000;
pub const DAY: i64 = 86_400;
const PRINTABLE: u8 = 0x13;

/// What a certificate says.
#[derive(Clone)]
pub struct Spec {
    /// 2 is version 3; none leaves it out (version 1).
    pub version: Option<u8>,
    /// INTEGER contents.
    pub serial: Vec<u8>,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub not_before: i64,
    pub not_after: i64,
    pub spki: Vec<u8>,
    /// Whole Extension elements.
    pub extensions: Vec<Vec<u8>>,
    pub hash: Hash,
}

impl Spec {
    pub fn sign(&self, issuer: &Key) -> Vec<u8> {
        let algorithm = issuer.algorithm(self.hash);
        let version =
            self.version.map(|version| element(0xA0, &[&element(2, &[&[version]])])).unwrap_or_default();
        let validity = element(SEQUENCE, &[&time(self.not_before), &time(self.not_after)]);
        let parts: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        let extensions =
            if parts.is_empty() { Vec::new() } else { element(0xA3, &[&element(SEQUENCE, &parts)]) };
        let serial = element(2, &[&self.serial]);
        let tbs = element(
            SEQUENCE,
            &[&version, &serial, &algorithm, &self.issuer, &validity, &self.subject, &self.spki, &extensions],
        );
        let signature = bit_string(&issuer.sign(self.hash, &tbs));
        element(SEQUENCE, &[&tbs, &algorithm, &signature])
    }

    /// Replaces the extension with this OID, or leaves it out.
    pub fn set(&mut self, oid: &str, extension: Option<Vec<u8>>) {
        let key = element(OID, &[&oid_bytes(oid)]);
        self.extensions.retain(|known| !known[2..].starts_with(&key) && !known[3..].starts_with(&key));
        self.extensions.extend(extension);
    }
}

/// An EK certificate as makers write it.
pub fn ek(spki: Vec<u8>, issuer: &Ca) -> Spec {
    let usage = if spki.len() > 200 { key_usage(&[2]) } else { key_usage(&[4]) };
    Spec {
        version: Some(2),
        serial: vec![0x4B, 1, 2, 3],
        issuer: issuer.name.clone(),
        subject: name(&[]),
        not_before: NOW - 400 * DAY,
        not_after: NOW + 4000 * DAY,
        spki,
        extensions: vec![
            san("id:00001014", "swtpm", "id:20191023"),
            usage,
            extension("2.5.29.19", true, &element(SEQUENCE, &[])),
            aki(&issuer.key),
            eku(&["2.23.133.8.1"]),
        ],
        hash: Hash::Sha256,
    }
}

/// A CA.
#[derive(Clone)]
pub struct Ca {
    pub key: Key,
    pub name: Vec<u8>,
    pub spec: Spec,
    pub der: Vec<u8>,
}

impl Ca {
    /// A CA below `parent`, or self-signed; `change` runs before the signature.
    pub fn new(common_name: &str, key: Key, parent: Option<&Ca>, change: impl FnOnce(&mut Spec)) -> Self {
        let name = name(&[("2.5.4.10", PRINTABLE, "Maker"), ("2.5.4.3", UTF8_STRING, common_name)]);
        let mut spec = Spec {
            version: Some(2),
            serial: vec![0x11, common_name.len() as u8],
            issuer: parent.map_or_else(|| name.clone(), |parent| parent.name.clone()),
            subject: name.clone(),
            not_before: NOW - 2000 * DAY,
            not_after: NOW + 4000 * DAY,
            spki: key.spki(),
            extensions: vec![ca_basic(None), key_usage(&[5, 6]), ski(&key)],
            hash: Hash::Sha256,
        };
        change(&mut spec);
        let der = spec.sign(parent.map_or(&key, |parent| &parent.key));
        Self { key, name, spec, der }
    }
}

/// PKCS#10.
pub fn csr(key: &Key, signer: &Key, requested: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<&[u8]> = requested.iter().map(Vec::as_slice).collect();
    let attributes = if requested.is_empty() {
        element(0xA0, &[])
    } else {
        let extensions = element(SEQUENCE, &parts);
        let oid = element(OID, &[&oid_bytes("1.2.840.113549.1.9.14")]);
        element(0xA0, &[&element(SEQUENCE, &[&oid, &element(SET, &[&extensions])])])
    };
    let subject = name(&[("2.5.4.3", UTF8_STRING, "root of everything")]);
    let info = element(SEQUENCE, &[&element(2, &[&[0]]), &subject, &key.spki(), &attributes]);
    let signature = bit_string(&signer.sign(Hash::Sha256, &info));
    element(SEQUENCE, &[&info, &signer.algorithm(Hash::Sha256), &signature])
}

/// RDNs of one attribute each: (OID, string tag, text).
pub fn name(attributes: &[(&str, u8, &str)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> =
        attributes.iter().map(|attribute| element(SET, &[&attribute_value(*attribute)])).collect();
    let rdns: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
    element(SEQUENCE, &rdns)
}

fn attribute_value((oid, tag, text): (&str, u8, &str)) -> Vec<u8> {
    element(SEQUENCE, &[&element(OID, &[&oid_bytes(oid)]), &element(tag, &[text.as_bytes()])])
}

/// SAN with the TPM's attributes in one directoryName.
pub fn san(manufacturer: &str, model: &str, version: &str) -> Vec<u8> {
    let attributes = [("2.23.133.2.1", manufacturer), ("2.23.133.2.2", model), ("2.23.133.2.3", version)];
    san_of(&attributes.map(|(oid, text)| (oid, UTF8_STRING, text)))
}

pub fn san_of(attributes: &[(&str, u8, &str)]) -> Vec<u8> {
    extension("2.5.29.17", true, &element(SEQUENCE, &[&element(0xA4, &[&name(attributes)])]))
}

pub fn extension(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { element(1, &[&[0xFF]]) } else { Vec::new() };
    element(SEQUENCE, &[&element(OID, &[&oid_bytes(oid)]), &critical, &element(OCTET_STRING, &[value])])
}

/// Bits as RFC 5280 numbers them: 2 keyEncipherment, 4 keyAgreement, 5 keyCertSign, 6 cRLSign.
pub fn key_usage(bits: &[u8]) -> Vec<u8> {
    let byte = bits.iter().fold(0_u8, |byte, bit| byte | 0x80 >> bit);
    let unused = byte.trailing_zeros() as u8;
    extension("2.5.29.15", true, &element(BIT_STRING, &[&[unused, byte]]))
}

pub fn eku(oids: &[&str]) -> Vec<u8> {
    let oids: Vec<Vec<u8>> = oids.iter().map(|oid| element(OID, &[&oid_bytes(oid)])).collect();
    let oids: Vec<&[u8]> = oids.iter().map(Vec::as_slice).collect();
    extension("2.5.29.37", false, &element(SEQUENCE, &oids))
}

pub fn ca_basic(path_len: Option<u8>) -> Vec<u8> {
    let length = path_len.map(|length| element(2, &[&[length]])).unwrap_or_default();
    extension("2.5.29.19", true, &element(SEQUENCE, &[&element(1, &[&[0xFF]]), &length]))
}

pub fn aki(issuer: &Key) -> Vec<u8> {
    extension("2.5.29.35", false, &element(SEQUENCE, &[&element(0x80, &[&key_id(issuer)])]))
}

pub fn ski(key: &Key) -> Vec<u8> {
    extension("2.5.29.14", false, &element(OCTET_STRING, &[&key_id(key)]))
}

fn key_id(key: &Key) -> Vec<u8> {
    holdfast_trust::attest::binding::sha256(&[&key.spki()])[..20].to_vec()
}

pub fn oid_bytes(oid: &str) -> Vec<u8> {
    let arcs: Vec<u64> = oid.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut out = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let mut digits = vec![(arc & 0x7F) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            digits.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        out.extend(digits.iter().rev());
    }
    out
}

/// GeneralizedTime, or UTCTime before 2050.
fn time(unix: i64) -> Vec<u8> {
    let (days, seconds) = (unix.div_euclid(DAY), unix.rem_euclid(DAY));
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let clock =
        format!("{month:02}{day:02}{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if year < 2050 {
        element(0x17, &[format!("{:02}{clock}", year % 100).as_bytes()])
    } else {
        element(0x18, &[format!("{year:04}{clock}").as_bytes()])
    }
}
