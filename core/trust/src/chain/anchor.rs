//! Anchors: what an operator trusts, for what, and under which policy of time.

use holdfast_proto::Digest;
use holdfast_proto::api::device::RootClass;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A manufacturer as the TCG vendor registry writes it: four bytes, ASCII where it can be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManufacturerId(pub [u8; 4]);

/// What an anchor may certify: the manufacturer in the SAN, and what TPMs of it report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certifies {
    pub san: ManufacturerId,
    /// TPM_PT_MANUFACTURER; unsigned, so only a lint.
    pub tpm: ManufacturerId,
}

/// Which manufacturers an anchor may certify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Only(Vec<Certifies>),
    /// Any; a noted check. For offline inspection.
    Unscoped,
}

/// When the certificates of a path must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePolicy {
    /// All of them now.
    Strict,
    /// The issuers when the EK certificate was issued; the EK certificate's end is only noted.
    ValidAtIssuance,
}

/// One trusted certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// DER.
    pub certificate: Vec<u8>,
    pub class: RootClass,
    pub scope: Scope,
    pub time: TimePolicy,
}

/// What the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchors {
    pub anchors: Vec<Anchor>,
    /// Intermediates that the service keeps, DER; believed no more than the device's own.
    pub intermediates: Vec<Vec<u8>>,
    /// SHA-256 fingerprints of issuers whose SHA-1 signatures count.
    pub sha1_issuers: BTreeSet<Digest>,
    /// For the evidence record.
    pub version: String,
}

/// Why a text names no manufacturer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no manufacturer: 8 hex digits (with or without `id:`) or up to 4 ASCII characters")]
pub struct NotAManufacturer {
    text: String,
}

impl FromStr for ManufacturerId {
    type Err = NotAManufacturer;

    fn from_str(text: &str) -> Result<Self, NotAManufacturer> {
        let digits = text.strip_prefix("id:").or_else(|| text.strip_prefix("ID:"));
        let mut id = [0; 4];
        if hex::decode_to_slice(digits.unwrap_or(text), &mut id).is_ok() {
            return Ok(Self(id));
        }
        if digits.is_none()
            && (1..=4).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        {
            // Unwrap safety: one to four bytes, as just compared.
            id[..text.len()].copy_from_slice(text.as_bytes());
            return Ok(Self(id));
        }
        Err(NotAManufacturer { text: text.to_owned() })
    }
}

impl fmt::Display for ManufacturerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode_upper(self.0))?;
        let text: Vec<u8> = self.0.iter().copied().take_while(|byte| *byte != 0).collect();
        match std::str::from_utf8(&text) {
            Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => {
                write!(f, " ({})", text.trim_end())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ManufacturerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `SAN-ID=TPM-ID`; one id alone stands for both.
impl FromStr for Certifies {
    type Err = NotAManufacturer;

    fn from_str(text: &str) -> Result<Self, NotAManufacturer> {
        let (san, tpm) = text.split_once('=').unwrap_or((text, text));
        Ok(Self { san: san.trim().parse()?, tpm: tpm.trim().parse()? })
    }
}

impl fmt::Display for Certifies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", hex::encode_upper(self.san.0), hex::encode_upper(self.tpm.0))
    }
}
