//! `/api/v1/sites` for operators, `/v1/site` for controllers.

use super::{ops, workload};
use crate::http::auth::{Controller, Operator};
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Created, JsonBody, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::secret::{ReadForWorkload, SecretValue};
use holdfast_proto::api::site::{
    ControllerIssued, ControllerSite, ControllerToken, EnrollController, RegisterSite, RenewController, Site,
};

/// Registers a site and pins the keys of its cluster's ServiceAccount tokens.
#[utoipa::path(post, path = "/api/v1/sites", tag = "sites", request_body = RegisterSite,
    responses((status = 201, body = Site)))]
pub async fn register(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<RegisterSite>,
) -> Answer<Created<Site>> {
    ops::register(&state, &operator, &body).await.map(Created)
}

/// The tenant's sites.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", params(PageParameters),
    responses((status = 200, body = Page<Site>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<Site>>> {
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |site| site.site.clone())))
}

/// Makes a one-time token with which the site's controller enrols; shows it once.
#[utoipa::path(post, path = "/api/v1/sites/{site}/controller-token", tag = "sites",
    params(("site" = String, Path)), responses((status = 201, body = ControllerToken)))]
pub async fn controller_token(
    State(state): State<AppState>,
    operator: Operator,
    Path(site): Path<String>,
) -> Answer<Created<ControllerToken>> {
    ops::controller_token(&state, &operator, &site).await.map(Created)
}

/// A controller's first certificate, for its one-time token.
#[utoipa::path(post, path = "/v1/site/enroll", tag = "controller", request_body = EnrollController,
    responses((status = 201, body = ControllerIssued)))]
pub async fn enroll(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<EnrollController>,
) -> Answer<Created<ControllerIssued>> {
    ops::enroll(&state, &body).await.map(Created)
}

/// A controller's next certificate.
#[utoipa::path(post, path = "/v1/site/renew", tag = "controller", request_body = RenewController,
    responses((status = 201, body = ControllerIssued)))]
pub async fn renew(
    State(state): State<AppState>,
    controller: Controller,
    JsonBody(body): JsonBody<RenewController>,
) -> Answer<Created<ControllerIssued>> {
    ops::renew(&state, &controller, &body.csr).await.map(Created)
}

/// Whom the service takes the controller for.
#[utoipa::path(get, path = "/v1/site", tag = "controller", responses((status = 200, body = ControllerSite)))]
pub async fn hello(State(state): State<AppState>, controller: Controller) -> Answer<Json<ControllerSite>> {
    ops::hello(&state, &controller).await.map(Json)
}

/// A workload's read, through its site's controller and with the workload's own token.
#[utoipa::path(post, path = "/v1/site/secret", tag = "controller", request_body = ReadForWorkload,
    responses((status = 200, body = SecretValue)))]
pub async fn read(
    State(state): State<AppState>,
    controller: Controller,
    JsonBody(body): JsonBody<ReadForWorkload>,
) -> Answer<Json<SecretValue>> {
    workload::read(&state, &controller, &body).await.map(Json)
}
