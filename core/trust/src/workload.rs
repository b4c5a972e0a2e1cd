//! ServiceAccount tokens of a site's cluster: JWS in compact form (RFC 7515) under keys that an operator pinned.
//!
//! Here: the pinned key set (RFC 7517) and the walk over one token. Not here: who the bearer may read for
//! (`core/decide`), where keys are kept. Invariant: the algorithm comes from the pinned key, never from the
//! token; claims are read only after the signature over the bytes received holds.

mod jwks;
#[cfg(test)]
mod tests;

pub use jwks::{Keys, KeysError};

use crate::Verified;
use crate::limits::{TOKEN_CLOCK_SKEW_S, TOKEN_LIFETIME_MAX_S, TOKEN_MAX_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_proto::id::is_segment;
use jwks::Kind;
use rustls_pki_types::SignatureVerificationAlgorithm;
use serde::Deserialize;

/// Signature algorithms, as a crypto provider offers them.
pub type Algorithms<'a> = &'a [&'a dyn SignatureVerificationAlgorithm];

/// What a token must be for, and when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`, as the operator pinned it.
    pub issuer: &'a str,
    /// The one audience: `holdfast://<tenant>/<site>`.
    pub audience: &'a str,
    /// Unix seconds.
    pub now: i64,
}

/// The ServiceAccount that a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
    /// The account's uid: another account of the same name has another.
    pub uid: String,
    /// When the token ends, Unix seconds.
    pub expires_at: i64,
}

/// Why a token does not count. `Display` never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it has {0} bytes, the cap is {TOKEN_MAX_BYTES}")]
    TooLong(usize),
    #[error("it is no JWS in compact form: {0}")]
    Malformed(&'static str),
    #[error("the cluster's pinned keys have none of its key id")]
    UnknownKey,
    #[error("its header names another algorithm than the pinned key is for")]
    Algorithm,
    #[error("its signature does not hold under the pinned key")]
    Signature,
    #[error("its issuer is not the one that was registered")]
    Issuer,
    #[error("its audience is not exactly `{wanted}`")]
    Audience { wanted: String },
    #[error("it ended at {expires_at}, now is {now}")]
    Expired { expires_at: i64, now: i64 },
    #[error("it begins at {not_before}, now is {now}")]
    NotYet { not_before: i64, now: i64 },
    #[error("it lives {0} s, at most {TOKEN_LIFETIME_MAX_S} are accepted")]
    Lifetime(i64),
    #[error("its subject is no ServiceAccount, or its claims name different ones")]
    Subject,
}

impl TokenError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) | Self::Malformed(_) => "token-malformed",
            Self::UnknownKey => "token-key-unknown",
            Self::Algorithm => "token-algorithm",
            Self::Signature => "token-signature",
            Self::Issuer => "token-issuer",
            Self::Audience { .. } => "token-audience",
            Self::Expired { .. } => "token-expired",
            Self::NotYet { .. } => "token-not-yet-valid",
            Self::Lifetime(_) => "token-lifetime",
            Self::Subject => "token-subject",
        }
    }
}

/// The audience of the tokens of one site.
pub fn audience(tenant: &str, site: &str) -> String {
    format!("holdfast://{tenant}/{site}")
}

/// Verifies a token against a cluster's pinned keys.
///
/// # Errors
/// [`TokenError`], the first that applies.
pub fn verify(
    token: &str,
    keys: &Keys,
    expected: Expected<'_>,
    algorithms: Algorithms<'_>,
) -> Result<Verified<ServiceAccount>, TokenError> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenError::TooLong(token.len()));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("not three parts"))?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("not three parts"))?;
    if payload.contains('.') {
        return Err(TokenError::Malformed("not three parts"));
    }
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| TokenError::Malformed("its header is not the JSON wanted"))?;
    if header.crit.is_some() {
        // RFC 7515 4.1.11: what is critical and not understood makes the whole invalid.
        return Err(TokenError::Malformed("its header has critical extensions"));
    }
    let key = keys.find(&header.kid).ok_or(TokenError::UnknownKey)?;
    if header.alg != key.kind.name() {
        return Err(TokenError::Algorithm);
    }
    check_signature(key, signed.as_bytes(), &signature, algorithms)?;
    let claims: Claims = serde_json::from_slice(&payload)
        .map_err(|_| TokenError::Malformed("its claims are not the JSON wanted"))?;
    claims.check(expected).map(Verified::after_all_checks)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed("a part is no base64url"))
}

fn check_signature(
    key: &jwks::Key,
    message: &[u8],
    signature: &[u8],
    algorithms: Algorithms<'_>,
) -> Result<(), TokenError> {
    let der;
    let signature = match key.kind {
        Kind::Rs256 => signature,
        Kind::Es256 => {
            der = jwks::ecdsa_der(signature).ok_or(TokenError::Signature)?;
            &der
        }
    };
    let (key_algorithm, signature_algorithm) = key.kind.algorithms();
    let mut fitting = algorithms.iter().filter(|known| {
        known.public_key_alg_id() == key_algorithm && known.signature_alg_id() == signature_algorithm
    });
    let holds = fitting.any(|known| known.verify_signature(&key.public, message, signature).is_ok());
    if holds { Ok(()) } else { Err(TokenError::Signature) }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

/// RFC 7519 4.1.3: one or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    uid: String,
}

impl Claims {
    fn check(self, Expected { issuer, audience, now }: Expected<'_>) -> Result<ServiceAccount, TokenError> {
        if self.iss != issuer {
            return Err(TokenError::Issuer);
        }
        let only = match &self.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => matches!(several.as_slice(), [one] if one == audience),
        };
        // One audience and no other: a token that opens two doors is one that either can replay at the other.
        if !only {
            return Err(TokenError::Audience { wanted: audience.to_owned() });
        }
        if now >= self.exp {
            return Err(TokenError::Expired { expires_at: self.exp, now });
        }
        let not_before = self.nbf.unwrap_or(self.iat).max(self.iat);
        if now < not_before.saturating_sub(TOKEN_CLOCK_SKEW_S) {
            return Err(TokenError::NotYet { not_before, now });
        }
        let lifetime = self.exp.saturating_sub(self.iat);
        if lifetime > TOKEN_LIFETIME_MAX_S {
            return Err(TokenError::Lifetime(lifetime));
        }
        self.service_account()
    }

    fn service_account(self) -> Result<ServiceAccount, TokenError> {
        let Kubernetes { namespace, serviceaccount: Named { name, uid } } = self.kubernetes;
        let named = is_segment(&namespace) && is_segment(&name) && (1..=128).contains(&uid.len());
        if !named || self.sub != format!("system:serviceaccount:{namespace}:{name}") {
            return Err(TokenError::Subject);
        }
        Ok(ServiceAccount { namespace, name, uid, expires_at: self.exp })
    }
}
