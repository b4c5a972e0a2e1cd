//! Every route, one line each: what it needs of its caller, then its handlers.
//!
//! A route that is not here does not exist; a handler whose need is missing does not compile into a route.

use crate::http::auth::{Action as A, Need, Resource as R, guard};
use crate::http::frame;
use crate::http::gate::Gate;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use crate::{
    audit, authority, checkin, device, enroll, grant, operator, release, repo, rollout, secret, site,
};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use std::time::Duration;
use utoipa::openapi::{OpenApi, PathItem, path::Operation};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// What a route may cost.
#[derive(Debug, Clone, Copy)]
pub struct Cap {
    pub body_bytes: usize,
    /// None: the handler bounds itself (streams).
    pub timeout: Option<Duration>,
}

/// 64 KiB and 30 s.
pub const SMALL: Cap = Cap { body_bytes: 64 << 10, timeout: Some(Duration::from_secs(30)) };
/// 4 MiB and 60 s: messages with logs and certificates, imports.
pub const LARGE: Cap = Cap { body_bytes: 4 << 20, timeout: Some(Duration::from_mins(1)) };

/// 16 MiB and 120 s: a publish with its files.
pub const PUBLISH: Cap = Cap { body_bytes: 16 << 20, timeout: Some(Duration::from_mins(2)) };
/// Streams: the handler counts its bytes and ends what stalls.
pub const STREAM: Cap = Cap { body_bytes: 64 << 10, timeout: None };

#[rustfmt::skip]
fn routes() -> Routes {
    use Need::{Controller, Device, DeviceAcknowledging, Limited, Operator, Public};
    Routes::new()
        // health
        .add(Public, SMALL, routes!(frame::livez))
        .add(Public, SMALL, routes!(frame::readyz))
        // device API
        .add(Limited, LARGE, routes!(enroll::http::enroll_start))
        .add(Limited, LARGE, routes!(enroll::http::enroll_proof))
        .add(Limited, LARGE, routes!(enroll::http::recover_start))
        .add(Limited, LARGE, routes!(enroll::http::recover_proof))
        .add(Device, LARGE, routes!(enroll::http::renew_start))
        .add(Device, LARGE, routes!(enroll::http::renew_proof))
        .add(DeviceAcknowledging, SMALL, routes!(enroll::http::acknowledge))
        .add(Device, SMALL, routes!(checkin::http::state))
        .add(Device, LARGE, routes!(checkin::http::report))
        .add(Public, SMALL, routes!(repo::http::metadata))
        .add(Public, SMALL, routes!(repo::http::target))
        .add(Device, STREAM, routes!(repo::http::blob))
        .add(Device, SMALL, routes!(secret::http::read))
        // controllers of sites
        .add(Limited, SMALL, routes!(site::http::enroll))
        .add(Controller, SMALL, routes!(site::http::renew))
        .add(Controller, SMALL, routes!(site::http::hello))
        .add(Controller, SMALL, routes!(site::http::read))
        // operator API: audit, tokens, authorities
        .add(Operator(R::Audit, A::Read), SMALL, routes!(audit::http::read))
        .add(Operator(R::Tokens, A::Read), SMALL, routes!(operator::http::list))
        .add(Operator(R::Tokens, A::Create), SMALL, routes!(operator::http::create))
        .add(Operator(R::Tokens, A::Revoke), SMALL, routes!(operator::http::revoke))
        .add(Operator(R::Authorities, A::Read), SMALL, routes!(authority::http::list))
        .add(Operator(R::Authorities, A::Read), SMALL, routes!(authority::http::list_ek_roots))
        .add(Operator(R::Authorities, A::Create), SMALL, routes!(authority::http::add_ek_root))
        .add(Operator(R::Authorities, A::Read), SMALL, routes!(authority::http::list_ek_denials))
        .add(Operator(R::Authorities, A::Create), SMALL, routes!(authority::http::deny_ek))
        .add(Operator(R::Authorities, A::Delete), SMALL, routes!(authority::http::allow_ek))
        // operator API: sites
        .add(Operator(R::Sites, A::Read), SMALL, routes!(site::http::list))
        .add(Operator(R::Sites, A::Create), SMALL, routes!(site::http::register))
        .add(Operator(R::Sites, A::Update), SMALL, routes!(site::http::controller_token))
        // operator API: devices, enrolments
        .add(Operator(R::Devices, A::Read), SMALL, routes!(device::http::list))
        .add(Operator(R::Devices, A::Read), SMALL, routes!(device::http::show))
        .add(Operator(R::Devices, A::Create), SMALL, routes!(device::http::register))
        .add(Operator(R::Devices, A::Create), LARGE, routes!(device::http::import))
        .add(Operator(R::Devices, A::Create), SMALL, routes!(device::http::create_join_token))
        .add(Operator(R::Devices, A::Create), SMALL, routes!(device::http::make_blob))
        .add(Operator(R::Devices, A::Read), SMALL, routes!(device::http::blob))
        .add(Operator(R::Devices, A::Update), SMALL, routes!(device::http::set_labels))
        .add(Operator(R::Devices, A::Quarantine), SMALL, routes!(device::http::quarantine))
        .add(Operator(R::Devices, A::Release), SMALL, routes!(device::http::reinstate))
        .add(Operator(R::Devices, A::Retire), SMALL, routes!(device::http::retire))
        .add(Operator(R::Enrollments, A::Read), SMALL, routes!(enroll::http::device_evidence))
        .add(Operator(R::Enrollments, A::Read), SMALL, routes!(enroll::http::list))
        .add(Operator(R::Enrollments, A::Read), SMALL, routes!(enroll::http::show))
        .add(Operator(R::Enrollments, A::Approve), SMALL, routes!(enroll::http::approve))
        .add(Operator(R::Enrollments, A::Approve), SMALL, routes!(enroll::http::refuse))
        // operator API: metadata, releases, artefacts, deltas
        .add(Operator(R::Tuf, A::Read), SMALL, routes!(release::http::keys))
        .add(Operator(R::Tuf, A::Read), SMALL, routes!(release::http::status))
        .add(Operator(R::Tuf, A::Read), SMALL, routes!(repo::http::newest))
        .add(Operator(R::Tuf, A::Publish), PUBLISH, routes!(release::http::publish))
        .add(Operator(R::Artifacts, A::Create), STREAM, routes!(release::http::put_artifact))
        .add(Operator(R::Releases, A::Read), SMALL, routes!(release::http::list))
        .add(Operator(R::Releases, A::Read), SMALL, routes!(release::http::show))
        .add(Operator(R::Deltas, A::Read), SMALL, routes!(release::http::deltas))
        .add(Operator(R::Deltas, A::Create), SMALL, routes!(release::http::build_deltas))
        // operator API: rollouts
        .add(Operator(R::Rollouts, A::Create), SMALL, routes!(rollout::http::create))
        .add(Operator(R::Rollouts, A::Read), SMALL, routes!(rollout::http::list))
        .add(Operator(R::Rollouts, A::Read), SMALL, routes!(rollout::http::show))
        .add(Operator(R::Rollouts, A::Start), SMALL, routes!(rollout::http::start))
        .add(Operator(R::Rollouts, A::Pause), SMALL, routes!(rollout::http::pause))
        .add(Operator(R::Rollouts, A::Resume), SMALL, routes!(rollout::http::resume))
        .add(Operator(R::Rollouts, A::Rollback), SMALL, routes!(rollout::http::rollback))
        .add(Operator(R::Rollouts, A::Cancel), SMALL, routes!(rollout::http::cancel))
        .add(Operator(R::Assignments, A::Read), SMALL, routes!(rollout::http::assignments))
        // operator API: secrets, grants
        .add(Operator(R::Secrets, A::Update), LARGE, routes!(secret::http::put))
        .add(Operator(R::Secrets, A::Read), SMALL, routes!(secret::http::list))
        .add(Operator(R::Grants, A::Create), SMALL, routes!(grant::http::propose))
        .add(Operator(R::Grants, A::Read), SMALL, routes!(grant::http::list))
        .add(Operator(R::Grants, A::Approve), SMALL, routes!(grant::http::approve))
        .add(Operator(R::Grants, A::Withdraw), SMALL, routes!(grant::http::withdraw))
        .add(Operator(R::Grants, A::Explain), SMALL, routes!(grant::http::explain))
}

