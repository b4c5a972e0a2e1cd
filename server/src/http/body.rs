//! Reading bodies and queries: bounded by the route's cap, refused with a reason.

use super::problem::from_rejection;
use crate::refusal::Refusal;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::{HeaderMap, header, request::Parts};
use serde::de::DeserializeOwned;

/// A JSON body of a known shape; unknown fields are refused where the type says so.
pub struct JsonBody<T>(pub T);

/// A body as the bytes received.
pub struct Body(pub axum::body::Bytes);

/// The query string.
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Body(bytes) = Body::from_request(request, state).await?;
        // No database column holds U+0000, and nobody means it.
        if bytes.windows(6).any(|window| window == b"\\u0000") {
            return Err(Refusal::invalid("malformed-body", "the JSON holds the character U+0000"));
        }
        parse_json(&bytes).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| from_rejection(rejection.status(), rejection.body_text()))?;
        Ok(Self(bytes))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(value)| Self(value))
            .map_err(|rejection| Refusal::invalid("malformed-query", rejection.body_text()))
    }
}

/// Reads JSON; the refusal says where it breaks, never what it holds.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                format!("the JSON at {place} is not of the form wanted: {error}")
            }
            _ => format!("the body is no JSON: it breaks at {place}"),
        };
        Refusal::invalid("malformed-body", crate::audit::printable(&what))
    })
}

/// The version in If-Match, if the header is there: `"7"` or `7`.
pub fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    text.parse()
        .map(Some)
        .map_err(|_| Refusal::invalid("malformed-if-match", "If-Match holds the record's version, a number"))
}
