//! `/api/v1/secrets` for operators, `/v1/secret` for devices.

use super::ops::{self, Reader};
use crate::grant;
use crate::http::auth::{Device, Operator};
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, JsonBody, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::secret::{PutSecret, Secret, SecretValue};
use serde::Deserialize;

/// Writes a new version of a secret. It cannot be read back here.
#[utoipa::path(put, path = "/api/v1/secrets/{*path}", tag = "secrets", request_body = PutSecret,
    params(("path" = String, Path, description = "segments of `[a-z0-9._-]`, joined by /")),
    responses((status = 200, body = Secret)))]
pub async fn put(
    State(state): State<AppState>,
    operator: Operator,
    Path(path): Path<String>,
    JsonBody(body): JsonBody<PutSecret>,
) -> Answer<Json<Secret>> {
    ops::put(&state, &operator, &path, &body).await.map(Json)
}

/// Paths, versions and sizes; never values.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "secrets", params(PageParameters),
    responses((status = 200, body = Page<Secret>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<Secret>>> {
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |secret| secret.path.clone())))
}

/// Which version; the current one without.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Version {
    pub version: Option<u64>,
}

/// A device reads a secret that a grant opens for it.
#[utoipa::path(get, path = "/v1/secret/{*path}", tag = "device", params(Version, ("path" = String, Path)),
    responses((status = 200, body = SecretValue)))]
pub async fn read(
    State(state): State<AppState>,
    device: Device,
    Path(path): Path<String>,
    Parameters(version): Parameters<Version>,
) -> Answer<Json<SecretValue>> {
    let reader =
        Reader { tenant: &device.tenant, actor: grant::ops::device_actor(&device), audit: device.actor() };
    ops::read(&state, &reader, &path, version.version).await.map(Json)
}
