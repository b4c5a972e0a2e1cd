//! `GET /api/v1/audit`.

use super::{Filter, list};
use crate::http::auth::Operator;
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use holdfast_proto::api::Page;
use holdfast_proto::api::audit::AuditRow;
use serde::Deserialize;

/// Which rows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Rows wanted, 1 to 1000; 100 when absent.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// `noun/id`, exact.
    #[serde(default)]
    pub resource: String,
    /// `noun.verb`, exact.
    #[serde(default)]
    pub action: String,
    /// `done`, `denied`, `refused`.
    #[serde(default)]
    pub outcome: String,
}

/// The audit trail, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditRow>)))]
pub async fn read(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(query): Parameters<AuditQuery>,
) -> Answer<Json<Page<AuditRow>>> {
    let paging = PageParameters { limit: query.limit, cursor: query.cursor };
    let (limit, before) = (paging.limit()?, paging.after_number(i64::MAX)?);
    let filter = Filter { resource: &query.resource, action: &query.action, outcome: &query.outcome };
    let rows = list(&mut state.db.read().await?, &operator.tenant, &filter, before, limit + 1).await?;
    Ok(Json(page(rows, limit, |row| row.seq.to_string())))
}
