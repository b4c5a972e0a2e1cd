//! `/v1/enroll`, `/v1/recover`, `/v1/renew`, `/v1/ack`; `/api/v1/enrollments`.

use super::ops::{self, Answered, Door};
use super::prove::proof_of;
use crate::http::auth::{Channel, Device, Operator};
use crate::http::page::{PageParameters, page};
use crate::http::{Accepted, Answer, Body, JsonBody, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use holdfast_proto::api::Page;
use holdfast_proto::api::enrollment::{
    ApproveEnrollment, Enrollment, EnrollmentPurpose, EnrollmentState, EvidenceRecord, RefuseEnrollment,
};
use holdfast_proto::enroll::{
    Acknowledged, EnrollChallenge, EnrollIssued, EnrollPending, EnrollProof, EnrollStart, PROOF_HEADER,
};
use serde::Deserialize;

/// M1 of an enrolment. Writes nothing.
#[utoipa::path(post, path = "/v1/enroll/start", tag = "device", request_body = EnrollStart,
    responses((status = 200, body = EnrollChallenge)))]
pub async fn enroll_start(
    State(state): State<AppState>,
    channel: Channel,
    Body(body): Body,
) -> Answer<Json<EnrollChallenge>> {
    start(&state, door(EnrollmentPurpose::Enroll, None, &channel), &body).await
}

/// M3 of an enrolment, its proof in the header Holdfast-Proof.
#[utoipa::path(post, path = "/v1/enroll/proof", tag = "device", request_body = EnrollProof,
    responses((status = 200, body = EnrollIssued), (status = 202, body = EnrollPending)))]
pub async fn enroll_proof(
    State(state): State<AppState>,
    channel: Channel,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Response> {
    proof(&state, door(EnrollmentPurpose::Enroll, None, &channel), &headers, &body).await
}

/// M1 of a recovery: the certificate has ended, or the TPM was cleared.
#[utoipa::path(post, path = "/v1/recover/start", tag = "device", request_body = EnrollStart,
    responses((status = 200, body = EnrollChallenge)))]
pub async fn recover_start(
    State(state): State<AppState>,
    channel: Channel,
    Body(body): Body,
) -> Answer<Json<EnrollChallenge>> {
    start(&state, door(EnrollmentPurpose::Recover, None, &channel), &body).await
}

/// M3 of a recovery, its proof in the header Holdfast-Proof.
#[utoipa::path(post, path = "/v1/recover/proof", tag = "device", request_body = EnrollProof,
    responses((status = 200, body = EnrollIssued), (status = 202, body = EnrollPending)))]
pub async fn recover_proof(
    State(state): State<AppState>,
    channel: Channel,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Response> {
    proof(&state, door(EnrollmentPurpose::Recover, None, &channel), &headers, &body).await
}

/// M1 of a renewal, over the certificate in use, from 2/3 of its life.
#[utoipa::path(post, path = "/v1/renew/start", tag = "device", request_body = EnrollStart,
    responses((status = 200, body = EnrollChallenge)))]
pub async fn renew_start(
    State(state): State<AppState>,
    device: Device,
    channel: Channel,
    Body(body): Body,
) -> Answer<Json<EnrollChallenge>> {
    start(&state, door(EnrollmentPurpose::Renew, Some(&device), &channel), &body).await
}

/// M3 of a renewal, its proof in the header Holdfast-Proof.
#[utoipa::path(post, path = "/v1/renew/proof", tag = "device", request_body = EnrollProof,
    responses((status = 200, body = EnrollIssued), (status = 202, body = EnrollPending)))]
pub async fn renew_proof(
    State(state): State<AppState>,
    device: Device,
    channel: Channel,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Response> {
    proof(&state, door(EnrollmentPurpose::Renew, Some(&device), &channel), &headers, &body).await
}

/// M5: the device has used its new key; its record is ACTIVE.
#[utoipa::path(post, path = "/v1/ack", tag = "device", responses((status = 200, body = Acknowledged)))]
pub async fn acknowledge(State(state): State<AppState>, device: Device) -> Answer<Json<Acknowledged>> {
    ops::acknowledge(&state, &device).await.map(Json)
}

fn door<'a>(purpose: EnrollmentPurpose, device: Option<&'a Device>, channel: &Channel) -> Door<'a> {
    Door { purpose, device, exporter: channel.0.exporter }
}

async fn start(state: &AppState, door: Door<'_>, body: &[u8]) -> Answer<Json<EnrollChallenge>> {
    ops::start(state, door, body).await.map(Json)
}

async fn proof(state: &AppState, door: Door<'_>, headers: &HeaderMap, body: &[u8]) -> Answer<Response> {
    let proof = proof_of(headers.get(PROOF_HEADER).and_then(|value| value.to_str().ok()));
    Ok(match ops::prove(state, door, body, &proof).await? {
        Answered::Issued(issued) => Json(issued).into_response(),
        Answered::Pending(pending) => {
            Accepted { retry_after_s: pending.retry_after_s, body: pending }.into_response()
        }
    })
}

/// Which attempts.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// `pending`, `conflict`, `approved`, `issued` or `refused`; all when absent.
    pub state: Option<EnrollmentState>,
    /// Rows wanted, 1 to 1000; 100 when absent.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Enrolment attempts: those that wait for an operator, and why others were refused.
#[utoipa::path(get, path = "/api/v1/enrollments", tag = "enrollments", params(ListParameters),
    responses((status = 200, body = Page<Enrollment>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(wanted): Parameters<ListParameters>,
) -> Answer<Json<Page<Enrollment>>> {
    let paging = PageParameters { limit: wanted.limit, cursor: wanted.cursor };
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, wanted.state, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |row| row.id.clone())))
}

/// One attempt with every check and what it was decided from.
#[utoipa::path(get, path = "/api/v1/enrollments/{id}", tag = "enrollments", params(("id" = String, Path)),
    responses((status = 200, body = EvidenceRecord)))]
pub async fn show(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<EvidenceRecord>> {
    ops::show(&state, &operator, &id).await.map(Json)
}

/// The evidence behind a device's newest certificate.
#[utoipa::path(get, path = "/api/v1/devices/{id}/evidence", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = EvidenceRecord)))]
pub async fn device_evidence(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<EvidenceRecord>> {
    ops::evidence_of_device(&state, &operator, &id).await.map(Json)
}

/// Says whose device a waiting attempt is; the device starts again at M1.
#[utoipa::path(post, path = "/api/v1/enrollments/{id}/approve", tag = "enrollments", params(("id" = String, Path)),
    request_body = ApproveEnrollment, responses((status = 200, body = Enrollment)))]
pub async fn approve(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ApproveEnrollment>,
) -> Answer<Json<Enrollment>> {
    ops::approve(&state, &operator, &id, &body).await.map(Json)
}

/// Refuses a waiting attempt, and its like, until one is approved.
#[utoipa::path(post, path = "/api/v1/enrollments/{id}/refuse", tag = "enrollments", params(("id" = String, Path)),
    request_body = RefuseEnrollment, responses((status = 200, body = Enrollment)))]
pub async fn refuse(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<RefuseEnrollment>,
) -> Answer<Json<Enrollment>> {
    ops::refuse(&state, &operator, &id, &body).await.map(Json)
}
