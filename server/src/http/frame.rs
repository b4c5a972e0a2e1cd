//! Around every request: the cap on requests under way, one debug line, and the health routes.

use super::problem::Answer;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Outermost: refuses what is too much at once, logs what was done.
#[expect(clippy::disallowed_methods, reason = "how long an answer took, for the log alone")]
pub async fn frame(request: Request, next: Next) -> Response {
    let Some(state) = request.extensions().get::<AppState>().cloned() else {
        return Refusal::new(Kind::Internal, "internal", "the service is not wired up").into_response();
    };
    // No database column holds U+0000, and nobody means it.
    if request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00")) {
        return Refusal::invalid("malformed-path", "the path or query holds the character U+0000")
            .into_response();
    }
    let Ok(_place) = state.places.try_acquire() else {
        let text = "too many requests are under way; try again in a moment";
        return Refusal::new(Kind::Unavailable, "overloaded", text).retry_after(1).into_response();
    };
    let (method, path, start) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let duration_ms = start.elapsed().as_millis() as u64;
    tracing::debug!(%method, path, status = response.status().as_u16(), duration_ms, "answered");
    response
}

/// What `/readyz` asks for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadyQuery {
    /// `unsealed`: not ready while the keyring is sealed.
    pub require: Option<String>,
}

/// How the service is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    pub status: &'static str,
    pub sealed: bool,
}

/// The process runs.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub async fn livez() -> Json<Health> {
    Json(Health { status: "live", sealed: false })
}

/// The process can serve: its database answers.
#[utoipa::path(get, path = "/readyz", tag = "health", params(ReadyQuery), responses((status = 200, body = Health)))]
pub async fn readyz(
    State(state): State<AppState>,
    super::Parameters(query): super::Parameters<ReadyQuery>,
) -> Answer<Json<Health>> {
    if !state.db.is_alive().await {
        let text = "the database does not answer";
        return Err(Refusal::new(Kind::Unavailable, "database-away", text).retry_after(2));
    }
    let sealed = state.keyring.open("enroll/session").await.is_err();
    if sealed && query.require.as_deref() == Some("unsealed") {
        return Err(Refusal::new(Kind::Sealed, "sealed", "the key-encryption key is away"));
    }
    Ok(Json(Health { status: "ready", sealed }))
}
