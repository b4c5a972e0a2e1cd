//! Around every request: the cap on requests under way, one debug line, and the health routes.

use super::problem::Answer;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";

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
    // Who is busy is not dead: were health among what is refused, a flood would have the process restarted.
    let is_health = matches!(request.uri().path(), LIVEZ | READYZ);
    let place = state.places.try_acquire();
    if place.is_err() && !is_health {
        let text = "too many requests are under way; try again in a moment";
        return Refusal::new(Kind::Unavailable, "overloaded", text).retry_after(1).into_response();
    }
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
    Extension(pulse): Extension<Pulse>,
    super::Parameters(query): super::Parameters<ReadyQuery>,
) -> Answer<Json<Health>> {
    let found = pulse.take(async {
        if !state.db.is_alive().await {
            return None;
        }
        Some(state.keyring.open("enroll/session").await.is_err())
    });
    let Some(sealed) = found.await else {
        let text = "the database does not answer";
        return Err(Refusal::new(Kind::Unavailable, "database-away", text).retry_after(2));
    };
    if sealed && query.require.as_deref() == Some("unsealed") {
        return Err(Refusal::new(Kind::Sealed, "sealed", "the key-encryption key is away"));
    }
    Ok(Json(Health { status: "ready", sealed }))
}

/// Looks how the service is, one look at a time: whoever comes while others wait shares a look that began after he
/// came. Health is outside of all limits and anybody may ask, so a flood of it must cost no more than one connection to
/// the database.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Looks>);

#[derive(Debug, Default)]
struct Looks {
    begun: AtomicU64,
    /// The newest: its number, and what was found.
    newest: tokio::sync::Mutex<(u64, Option<bool>)>,
}

impl Pulse {
    async fn take(&self, look: impl Future<Output = Option<bool>>) -> Option<bool> {
        let before = self.0.begun.load(Ordering::SeqCst);
        let mut newest = self.0.newest.lock().await;
        if newest.0 <= before {
            let number = self.0.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *newest = (number, look.await);
        }
        newest.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::service::Service;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn health_is_answered_when_every_place_is_taken() {
        let service = Service::sqlite().await;
        let all = service.state.config.limits.concurrent_requests as u32;
        let _taken = service.state.places.try_acquire_many(all).unwrap();
        let answer = service.fetch(None, "/v1/tuf/timestamp.json", &[]).await;
        assert_eq!(answer.refusal(), (503, "overloaded".into()));
        for path in [LIVEZ, READYZ] {
            assert_eq!(service.fetch(None, path, &[]).await.status, 200, "{path}");
        }
    }

    #[tokio::test]
    async fn those_who_wait_for_a_look_share_the_next_one() {
        let (pulse, looks) = (Pulse::default(), AtomicU64::new(0));
        let look = || async {
            looks.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Some(false)
        };
        let all =
            tokio::join!(pulse.take(look()), pulse.take(look()), pulse.take(look()), pulse.take(look()));
        assert_eq!(all, (Some(false), Some(false), Some(false), Some(false)));
        assert_eq!(
            looks.load(Ordering::SeqCst),
            2,
            "the first one's, and one for the three who came meanwhile"
        );
        pulse.take(look()).await;
        assert_eq!(looks.load(Ordering::SeqCst), 3, "nobody is told what was found before he came");
    }
}
