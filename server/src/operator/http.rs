//! `/api/v1/tokens`.

use super::ops;
use crate::http::auth::Operator;
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Created, JsonBody, NoContent, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::operator::{CreateToken, TokenCreated, TokenInfo};

/// Makes a service token; shows it once.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = TokenCreated)))]
pub async fn create(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(request): JsonBody<CreateToken>,
) -> Answer<Created<TokenCreated>> {
    ops::create(&state, &operator, request).await.map(Created)
}

/// The tenant's tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(PageParameters),
    responses((status = 200, body = Page<TokenInfo>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<TokenInfo>>> {
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |token| token.id.clone())))
}

/// Revokes a token; it is refused from the next request on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn revoke(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<NoContent> {
    ops::revoke(&state, &operator, &id).await.map(|()| NoContent)
}
