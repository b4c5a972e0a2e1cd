//! Answers and refusals as HTTP: the only file that knows status codes.
//!
//! Refusals are RFC 9457 problem documents. What is our fault is logged here, once, with its chain.

use crate::refusal::{Kind, Refusal};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_proto::problem::{PROBLEM_JSON, Problem};
use serde::Serialize;

/// What a handler returns.
pub type Answer<T> = Result<T, Refusal>;

/// 201 with a body.
pub struct Created<T>(pub T);
/// 202 with a body and Retry-After.
pub struct Accepted<T> {
    pub body: T,
    pub retry_after_s: u32,
}
/// 204.
pub struct NoContent;
/// 304 with the ETag that still holds.
pub struct NotModified {
    pub etag: String,
}
/// 206: bytes `start..=end` of `total`.
pub struct PartialContent {
    pub start: u64,
    pub end: u64,
    pub total: u64,
    pub body: axum::body::Body,
}

fn status_of(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::Invalid => (StatusCode::BAD_REQUEST, "The request breaks a rule"),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Who is asking is not known"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "This is not allowed"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "There is no such thing"),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "There is no such method here"),
        Kind::Conflict => (StatusCode::CONFLICT, "This stands against what is already so"),
        Kind::Precondition => (StatusCode::PRECONDITION_FAILED, "The record has changed since"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The request is too large"),
        Kind::RangeNotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, "There is no such range"),
        Kind::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
        Kind::Sealed => (StatusCode::SERVICE_UNAVAILABLE, "The keyring is sealed"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not now"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, title) = status_of(self.kind);
        if status.is_server_error() && self.kind != Kind::Sealed {
            tracing::error!(problem.code = %self.code, error.chain = %self.chain(), "a request failed");
        } else {
            tracing::debug!(problem.code = %self.code, error.chain = %self.chain(), "a request was refused");
        }
        let problem = Problem {
            kind: format!("urn:holdfast:problem:{}", self.code),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.code.to_string(),
            detail: Some(self.detail).filter(|text| !text.is_empty()),
            record: self.record,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"holdfast\""));
        }
        response
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let retry = [(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s))];
        (StatusCode::ACCEPTED, retry, Json(self.body)).into_response()
    }
}

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for NotModified {
    fn into_response(self) -> Response {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag)]).into_response()
    }
}

impl IntoResponse for PartialContent {
    fn into_response(self) -> Response {
        let range = format!("bytes {}-{}/{}", self.start, self.end, self.total);
        (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], self.body).into_response()
    }
}

/// What an extractor of axum's refused, in our words.
pub(super) fn from_rejection(status: StatusCode, text: String) -> Refusal {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(Kind::TooLarge, "body-too-large", text),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Refusal::invalid("not-json", text),
        _ => Refusal::invalid("malformed-body", text),
    }
}

/// True for an answer that says the service itself failed.
pub fn is_our_fault(response: &Response) -> bool {
    response.status().is_server_error()
}

/// A handler panicked: the peer gets a problem document like any other.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Refusal::new(Kind::Internal, "internal", "the service failed; its log has the cause").into_response()
}
