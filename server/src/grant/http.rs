//! `/api/v1/grants` and `/api/v1/access`.

use super::ops;
use crate::http::auth::Operator;
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Created, JsonBody, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::secret::{Explain, Explained, Grant, ProposeGrant};

/// Proposes a grant; it takes effect when another person approves it.
#[utoipa::path(post, path = "/api/v1/grants", tag = "grants", request_body = ProposeGrant,
    responses((status = 201, body = Grant)))]
pub async fn propose(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<ProposeGrant>,
) -> Answer<Created<Grant>> {
    ops::propose(&state, &operator, &body).await.map(Created)
}

/// Approves a proposed grant.
#[utoipa::path(post, path = "/api/v1/grants/{id}/approve", tag = "grants", params(("id" = String, Path)),
    responses((status = 200, body = Grant)))]
pub async fn approve(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<Grant>> {
    ops::approve(&state, &operator, &id).await.map(Json)
}

/// Withdraws a grant: at once, but an active deny is `withdrawing` until another person does the same.
#[utoipa::path(delete, path = "/api/v1/grants/{id}", tag = "grants", params(("id" = String, Path)),
    responses((status = 200, body = Grant)))]
pub async fn withdraw(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<Grant>> {
    ops::withdraw(&state, &operator, &id).await.map(Json)
}

/// Grants by id.
#[utoipa::path(get, path = "/api/v1/grants", tag = "grants", params(PageParameters),
    responses((status = 200, body = Page<Grant>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<Grant>>> {
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |grant| grant.id.to_string())))
}

/// May this subject do this, and why?
#[utoipa::path(post, path = "/api/v1/access/explain", tag = "grants", request_body = Explain,
    responses((status = 200, body = Explained)))]
pub async fn explain(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<Explain>,
) -> Answer<Json<Explained>> {
    ops::explain(&state, &operator, &body).await.map(Json)
}
