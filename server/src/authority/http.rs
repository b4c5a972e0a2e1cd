//! `/api/v1/authorities`.

use super::ops;
use crate::http::auth::Operator;
use crate::http::{Answer, Created, JsonBody, NoContent};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::authority::{AddEkRoot, Authority, DenyEk, EkDenial, EkRoot};

/// Our certificate authorities and when they end.
#[utoipa::path(get, path = "/api/v1/authorities", tag = "authorities",
    responses((status = 200, body = Page<Authority>)))]
pub async fn list(State(state): State<AppState>, operator: Operator) -> Answer<Json<Page<Authority>>> {
    let items = crate::ca::authorities(&mut state.db.read().await?, &operator.tenant).await?;
    Ok(Json(Page { items, next: None }))
}

/// The anchors that endorsement keys are believed by.
#[utoipa::path(get, path = "/api/v1/authorities/ek-roots", tag = "authorities",
    responses((status = 200, body = Page<EkRoot>)))]
pub async fn list_ek_roots(State(state): State<AppState>, operator: Operator) -> Answer<Json<Page<EkRoot>>> {
    let items = ops::ek_roots(&mut state.db.read().await?, &operator.tenant).await?;
    let items = items.into_iter().map(|anchor| anchor.shown).collect();
    Ok(Json(Page { items, next: None }))
}

/// Believes endorsement keys below a certificate from now on.
#[utoipa::path(post, path = "/api/v1/authorities/ek-roots", tag = "authorities", request_body = AddEkRoot,
    responses((status = 201, body = EkRoot)))]
pub async fn add_ek_root(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<AddEkRoot>,
) -> Answer<Created<EkRoot>> {
    ops::add_ek_root(&state, &operator, request).await.map(Created)
}

/// What is refused whatever else it shows.
#[utoipa::path(get, path = "/api/v1/authorities/ek-denials", tag = "authorities",
    responses((status = 200, body = Page<EkDenial>)))]
pub async fn list_ek_denials(
    State(state): State<AppState>,
    operator: Operator,
) -> Answer<Json<Page<EkDenial>>> {
    let items = ops::denials(&mut state.db.read().await?, &operator.tenant).await?;
    Ok(Json(Page { items, next: None }))
}

/// Refuses an endorsement key, a certificate's serial number or firmware from now on.
#[utoipa::path(post, path = "/api/v1/authorities/ek-denials", tag = "authorities", request_body = DenyEk,
    responses((status = 201, body = EkDenial)))]
pub async fn deny_ek(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<DenyEk>,
) -> Answer<Created<EkDenial>> {
    ops::deny(&state, &operator, request).await.map(Created)
}

/// Refuses it no longer.
#[utoipa::path(delete, path = "/api/v1/authorities/ek-denials/{kind}/{value}", tag = "authorities",
    params(("kind" = String, Path), ("value" = String, Path)), responses((status = 204)))]
pub async fn allow_ek(
    State(state): State<AppState>,
    operator: Operator,
    Path((kind, value)): Path<(String, String)>,
) -> Answer<NoContent> {
    ops::allow(&state, &operator, &kind, &value).await.map(|()| NoContent)
}
