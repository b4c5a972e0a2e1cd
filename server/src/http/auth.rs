//! Who asks, and whether he may come in: one guard in front of every route, told its need by `role/router.rs`.
//!
//! Devices and controllers show a client certificate; its serial is looked up on every request, on resumed
//! sessions too. Operators show a token. What a handler then takes ([`Operator`], [`Device`], [`Controller`])
//! was put there by the guard; there is no other way to get one.

use super::body::Body;
use super::gate::{Gate, Place};
use super::listen::Connection;
use crate::audit::{self, Actor, Entry};
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use axum::extract::{FromRequest as _, FromRequestParts, Request};
use axum::http::{header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use holdfast_decide::access;
use holdfast_proto::api::device::{DeviceState, Tier};
use holdfast_proto::{DeviceId, TenantId};
use hyper::body::Body as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use holdfast_decide::access::{Action, Resource, Role};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: metadata that is signed, health.
    Public,
    /// Nothing, but rate-limited for each address: enrolment.
    Limited,
    /// A device's certificate, its record ACTIVE.
    Device,
    /// A device's certificate, its record ACTIVE or waiting for M5.
    DeviceAcknowledging,
    /// A service token whose roles allow the action on this noun.
    Operator(Resource, Action),
    /// A site controller's certificate.
    Controller,
}

/// An operator, authorised for this route's action.
#[derive(Debug, Clone)]
pub struct Operator {
    pub tenant: String,
    /// Id of the token.
    pub token: String,
    pub name: String,
    /// As the access table knows it: principal, roles and their scopes.
    pub access: access::Operator,
}

/// A device, by its certificate.
#[derive(Debug, Clone)]
pub struct Device {
    pub tenant: String,
    pub id: DeviceId,
    pub state: DeviceState,
    pub tier: Tier,
    pub labels: BTreeMap<String, String>,
    pub site: Option<String>,
    /// Serial of the certificate shown, hex.
    pub certificate: String,
    /// The certificate shown, DER: its key is the device key.
    pub certificate_der: Vec<u8>,
}

/// A site's controller, by its certificate.
#[derive(Debug, Clone)]
pub struct Controller {
    pub tenant: String,
    pub site: String,
    pub certificate: String,
}

impl Operator {
    pub fn actor(&self) -> Actor<'_> {
        Actor::Token { id: &self.token, name: &self.name }
    }

    /// Who this is beyond the token: two tokens of one person have one principal.
    pub fn principal(&self) -> &str {
        &self.access.principal
    }

    /// For questions to [`access`] that a handler asks itself.
    pub fn access_actor(&self) -> access::Actor {
        access::Actor::ServiceToken(self.access.clone())
    }

    /// The audit entry of what this operator does.
    pub fn did<'a>(
        &'a self,
        action: &'a str,
        resource: impl Into<String>,
        reason: impl Into<String>,
    ) -> Entry<'a> {
        Entry::done(&self.tenant, self.actor(), action, resource, reason)
    }
}

impl Device {
    pub fn actor(&self) -> Actor<'_> {
        Actor::Device(self.id.as_str())
    }

    /// For questions to [`access`]: which secrets it may read.
    pub fn access_actor(&self) -> access::Actor {
        access::Actor::Device(access::DeviceActor {
            tenant: TenantId::new(&self.tenant),
            id: self.id.as_str().to_owned(),
            site: self.site.clone(),
            labels: self.labels.clone(),
            tier: self.tier,
            state: self.state,
            certificate: access::Standing::Good,
        })
    }
}

/// The guard: layered on each route by `role/router.rs`. `timeout` is none where the handler bounds itself (streams).
pub async fn guard(need: Need, timeout: Option<Duration>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(state) = parts.extensions.get::<AppState>().cloned() else {
        return Refusal::new(Kind::Internal, "internal", "the service is not wired up").into_response();
    };
    if let Err(refusal) = admit(need, &state, &mut parts).await {
        return refusal.into_response();
    }
    let _place = match stranger_place(need, &parts) {
        Ok(place) => place,
        Err(refusal) => return refusal.into_response(),
    };
    let request = Request::from_parts(parts, body);
    let Some(limit) = timeout else { return next.run(request).await };
    let answer = async {
        match with_whole_body(need, &state, request).await {
            Ok(request) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let text = format!("the request was not done within {} s", limit.as_secs());
        Refusal::new(Kind::Unavailable, "timeout", text).retry_after(5).into_response()
    })
}

