//! `/api/v1/authorities`.

use super::ops;
use crate::http::auth::Operator;
use crate::http::{Answer, Created, JsonBody};
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use holdfast_proto::api::Page;
use holdfast_proto::api::authority::{AddEkRoot, Authority, EkRoot};

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
