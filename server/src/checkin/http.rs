//! `GET /v1/state` and `PUT /v1/report`.

use super::ops;
use crate::http::auth::Device;
use crate::http::problem::NotModified;
use crate::http::{Answer, Body};
use crate::refusal::Refusal;
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use holdfast_proto::Bytes;
use holdfast_proto::report::{REPORT_SIGNATURE_HEADER, Report, ReportAccepted};
use holdfast_proto::state::{NONCE_HEADER, STATE_MAX_BYTES, StateAnswer};

/// What the service wants of this device. 304 while the ETag holds; the nonce header is outside of it.
#[utoipa::path(get, path = "/v1/state", tag = "device",
    responses((status = 200, body = StateAnswer), (status = 304, description = "nothing new")))]
pub async fn state(
    State(state): State<AppState>,
    device: Device,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let poll = ops::poll(&state, &device).await?;
    let nonce = HeaderValue::try_from(Bytes(poll.nonce.to_vec()).to_base64()).map_err(Refusal::internal)?;
    let etag = poll.etag.clone();
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if same {
        NotModified { etag }.into_response()
    } else {
        let answer = ops::answer(&state, &device, poll).await?;
        let bytes = serde_json::to_vec(&answer).map_err(Refusal::internal)?;
        if bytes.len() > STATE_MAX_BYTES {
            return Err(Refusal::internal(format!(
                "a state answer of {} bytes is above its cap",
                bytes.len()
            )));
        }
        ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, etag)], bytes).into_response()
    };
    response.headers_mut().insert(HeaderName::from_static(NONCE_HEADER), nonce);
    Ok(response)
}

/// Takes a report; signed in header `Holdfast-Signature`. Sent again, it changes nothing.
#[utoipa::path(put, path = "/v1/report", tag = "device", request_body = Report,
    responses((status = 200, body = ReportAccepted)))]
pub async fn report(
    State(state): State<AppState>,
    device: Device,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Json<ReportAccepted>> {
    let signature = headers.get(REPORT_SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    let signature = signature.and_then(Bytes::from_base64).ok_or_else(|| {
        Refusal::invalid("report-signature", "a report is signed in the header Holdfast-Signature, base64")
    })?;
    ops::report(&state, &device, &body, &signature).await.map(Json)
}