fn stranger_place(need: Need, request: &Parts) -> Result<Option<Place>, Refusal> {
    match request.extensions.get::<Gate>() {
        Some(gate) if need == Need::Limited => gate.enter(request).map(Some),
        _ => Ok(None),
    }
}

/// Reads the body, and asks once more who sent it: its sender may have been revoked while it came, and could hold a
/// request open for just that. Strangers are not asked who they are, and we keep nothing for them.
async fn with_whole_body(need: Need, state: &AppState, request: Request) -> Result<Request, Refusal> {
    if matches!(need, Need::Public | Need::Limited) || request.body().is_end_stream() {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let mut reading = Request::new(body);
    // The route's cap is among the extensions.
    reading.extensions_mut().clone_from(&parts.extensions);
    let Body(bytes) = Body::from_request(reading, &()).await?;
    admit(need, state, &mut parts).await?;
    Ok(Request::from_parts(parts, bytes.into()))
}

#[expect(clippy::disallowed_methods, reason = "the limiter counts real time")]
async fn admit(need: Need, state: &AppState, request: &mut Parts) -> Result<(), Refusal> {
    match need {
        Need::Public => {}
        Need::Limited => {
            if let Some(connection) = request.extensions.get::<Arc<Connection>>() {
                let taken = state.enroll_limit.take(connection.peer.ip(), Instant::now());
                taken.map_err(too_many)?;
            }
        }
        Need::Device => {
            let device = device(state, request).await?;
            if device.state != DeviceState::Active {
                return Err(state_refusal(device.state));
            }
            request.extensions.insert(device);
        }
        Need::DeviceAcknowledging => {
            let device = device(state, request).await?;
            if !matches!(device.state, DeviceState::Active | DeviceState::Pending) {
                return Err(state_refusal(device.state));
            }
            request.extensions.insert(device);
        }
        Need::Operator(resource, action) => {
            let operator = operator(state, request).await?;
            authorise(state, &operator, (resource, action), request.uri.path()).await?;
            request.extensions.insert(operator);
        }
        Need::Controller => {
            let (tenant, certificate) = certificate(state, request, "controller").await?;
            let controller =
                Controller { tenant, site: certificate.subject, certificate: certificate.serial };
            request.extensions.insert(controller);
        }
    }
    Ok(())
}

fn too_many(seconds: u32) -> Refusal {
    Refusal::new(Kind::TooMany, "too-many-requests", "too many requests from this address")
        .retry_after(seconds)
}

fn state_refusal(state: DeviceState) -> Refusal {
    match state {
        DeviceState::Pending => {
            Refusal::forbidden("device-pending", "acknowledge the certificate first (M5)")
        }
        DeviceState::Suspended => {
            Refusal::forbidden("device-suspended", "an operator has quarantined this device")
        }
        _ => Refusal::forbidden("device-retired", "this device's record has ended"),
    }
}

/// The row of the certificate that the connection showed, if it is ours, in its time and not revoked.
async fn certificate(
    state: &AppState,
    request: &Parts,
    profile: &str,
) -> Result<(String, crate::ca::Certificate), Refusal> {
    let (shown, serial) = shown(request)?;
    let row = crate::ca::revoke::lookup(&mut state.db.read().await?, &serial).await?;
    let (tenant, row) = row.filter(|(_, row)| row.der == shown).ok_or_else(unknown_certificate)?;
    check_certificate(&row, profile, state.now())?;
    Ok((tenant, row))
}

async fn device(state: &AppState, request: &Parts) -> Result<Device, Refusal> {
    let (shown, serial) = shown(request)?;
    let row = crate::device::ops::by_certificate(&mut state.db.read().await?, &serial).await?;
    let (device, row) = row.filter(|(_, row)| row.der == shown).ok_or_else(unknown_certificate)?;
    check_certificate(&row, "device", state.now())?;
    Ok(device)
}

/// The certificate that the connection showed, and its serial number. A row is found by the number and must hold the
/// very certificate: another issuer may use the same number.
fn shown(request: &Parts) -> Result<(&[u8], String), Refusal> {
    let shown = request.extensions.get::<Arc<Connection>>().and_then(|c| c.chain.first());
    let shown = shown.ok_or_else(|| {
        Refusal::unauthenticated("no-client-certificate", "this route needs a client certificate")
    })?;
    let (_, parsed) = x509_parser::parse_x509_certificate(shown).map_err(|_| unknown_certificate())?;
    Ok((shown, hex::encode(parsed.raw_serial())))
}

fn check_certificate(row: &crate::ca::Certificate, profile: &str, now: i64) -> Result<(), Refusal> {
    if row.profile != profile {
        return Err(Refusal::forbidden("wrong-certificate-profile", "this certificate is for another use"));
    }
    if row.state == crate::ca::CertificateState::Revoked {
        return Err(Refusal::unauthenticated(
            "certificate-revoked",
            "this certificate is revoked: enrol again",
        ));
    }
    if now > row.not_after || now < row.not_before {
        return Err(Refusal::unauthenticated(
            "certificate-expired",
            "this certificate is out of its time: recover",
        ));
    }
    Ok(())
}

fn unknown_certificate() -> Refusal {
    Refusal::unauthenticated("certificate-unknown", "this certificate is in no record of ours")
}

#[expect(clippy::disallowed_methods, reason = "the limiter counts real time")]
async fn operator(state: &AppState, request: &Parts) -> Result<Operator, Refusal> {
    let header = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let found = match header.and_then(|text| text.strip_prefix("Bearer ")) {
        None => Err(Refusal::unauthenticated("no-token", "send `Authorization: Bearer <service token>`")),
        Some(text) => crate::operator::ops::by_token(state, text.trim()).await,
    };
    // Only failures cost: a wrong token cannot be tried without end, a right one is never slowed.
    if let Err(refusal) = &found
        && refusal.kind == Kind::Unauthenticated
        && let Some(connection) = request.extensions.get::<Arc<Connection>>()
    {
        state.sign_in_limit.take(connection.peer.ip(), Instant::now()).map_err(too_many)?;
    }
    found
}

/// Asks the access table; a denial is audited.
async fn authorise(
    state: &AppState,
    operator: &Operator,
    (resource, action): (Resource, Action),
    path: &str,
) -> Result<(), Refusal> {
    let tenant = TenantId::new(&operator.tenant);
    // Roles need no grants: the empty policy of the tenant decides them.
    let policy = access::Compiled::empty(tenant.clone());
    let actor = operator.access_actor();
    let target = access::Target::Operate { resource, action, site: None };
    let decision =
        access::allow(&policy, &access::Request { actor: &actor, tenant: &tenant, target }, state.now());
    if decision.allow {
        return Ok(());
    }
    let (what, reason) = (format!("{resource}.{action}"), decision.reason.to_string());
    let entry = operator.did(&what, audit::printable(path), reason.as_str()).denied();
    audit::append_alone(&state.db, &entry, state.now()).await?;
    Err(Refusal::forbidden("not-allowed", reason))
}

macro_rules! from_guard {
    ($($caller:ty),+) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $caller {
            type Rejection = Refusal;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
                parts.extensions.get::<Self>().cloned().ok_or_else(|| {
                    Refusal::new(Kind::Internal, "internal", "this route's need does not give this caller")
                })
            }
        }
    )+};
}

from_guard!(Operator, Device, Controller);

/// The connection that carries the request.
pub struct Channel(pub Arc<Connection>);

impl<S: Send + Sync> FromRequestParts<S> for Channel {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let connection = parts.extensions.get::<Arc<Connection>>().cloned();
        connection.map(Self).ok_or_else(|| Refusal::new(Kind::Internal, "internal", "no connection is known"))
    }
}
