//! What a workload reads through its site's controller.

use super::ops;
use crate::audit::{self, Actor, Entry};
use crate::http::auth::Controller;
use crate::refusal::Refusal;
use crate::secret::ops::{Reader, sealer};
use crate::state::AppState;
use holdfast_decide::access::{self, Channel, SiteActor, Standing, WorkloadActor};
use holdfast_proto::TenantId;
use holdfast_proto::api::device::Tier;
use holdfast_proto::api::secret::{ReadForWorkload, SecretValue};
use holdfast_trust::Verified;
use holdfast_trust::workload::{Expected, ServiceAccount, TokenError, audience, verify};

/// Reads one secret for the ServiceAccount whose token the controller shows.
pub async fn read(
    state: &AppState,
    controller: &Controller,
    body: &ReadForWorkload,
) -> Result<SecretValue, Refusal> {
    let Controller { tenant, site, .. } = controller;
    let sealer = sealer(state).await?;
    let pinned = ops::pinned(&mut state.db.read().await?, tenant, site, &sealer).await?;
    let expected = Expected { issuer: &pinned.issuer, audience: &audience(tenant, site), now: state.now() };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let account = match verify(&body.token, &pinned.keys, expected, algorithms) {
        Ok(account) => account,
        Err(error) => return Err(refuse(state, controller, error).await?),
    };
    let name = format!("{site}/{}/{}/{}", pinned.cluster, account.namespace, account.name);
    let reader = Reader {
        tenant,
        actor: workload(controller, &pinned.cluster, &account),
        audit: Actor::Workload(&name),
    };
    crate::secret::ops::read(state, &reader, &body.path, body.version).await
}

/// A tier of its own comes with nodes that are enrolled devices; until then a workload is T0.
fn workload(controller: &Controller, cluster: &str, account: &Verified<ServiceAccount>) -> access::Actor {
    let tenant = TenantId::new(&controller.tenant);
    let through = SiteActor {
        tenant: tenant.clone(),
        site: controller.site.clone(),
        cluster: Some(cluster.to_owned()),
        // The guard has refused every certificate that is not.
        standing: Standing::Good,
    };
    access::Actor::Workload(WorkloadActor {
        tenant,
        site: controller.site.clone(),
        cluster: cluster.to_owned(),
        namespace: account.namespace.clone(),
        service_account: account.name.clone(),
        tier: Tier::T0,
        channel: Channel::Through(through),
    })
}

/// A token that does not count is audited: it is either an attack or a cluster whose keys have changed.
async fn refuse(state: &AppState, controller: &Controller, error: TokenError) -> Result<Refusal, Refusal> {
    let resource = format!("site/{}", controller.site);
    let actor = Actor::Controller(&controller.site);
    let entry = Entry::done(&controller.tenant, actor, "secret.read", resource, error.code());
    audit::append_alone(&state.db, &entry.refused(), state.now()).await?;
    Ok(Refusal::forbidden(error.code(), format!("the workload's token is refused: {error}")))
}