/// One route and its need, for the tests and the access matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteNeed {
    pub method: &'static str,
    /// As in the OpenAPI document.
    pub path: String,
    pub need: Need,
}

struct Routes {
    router: OpenApiRouter<AppState>,
    needs: Vec<RouteNeed>,
}

impl Routes {
    fn new() -> Self {
        Self { router: OpenApiRouter::with_openapi(super::openapi::head()), needs: Vec::new() }
    }

    fn add(mut self, need: Need, cap: Cap, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (schemas, mut paths, methods) = routes;
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations(item) {
                super::openapi::describe_need(operation, need);
                self.needs.push(RouteNeed { method, path: plain_path(path), need });
            }
        }
        let methods = methods
            .route_layer(from_fn(move |request: Request, next: Next| guard(need, cap.timeout, request, next)))
            .route_layer(DefaultBodyLimit::max(cap.body_bytes));
        self.router = self.router.routes((schemas, paths, methods));
        self
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("DELETE", &mut item.delete),
        ("PATCH", &mut item.patch),
        ("HEAD", &mut item.head),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// OpenAPI knows no `{*rest}`.
fn plain_path(path: &str) -> String {
    path.replace("{*", "{")
}

/// The service as one tower service over `state`.
pub fn service(state: AppState) -> Router {
    let (router, _) = routes().router.split_for_parts();
    router
        .route(super::openapi::PATH, axum::routing::get(super::openapi::serve))
        .fallback(async || Refusal::new(Kind::NotFound, "no-such-route", "there is no such route"))
        .method_not_allowed_fallback(async || {
            Refusal::new(Kind::MethodNotAllowed, "method-not-allowed", "this route has no such method")
        })
        .layer(from_fn(frame::frame))
        .layer(axum::Extension(frame::Pulse::default()))
        .layer(axum::Extension(Gate::for_requests(state.config.limits.concurrent_requests)))
        .layer(axum::Extension(state.clone()))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(crate::http::problem::panicked))
        .with_state(state)
}

/// Every route's need.
pub fn needs() -> Vec<RouteNeed> {
    routes().needs
}

/// The document that describes [`service`].
pub fn document() -> OpenApi {
    let (_, mut document) = routes().router.split_for_parts();
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (plain_path(&path), item)).collect();
    document
}
