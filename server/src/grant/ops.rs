//! Proposing, approving and withdrawing grants; the compiled policy; explanations.

use super::sql::{self, GrantRow};
use crate::audit;
use crate::db::Tx;
use crate::http::auth::{Device, Operator};
use crate::refusal::Refusal;
use crate::secret::ops::{parse_path, sealer};
use crate::secret::seal::{SealError, Sealer};
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::{
    self, Approvals, Channel, Compiled, DeviceActor, Request, Standing, Target, Verb, Withdrawal,
    WorkloadActor,
};
use holdfast_proto::api::device::Tier;
use holdfast_proto::api::secret::{Effect, Explain, ExplainSubject, Explained, Grant, ProposeGrant};
use holdfast_proto::{GrantId, TenantId};

const MAC_LABEL: &str = "grant";

/// Proposes a grant; nothing changes until another person approves it.
pub async fn propose(
    state: &AppState,
    operator: &Operator,
    proposal: &ProposeGrant,
) -> Result<Grant, Refusal> {
    let now = state.now();
    let id = crate::chance::id("grant", now);
    access::Grant::parse(GrantId::from(id.as_str()), proposal).map_err(|error| {
        let causes: Vec<String> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect();
        Refusal::invalid("malformed-grant", causes.join(": "))
    })?;
    let sealer = sealer(state).await?;
    let row = GrantRow {
        id,
        proposal: serde_json::to_string(proposal).map_err(Refusal::internal)?,
        state: "proposed".to_owned(),
        proposed_by: operator.principal().to_owned(),
        approved_by: String::new(),
        withdraw_proposed_by: String::new(),
        created_at: now,
        version: 1,
        mac: Vec::new(),
    };
    let row = with_mac(&sealer, &operator.tenant, row);
    tx!(state.db, "grant.propose", |tx| {
        sql::grant_insert(tx, &operator.tenant, &row).await?;
        let entry = operator.did("grant.propose", format!("grant/{}", row.id), row.proposal.clone());
        audit::append(tx, &entry, now).await?;
        Ok::<_, Refusal>(())
    })?;
    to_api(&row)
}

/// Puts a proposal into effect; its author cannot.
pub async fn approve(state: &AppState, operator: &Operator, id: &str) -> Result<Grant, Refusal> {
    let (now, sealer) = (state.now(), sealer(state).await?);
    let actor = operator.access_actor();
    change(state, operator, &sealer, id, |policy, row| {
        if row.state != "proposed" {
            return Err(Refusal::conflict("grant-not-proposed", format!("this grant is {}", row.state)));
        }
        let tenant = TenantId::from(operator.tenant.as_str());
        access::may_approve_grant(policy, &actor, &tenant, &row.proposed_by, Approvals::TwoPersons, now)
            .map_err(|error| Refusal::forbidden("not-allowed", error.to_string()))?;
        Ok((
            "grant.approve",
            GrantRow { state: "active".into(), approved_by: operator.principal().to_owned(), ..row },
        ))
    })
    .await
}

/// Takes a grant out of effect. Withdrawing an active deny widens, so it takes two persons: who may propose grants
/// says first that it shall go, and it denies on until who may approve grants, another person, says so too.
pub async fn withdraw(state: &AppState, operator: &Operator, id: &str) -> Result<Grant, Refusal> {
    let (now, sealer) = (state.now(), sealer(state).await?);
    let actor = operator.access_actor();
    change(state, operator, &sealer, id, |policy, row| {
        if row.state == "withdrawn" {
            return Err(Refusal::conflict("grant-withdrawn", "this grant was withdrawn already"));
        }
        let tenant = TenantId::from(operator.tenant.as_str());
        let effect = match row.state.as_str() {
            // What is not in effect widens nothing by going.
            "proposed" => Effect::Allow,
            _ => proposal_of(&row)?.effect,
        };
        let first = Some(row.withdraw_proposed_by.as_str()).filter(|_| row.state == "withdrawing");
        let may =
            access::may_withdraw_grant(policy, &actor, &tenant, effect, first, Approvals::TwoPersons, now);
        Ok(match may.map_err(|error| Refusal::forbidden("not-allowed", error.to_string()))? {
            Withdrawal::Now => ("grant.withdraw", GrantRow { state: "withdrawn".into(), ..row }),
            Withdrawal::NeedsAnother => {
                let withdraw_proposed_by = operator.principal().to_owned();
                let row = GrantRow { state: "withdrawing".into(), withdraw_proposed_by, ..row };
                ("grant.propose-withdrawal", row)
            }
        })
    })
    .await
}

