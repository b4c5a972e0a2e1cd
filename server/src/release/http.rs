//! `/api/v1/tuf`, `/api/v1/releases`, `/api/v1/artifacts`, `/api/v1/deltas`.

use super::ops;
use crate::audit;
use crate::http::auth::Operator;
use crate::http::page::{PageParameters, page};
use crate::http::{Accepted, Answer, JsonBody, Parameters};
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use holdfast_proto::api::Page;
use holdfast_proto::api::release::{ArtifactStored, BuildDeltas, Delta, Release};
use holdfast_proto::api::tuf::{OnlineKeys, PublishTuf, TufStatus};
use holdfast_proto::{Bytes, Digest};
use serde::Deserialize;

/// An artefact's cap: 16 GiB.
const ARTIFACT_MAX_BYTES: u64 = 16 << 30;

/// The public halves of the service's online keys.
#[utoipa::path(get, path = "/api/v1/tuf/keys", tag = "tuf", responses((status = 200, body = OnlineKeys)))]
pub async fn keys(State(state): State<AppState>, _: Operator) -> Answer<Json<OnlineKeys>> {
    let roots = vec![Bytes(state.ca.root.certificate.to_vec())];
    state.repo.online_keys(roots).map(Json)
}

/// Takes what the desk signed, whole or not at all.
#[utoipa::path(post, path = "/api/v1/tuf/publish", tag = "tuf", request_body = PublishTuf,
    responses((status = 200, body = TufStatus)))]
pub async fn publish(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<PublishTuf>,
) -> Answer<Json<TufStatus>> {
    let status = ops::publish(&state.repo, &operator.actor(), &body, state.now()).await?;
    state.wake_rollouts.wake();
    Ok(Json(status))
}

/// Versions and expiries of every role.
#[utoipa::path(get, path = "/api/v1/tuf/status", tag = "tuf", responses((status = 200, body = TufStatus)))]
pub async fn status(State(state): State<AppState>, _: Operator) -> Answer<Json<TufStatus>> {
    state.repo.status(state.now()).await.map(Json)
}

/// Uploads an artefact: the body is its bytes, the path their SHA-256.
#[utoipa::path(put, path = "/api/v1/artifacts/{sha256}", tag = "releases", params(("sha256" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ArtifactStored)))]
pub async fn put_artifact(
    State(state): State<AppState>,
    operator: Operator,
    Path(sha256): Path<String>,
    body: Body,
) -> Answer<Json<ArtifactStored>> {
    let digest: Digest = sha256
        .parse()
        .map_err(|_| Refusal::invalid("malformed-digest", "a digest is 64 lower-case hex digits"))?;
    let now = state.now();
    let blob = state.repo.take_blob(digest, ARTIFACT_MAX_BYTES, body).await?;
    let entry = operator.did("artifact.put", format!("artifact/{digest}"), format!("{} bytes", blob.length));
    tx!(state.db, "artifact.put", |tx| {
        state.repo.blob_note(tx, &blob, now).await?;
        Ok::<_, Refusal>(audit::append(tx, &entry, now).await?)
    })?;
    Ok(Json(ArtifactStored { sha256: blob.sha256, length: blob.length, block_root: blob.block_root }))
}

/// Which releases.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReleaseFilter {
    /// Only of this hardware.
    pub hardware: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Releases by hardware and name.
#[utoipa::path(get, path = "/api/v1/releases", tag = "releases", params(ReleaseFilter),
    responses((status = 200, body = Page<Release>)))]
pub async fn list(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(filter): Parameters<ReleaseFilter>,
) -> Answer<Json<Page<Release>>> {
    let paging = PageParameters { limit: filter.limit, cursor: filter.cursor };
    let (limit, hardware) = (paging.limit()?, filter.hardware.unwrap_or_default());
    let rows = ops::list(&mut state.db.read().await?, &operator.tenant, &hardware, paging.after(), limit + 1)
        .await?;
    Ok(Json(page(rows, limit, |release| format!("{}/{}", release.hardware, release.release))))
}

/// One release.
#[utoipa::path(get, path = "/api/v1/releases/{hardware}/{release}", tag = "releases",
    params(("hardware" = String, Path), ("release" = String, Path)), responses((status = 200, body = Release)))]
pub async fn show(
    State(state): State<AppState>,
    operator: Operator,
    Path((hardware, name)): Path<(String, String)>,
) -> Answer<Json<Release>> {
    let release = ops::show(&mut state.db.read().await?, &operator.tenant, &hardware, &name).await?;
    release.map(Json).ok_or_else(|| Refusal::not_found("such release"))
}

/// Deltas by base and output.
#[utoipa::path(get, path = "/api/v1/deltas", tag = "releases", params(PageParameters),
    responses((status = 200, body = Page<Delta>)))]
pub async fn deltas(
    State(state): State<AppState>,
    operator: Operator,
    Parameters(paging): Parameters<PageParameters>,
) -> Answer<Json<Page<Delta>>> {
    let limit = paging.limit()?;
    let rows =
        ops::delta_list(&mut state.db.read().await?, &operator.tenant, paging.after(), limit + 1).await?;
    Ok(Json(page(rows, limit, |delta| format!("{}-{}", delta.base, delta.output))))
}

/// Builds the deltas from one release to another; read them at `/api/v1/deltas`.
#[utoipa::path(post, path = "/api/v1/deltas", tag = "releases", request_body = BuildDeltas,
    responses((status = 202, body = Vec<Delta>)))]
pub async fn build_deltas(
    State(state): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<BuildDeltas>,
) -> Answer<Accepted<Vec<Delta>>> {
    let deltas = ops::delta_queue(&state.repo, &operator.actor(), &body, state.now()).await?;
    state.wake_deltas.wake();
    Ok(Accepted { body: deltas, retry_after_s: 2 })
}
