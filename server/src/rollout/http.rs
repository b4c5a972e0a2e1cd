//! `/api/v1/rollouts` and `/api/v1/assignments`.

use super::ops;
use crate::http::auth::Operator;
use crate::http::page::{PageParameters, page};
use crate::http::{Answer, Created, JsonBody, Parameters};
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, State};
use holdfast_decide::fleet::Command;
use holdfast_proto::api::Page;
use holdfast_proto::api::rollout::{Assignment, CreateRollout, Rollout};
use serde::Deserialize;

/// Drafts a rollout; its report says what the planner would do.
#[utoipa::path(post, path = "/api/v1/rollouts", tag = "rollouts", request_body = CreateRollout,
    responses((status = 201, body = Rollout)))]
pub async fn create(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<CreateRollout>,
) -> Answer<Created<Rollout>> {
    ops::create(&state, &operator, &body).await.map(Created)
}

/// Rollouts by id.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "rollouts", params(PageParameters),
    responses((status = 200, body = Page<Rollout>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<Rollout>>> {
    let limit = paging.limit()?;
    let rows = ops::list(&state, &operator, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |rollout| rollout.id.to_string())))
}

/// One rollout with its phases and the planner's reasons.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}", tag = "rollouts", params(("id" = String, Path)),
    responses((status = 200, body = Rollout)))]
pub async fn show(
    State(state): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Answer<Json<Rollout>> {
    ops::show(&state, &operator, &id).await.map(Json)
}

macro_rules! orders {
    ($($(#[$doc:meta])* $name:ident $path:literal $command:expr;)+) => {$(
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "rollouts", params(("id" = String, Path)),
            responses((status = 200, body = Rollout)))]
        pub async fn $name(State(state): State<AppState>, operator: Operator, Path(id): Path<String>) -> Answer<Json<Rollout>> {
            ops::order(&state, &operator, &id, &$command).await.map(Json)
        }
    )+};
}

orders! {
    /// Starts a drafted rollout.
    start "/api/v1/rollouts/{id}/start" Command::Start;
    /// Stops offering; what holds an offer does not arm.
    pause "/api/v1/rollouts/{id}/pause" Command::Pause;
    /// Goes on; what failed so far stays in view.
    resume "/api/v1/rollouts/{id}/resume" Command::Resume;
    /// Assigns the release before to every device that has this one.
    rollback "/api/v1/rollouts/{id}/rollback" Command::Rollback;
    /// Ends a rollout that is not finished.
    cancel "/api/v1/rollouts/{id}/cancel" Command::Cancel;
}

/// Which assignments.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AssignmentFilter {
    /// Only of this rollout.
    pub rollout: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Assignments by device.
#[utoipa::path(get, path = "/api/v1/assignments", tag = "rollouts", params(AssignmentFilter),
    responses((status = 200, body = Page<Assignment>)))]
pub async fn assignments(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(filter): Parameters<AssignmentFilter>,
) -> Answer<Json<Page<Assignment>>> {
    let paging = PageParameters { limit: filter.limit, cursor: filter.cursor };
    let (limit, rollout) = (paging.limit()?, filter.rollout.unwrap_or_default());
    let rows = ops::assignments(&state, &operator, &rollout, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |row| format!("{}/{}/{}", row.device, row.epoch, row.sequence))))
}
