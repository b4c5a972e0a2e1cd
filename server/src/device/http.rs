//! `/api/v1/devices`.

use super::{blob, ops, token};
use crate::http::auth::Operator;
use crate::http::body::if_match;
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Created, JsonBody, Parameters};
use crate::refusal::Refusal;
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use holdfast_proto::api::Page;
use holdfast_proto::api::device::{
    BlobRequest, CreateJoinToken, Device, ImportDevices, Imported, JoinTokenCreated, RegisterDevice,
    SetLabels, StateChange,
};
use holdfast_proto::blob::DeviceBlob;
use serde::Deserialize;

/// Which devices.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeviceQuery {
    /// Rows wanted, 1 to 1000; 100 when absent.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Label selector (Kubernetes syntax); `id` and `site` are labels too.
    #[serde(default)]
    pub selector: String,
    /// `PENDING`, `ACTIVE`, `SUSPENDED`, `RETIRED`, `SCRAPPED`.
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub serial: String,
    #[serde(default)]
    pub model: String,
}

/// The tenant's devices.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = Page<Device>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(query): Parameters<DeviceQuery>,
) -> Answer<Json<Page<Device>>> {
    let paging = PageParameters { limit: query.limit, cursor: query.cursor };
    let (limit, selector) = (paging.limit()?, ops::selector(&query.selector)?);
    let filter = ops::Filter { state: &query.state, serial: &query.serial, model: &query.model };
    let mut tx = state.db.read().await?;
    let rows = ops::list(&mut tx, &operator.tenant, &filter, &selector, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |device| device.id.to_string())))
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = Device)))]
pub async fn show(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<Device>> {
    ops::show(&state, &operator.tenant, &id).await.map(Json)
}

/// Claims one device before it enrols.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = RegisterDevice,
    responses((status = 201, body = Device)))]
pub async fn register(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(claim): JsonBody<RegisterDevice>,
) -> Answer<Created<Device>> {
    let mut devices = ops::register(&state, &operator, std::slice::from_ref(&claim)).await?;
    devices.pop().map(Created).ok_or_else(|| Refusal::not_found("device"))
}

/// Claims many devices, all or none.
#[utoipa::path(post, path = "/api/v1/devices/import", tag = "devices", request_body = ImportDevices,
    responses((status = 201, body = Imported)))]
pub async fn import(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<ImportDevices>,
) -> Answer<Created<Imported>> {
    if request.devices.len() > ops::MAX_IMPORT {
        return Err(Refusal::invalid(
            "too-many-devices",
            format!("at most {} in one import", ops::MAX_IMPORT),
        ));
    }
    let devices = ops::register(&state, &operator, &request.devices).await?;
    Ok(Created(Imported { devices }))
}

/// Makes a one-time join token for a device without a TPM; its secret is shown once.
#[utoipa::path(post, path = "/api/v1/devices/tokens", tag = "devices", request_body = CreateJoinToken,
    responses((status = 201, body = JoinTokenCreated)))]
pub async fn create_join_token(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<CreateJoinToken>,
) -> Answer<Created<JoinTokenCreated>> {
    token::create(&state, &operator, request).await.map(Created)
}

/// What a device carries, with a join token in it.
#[utoipa::path(post, path = "/api/v1/devices/blob", tag = "devices", request_body = BlobRequest,
    responses((status = 200, body = DeviceBlob)))]
pub async fn make_blob(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<BlobRequest>,
) -> Answer<Json<DeviceBlob>> {
    blob::make(&state, &operator.tenant, request).await.map(Json)
}

/// For which hardware and channel.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BlobQuery {
    pub hardware: String,
    pub channel: String,
    /// Base URL that devices use; the service's own when absent.
    pub url: Option<String>,
}

/// What a device carries.
#[utoipa::path(get, path = "/api/v1/devices/blob", tag = "devices", params(BlobQuery),
    responses((status = 200, body = DeviceBlob)))]
pub async fn blob(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(query): Parameters<BlobQuery>,
) -> Answer<Json<DeviceBlob>> {
    let request =
        BlobRequest { hardware: query.hardware, channel: query.channel, url: query.url, join_token: None };
    blob::make(&state, &operator.tenant, request).await.map(Json)
}

/// Replaces a device's labels.
#[utoipa::path(put, path = "/api/v1/devices/{id}/labels", tag = "devices", params(("id" = String, Path)),
    request_body = SetLabels, responses((status = 200, body = Device)))]
pub async fn set_labels(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SetLabels>,
) -> Answer<Json<Device>> {
    ops::set_labels(&state, &operator, &id, &request.labels, if_match(&headers)?).await.map(Json)
}

/// Suspends a device: certificates, updates and secrets are refused from its next request on.
#[utoipa::path(post, path = "/api/v1/devices/{id}/quarantine", tag = "devices", params(("id" = String, Path)),
    request_body = StateChange, responses((status = 200, body = Device)))]
pub async fn quarantine(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<StateChange>,
) -> Answer<Json<Device>> {
    change(&state, &operator, &id, &headers, ops::Change::Quarantine, &request).await
}

/// Lifts a quarantine.
#[utoipa::path(post, path = "/api/v1/devices/{id}/reinstate", tag = "devices", params(("id" = String, Path)),
    request_body = StateChange, responses((status = 200, body = Device)))]
pub async fn reinstate(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<StateChange>,
) -> Answer<Json<Device>> {
    change(&state, &operator, &id, &headers, ops::Change::Reinstate, &request).await
}

/// Ends a device's record and revokes its certificates.
#[utoipa::path(post, path = "/api/v1/devices/{id}/retire", tag = "devices", params(("id" = String, Path)),
    request_body = StateChange, responses((status = 200, body = Device)))]
pub async fn retire(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<StateChange>,
) -> Answer<Json<Device>> {
    change(&state, &operator, &id, &headers, ops::Change::Retire, &request).await
}

async fn change(
    state: &AppState,
    operator: &Operator,
    id: &str,
    headers: &HeaderMap,
    change: ops::Change,
    request: &StateChange,
) -> Answer<Json<Device>> {
    let if_match = if_match(headers)?;
    ops::change_state(state, operator, id, change, &request.reason, if_match).await.map(Json)
}