async fn change(
    state: &AppState,
    operator: &Operator,
    sealer: &Sealer,
    id: &str,
    decide: impl Fn(&Compiled, GrantRow) -> Result<(&'static str, GrantRow), Refusal>,
) -> Result<Grant, Refusal> {
    let now = state.now();
    tx!(state.db, "grant.change", |tx| {
        let row = sql::grant_row(tx, &operator.tenant, id).await?;
        let row = row.ok_or_else(|| Refusal::not_found(format_args!("grant `{}`", audit::printable(id))))?;
        check(sealer, &operator.tenant, &row)?;
        let policy = compiled(tx, &operator.tenant, sealer).await?;
        let version = row.version + 1;
        let (action, row) = decide(&policy, row)?;
        let row = with_mac(sealer, &operator.tenant, GrantRow { version, ..row });
        if !sql::grant_change(tx, &operator.tenant, &row).await? {
            return Err(Refusal::precondition(version));
        }
        let entry = operator.did(action, format!("grant/{}", row.id), row.proposal.clone());
        audit::append(tx, &entry, now).await?;
        to_api(&row)
    })
}

pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<Grant>, Refusal> {
    let rows = sql::grant_list(&mut state.db.read().await?, &operator.tenant, after, limit).await?;
    rows.iter().map(to_api).collect()
}

/// The grants in effect of a tenant, each row's MAC checked: one that does not hold stops all reading.
pub async fn compiled(tx: &mut Tx, tenant: &str, sealer: &Sealer) -> Result<Compiled, Refusal> {
    let mut grants = Vec::new();
    for row in sql::grant_in_effect(tx, tenant).await? {
        check(sealer, tenant, &row)?;
        let proposal = proposal_of(&row)?;
        grants.push(access::Grant::parse(GrantId::from(row.id), &proposal).map_err(Refusal::internal)?);
    }
    Compiled::new(TenantId::from(tenant), grants).map_err(Refusal::internal)
}

/// May this subject do this, and why? The same walk as the decision.
pub async fn explain(state: &AppState, operator: &Operator, body: &Explain) -> Result<Explained, Refusal> {
    let path = parse_path(&body.path)?;
    let verb = Verb::parse(&body.verb)
        .ok_or_else(|| Refusal::invalid("unknown-verb", "a verb is one of read, watch, issue"))?;
    let sealer = sealer(state).await?;
    let mut tx = state.db.read().await?;
    let policy = compiled(&mut tx, &operator.tenant, &sealer).await?;
    let actor = match &body.subject {
        ExplainSubject::Device { id } => {
            let device = crate::device::ops::as_actor(&mut tx, &operator.tenant, id).await?;
            access::Actor::Device(
                device
                    .ok_or_else(|| Refusal::not_found(format_args!("device `{}`", audit::printable(id))))?,
            )
        }
        ExplainSubject::Workload { site, cluster, namespace, service_account } => {
            access::Actor::Workload(WorkloadActor {
                tenant: TenantId::from(operator.tenant.as_str()),
                site: site.clone(),
                cluster: cluster.clone(),
                namespace: namespace.clone(),
                service_account: service_account.clone(),
                tier: Tier::T0,
                channel: Channel::Pinned {
                    tenant: TenantId::from(operator.tenant.as_str()),
                    site: site.clone(),
                    cluster: cluster.clone(),
                },
            })
        }
    };
    let version = crate::secret::ops::current_version(&mut tx, &operator.tenant, &path).await?;
    let target = Target::Value { path: &path, verb, version };
    let question = Request { actor: &actor, tenant: policy.tenant(), target };
    let told = access::explain(&policy, &question, state.now());
    Ok(Explained {
        allow: told.decision.allow,
        reason: told.decision.reason.to_string(),
        matched: told.decision.matched.iter().map(ToString::to_string).collect(),
        walk: told.walk,
    })
}

/// A device behind its certificate, as the access table sees it.
pub fn device_actor(device: &Device) -> access::Actor {
    access::Actor::Device(DeviceActor {
        tenant: TenantId::from(device.tenant.as_str()),
        id: device.id.as_str().to_owned(),
        site: device.site.clone(),
        labels: device.labels.clone(),
        tier: device.tier,
        state: device.state,
        // The guard has refused every certificate that is not.
        certificate: Standing::Good,
    })
}

fn proposal_of(row: &GrantRow) -> Result<ProposeGrant, Refusal> {
    serde_json::from_str(&row.proposal).map_err(Refusal::internal)
}

fn with_parts<T>(tenant: &str, row: &GrantRow, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (created, version) = (row.created_at.to_be_bytes(), row.version.to_be_bytes());
    let texts = [tenant, &row.id, &row.proposal, &row.state, &row.proposed_by, &row.approved_by];
    let mut parts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    parts.extend([&created[..], &version[..]]);
    // Rows from before this column carry a MAC without it.
    if !row.withdraw_proposed_by.is_empty() {
        parts.push(row.withdraw_proposed_by.as_bytes());
    }
    then(&parts)
}

fn with_mac(sealer: &Sealer, tenant: &str, row: GrantRow) -> GrantRow {
    let mac = with_parts(tenant, &row, |parts| sealer.mac(MAC_LABEL, parts));
    GrantRow { mac, ..row }
}

fn check(sealer: &Sealer, tenant: &str, row: &GrantRow) -> Result<(), SealError> {
    with_parts(tenant, row, |parts| sealer.check_mac(MAC_LABEL, parts, &row.mac))
}

fn to_api(row: &GrantRow) -> Result<Grant, Refusal> {
    Ok(Grant {
        id: GrantId::from(row.id.as_str()),
        proposal: proposal_of(row)?,
        state: row.state.clone(),
        proposed_by: row.proposed_by.clone(),
        approved_by: Some(row.approved_by.clone()).filter(|text| !text.is_empty()),
        created_at: row.created_at,
        version: row.version,
    })
}
