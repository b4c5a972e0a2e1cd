//! A cluster's public keys, as its API server publishes them (`/openid/v1/jwks`) and an operator pins them.

use crate::limits::{JWKS_KEYS_MAX, JWKS_MAX_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use serde::Deserialize;

/// The pinned keys of one cluster. At least one, each with an id of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) kind: Kind,
    /// As the algorithms take it: RSAPublicKey in DER, or an uncompressed point.
    pub(super) public: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rs256,
    Es256,
}

/// Why a key set is not pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("{0} bytes are above the cap of {JWKS_MAX_BYTES}")]
    TooLong(usize),
    #[error("it is no JWKS: {0}")]
    Malformed(String),
    #[error("it holds {0} keys, 1 to {JWKS_KEYS_MAX} are accepted")]
    Count(usize),
    #[error("key {index} is not for RS256 or ES256 signatures")]
    Kind { index: usize },
    #[error("key {index} is broken: {why}")]
    Key { index: usize, why: &'static str },
    #[error("two keys have the id `{0}`")]
    Twice(String),
}

impl Keys {
    /// Reads a JWKS. Every key in it must be usable: one that is skipped would surprise whoever pinned it.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(json: &[u8]) -> Result<Self, KeysError> {
        if json.len() > JWKS_MAX_BYTES {
            return Err(KeysError::TooLong(json.len()));
        }
        let set: Jwks =
            serde_json::from_slice(json).map_err(|error| KeysError::Malformed(error.to_string()))?;
        if set.keys.is_empty() || set.keys.len() > JWKS_KEYS_MAX {
            return Err(KeysError::Count(set.keys.len()));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, jwk) in set.keys.iter().enumerate() {
            let key = jwk.key(index)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeysError::Twice(key.id));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Ids of the keys, in the set's order.
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl Kind {
    /// RFC 7518 3.1.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// Of the key, of the signature.
    pub(super) fn algorithms(self) -> (AlgorithmIdentifier, AlgorithmIdentifier) {
        match self {
            Self::Rs256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
            Self::Es256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        }
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// RFC 7517 4 and RFC 7518 6.
#[derive(Deserialize)]
struct Jwk {
    kid: Option<String>,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn key(&self, index: usize) -> Result<Key, KeysError> {
        let broken = |why| KeysError::Key { index, why };
        let id = self.kid.clone().filter(|id| (1..=128).contains(&id.len()));
        let id = id.ok_or_else(|| broken("it needs a `kid` of 1 to 128 bytes"))?;
        let kind = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => Kind::Rs256,
            ("EC", Some("P-256")) => Kind::Es256,
            _ => return Err(KeysError::Kind { index }),
        };
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        if !signs || self.alg.as_deref().is_some_and(|alg| alg != kind.name()) {
            return Err(KeysError::Kind { index });
        }
        let public = match kind {
            Kind::Rs256 => rsa(self.n.as_deref(), self.e.as_deref()).map_err(broken)?,
            Kind::Es256 => point(self.x.as_deref(), self.y.as_deref()).map_err(broken)?,
        };
        Ok(Key { id, kind, public })
    }
}

fn number(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a number of it is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number of it is no base64url")
}

/// RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 A.1.1).
fn rsa(n: Option<&str>, e: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let (n, e) = (number(n)?, number(e)?);
    let (modulus, exponent) = (stripped(&n), stripped(&e));
    if !(256..=1024).contains(&modulus.len()) {
        return Err("an RSA modulus has 2048 to 8192 bits");
    }
    if exponent.is_empty() || exponent.len() > 8 {
        return Err("an RSA exponent has 1 to 8 bytes");
    }
    Ok(tlv(0x30, &[unsigned(modulus), unsigned(exponent)].concat()))
}

/// SEC 1 2.3.3, uncompressed. Whether it lies on the curve is asked of it when a signature is verified.
fn point(x: Option<&str>, y: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let (x, y) = (number(x)?, number(y)?);
    if x.len() != 32 || y.len() != 32 {
        return Err("a coordinate on P-256 has 32 bytes");
    }
    Ok([&[4][..], &x, &y].concat())
}

/// RFC 7518 3.4: r and s side by side, 32 bytes each; the algorithms take ECDSA-Sig-Value in DER.
pub(super) fn ecdsa_der(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(32).filter(|(_, s)| s.len() == 32)?;
    Some(tlv(0x30, &[unsigned(stripped(r)), unsigned(stripped(s))].concat()))
}

fn stripped(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// INTEGER from big-endian bytes without leading zeros.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let needs_zero = bytes.first().is_none_or(|first| first & 0x80 != 0);
    let zero: &[u8] = if needs_zero { &[0] } else { &[] };
    tlv(0x02, &[zero, bytes].concat())
}

/// Nothing here has 128 to 255 bytes: a P-256 signature is shorter, an RSA key of 2048 bits longer.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}
