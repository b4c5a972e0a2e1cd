//! Who may do what: one pure walk, the same for deciding and for explaining.
//!
//! Default deny; deny overrides. The order of the walk: state, tenant, deny grants, role or grant, constraints,
//! deny. Here: the walk and what it answers. Not here: how an actor was authenticated, what an answer becomes in
//! HTTP (`server`), how a value is sealed.
//! Invariant: adding a deny never allows more; no actor of one tenant is ever allowed on another's.

mod actor;
mod operator;
mod path;
mod policy;
mod selector;
#[cfg(test)]
mod tests;

pub use actor::{
    Actor, Barred, Channel, DeviceActor, Operator, SiteActor, Standing, WorkloadActor, device_label,
};
pub use operator::{
    Action, Approvals, Binding, DelegationError, Resource, Role, Scope, TABLE, Withdrawal, may_approve_grant,
    may_bind, may_mint, may_withdraw_grant,
};
pub use path::{PathError, PathPattern, SecretPath, Variable};
pub use policy::{CompileError, Compiled, Grant, GrantError, Verb};
pub use selector::{Selector, SelectorError, is_label_key, is_label_value};

use crate::limits::EXPLAIN_NEAR_MISSES_MAX;
use holdfast_proto::api::device::Tier;
use holdfast_proto::api::secret::{Constraints, Effect};
use holdfast_proto::{GrantId, TenantId};
use std::fmt;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    /// Of the thing that is asked for, as its row says.
    pub tenant: &'a TenantId,
    pub target: Target<'a>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// An operation of the operators' API; `site` where the thing hangs below one.
    Operate { resource: Resource, action: Action, site: Option<&'a str> },
    /// A secret's value, or an issuance named by a path.
    Value {
        path: &'a SecretPath,
        verb: Verb,
        /// The version that would be given (the caller resolves "current").
        version: Option<u64>,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allow: bool,
    pub reason: Reason,
    /// The grants that decided.
    pub matched: Vec<GrantId>,
    pub obligations: Obligations,
}

/// What whoever was allowed must keep to: the minimum over all matching allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Obligations {
    pub max_ttl_s: Option<u64>,
    pub max_offline_s: Option<u64>,
}

/// Why, in one stable word each ([`Reason::code`]) and in words (`Display`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    AllowedByRole(Role),
    AllowedByGrant,
    Barred(Barred),
    ForeignTenant,
    DeniedByGrant(GrantId),
    NoRole { resource: Resource, action: Action },
    NoGrant,
    TierTooLow { grant: GrantId, tier: Tier, min_tier: Tier },
    VersionNotGranted { grant: GrantId },
    NotYet { grant: GrantId, not_before: i64 },
    NoLonger { grant: GrantId, not_after: i64 },
}

/// An explanation: the decision, and the walk that led to it, one line a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub decision: Decision,
    pub walk: Vec<String>,
}

/// May this actor do this? Total, pure, default deny.
pub fn allow(policy: &Compiled, request: &Request<'_>, now: i64) -> Decision {
    walk(policy, request, now, &mut |_| {})
}

/// The same walk, told; with grants that nearly matched.
pub fn explain(policy: &Compiled, request: &Request<'_>, now: i64) -> Explanation {
    let mut rows = Vec::new();
    let decision = walk(policy, request, now, &mut |step| rows.push(step()));
    if let Target::Value { path, verb, .. } = &request.target
        && !decision.allow
    {
        let near = policy.grants().iter().filter(|g| {
            g.effect == Effect::Allow && g.is_over(path, *verb, request.actor) != g.is_for(request.actor)
        });
        rows.extend(near.take(EXPLAIN_NEAR_MISSES_MAX).map(|g| {
            let half = if g.is_for(request.actor) {
                "subject matches, path or verb does not"
            } else {
                "path and verb match, subject does not"
            };
            format!("near miss: grant {} over {}: {half}", g.id, g.resource)
        }));
    }
    rows.push(format!("{}: {}", if decision.allow { "allow" } else { "deny" }, decision.reason));
    Explanation { decision, walk: rows }
}

/// The active allow grants that would match a device after a change and did not match it before: a change that
/// widens needs the approval of another. `before` is `None` for a device that is new.
pub fn widens(policy: &Compiled, before: Option<&DeviceActor>, after: &DeviceActor) -> Vec<GrantId> {
    let after_actor = Actor::Device(after.clone());
    let before_actor = before.cloned().map(Actor::Device);
    let newly = policy.grants().iter().filter(|grant| {
        let was = before_actor.as_ref().is_some_and(|actor| grant.is_for(actor));
        let is = grant.is_for(&after_actor);
        match grant.effect {
            // Other names fill its variables, or a tier is reached: it matches more than before.
            Effect::Allow if is && was => {
                let reached = |d: &DeviceActor| grant.constraints.min_tier.is_none_or(|min| d.tier >= min);
                let moved = before.is_some_and(|b| b.id != after.id || b.site != after.site);
                (moved && grant.resource.variables().next().is_some())
                    || (reached(after) && !before.is_some_and(reached))
            }
            Effect::Allow => is,
            // Slipping from under a deny widens too.
            Effect::Deny => {
                was && (!is
                    || before
                        .is_some_and(|b| b.site != after.site && grant.resource.variables().next().is_some()))
            }
        }
    });
    newly.map(|grant| grant.id.clone()).collect()
}

type Tell<'t> = &'t mut dyn FnMut(&dyn Fn() -> String);

fn walk(policy: &Compiled, request: &Request<'_>, now: i64, tell: Tell<'_>) -> Decision {
    let actor = request.actor;
    // 1. State.
    if let Some(barred) = actor.barred(now) {
        tell(&|| format!("state: {} is {}", actor.kind(), Reason::Barred(barred)));
        return Decision::deny(Reason::Barred(barred));
    }
    tell(&|| format!("state: {} is in good standing", actor.kind()));
    // 2. Tenant.
    if policy.tenant() != request.tenant || !actor.is_of(request.tenant) {
        tell(&|| "tenant: another's".to_owned());
        return Decision::deny(Reason::ForeignTenant);
    }
    tell(&|| format!("tenant: {}", request.tenant));
    match &request.target {
        Target::Operate { resource, action, site } => {
            operate(actor, request.tenant, (*resource, *action), *site, tell)
        }
        Target::Value { path, verb, version } => value(policy, actor, path, (*verb, *version), now, tell),
    }
}

/// 4. Roles: operators alone have them.
fn operate(
    actor: &Actor,
    tenant: &TenantId,
    (resource, action): (Resource, Action),
    site: Option<&str>,
    tell: Tell<'_>,
) -> Decision {
    let role = actor.operator().and_then(|o| o.role_for(resource, action, tenant, site));
    if let Some(role) = role {
        tell(&|| format!("role: {role} may {action} {resource}"));
        return Decision { allow: true, ..Decision::deny(Reason::AllowedByRole(role)) };
    }
    tell(&|| format!("role: none of this {}'s may {action} {resource}", actor.kind()));
    Decision::deny(Reason::NoRole { resource, action })
}

/// 3. to 5. Grants: devices and workloads alone have them.
fn value(
    policy: &Compiled,
    actor: &Actor,
    path: &SecretPath,
    (verb, version): (Verb, Option<u64>),
    now: i64,
    tell: Tell<'_>,
) -> Decision {
    let hits = |effect| {
        let mut found = policy.find(effect, actor, path);
        found.retain(|grant| grant.is_for(actor) && grant.is_over(path, verb, actor));
        found
    };
    if let Some(deny) = hits(Effect::Deny).first() {
        tell(&|| format!("deny: grant {} over {} matches", deny.id, deny.resource));
        let mut decision = Decision::deny(Reason::DeniedByGrant(deny.id.clone()));
        decision.matched.push(deny.id.clone());
        return decision;
    }
    tell(&|| "deny: no deny grant matches".to_owned());

    let mut decision = Decision::deny(Reason::NoGrant);
    for grant in hits(Effect::Allow) {
        if let Some(reason) = unmet(grant, actor.tier(), version, now) {
            tell(&|| format!("grant: {} over {} matches, but {reason}", grant.id, grant.resource));
            if decision.reason == Reason::NoGrant {
                decision.reason = reason;
            }
        } else {
            tell(&|| format!("grant: {} over {} matches", grant.id, grant.resource));
            decision.allow = true;
            decision.obligations.tighten(&grant.constraints, now);
            decision.matched.push(grant.id.clone());
        }
    }
    if decision.allow {
        decision.reason = Reason::AllowedByGrant;
    } else if decision.reason == Reason::NoGrant {
        tell(&|| format!("grant: none lets this {} {} {path}", actor.kind(), verb.as_str()));
    }
    decision
}

/// 5. The first constraint of an allow that does not hold.
fn unmet(grant: &Grant, tier: Tier, version: Option<u64>, now: i64) -> Option<Reason> {
    let Constraints { min_tier, versions, not_before, not_after, .. } = &grant.constraints;
    let grant = || grant.id.clone();
    if let Some(min_tier) = *min_tier
        && tier < min_tier
    {
        return Some(Reason::TierTooLow { grant: grant(), tier, min_tier });
    }
    if let Some(versions) = versions
        && !version.is_some_and(|version| versions.contains(&version))
    {
        return Some(Reason::VersionNotGranted { grant: grant() });
    }
    if let Some(not_before) = *not_before
        && now < not_before
    {
        return Some(Reason::NotYet { grant: grant(), not_before });
    }
    if let Some(not_after) = *not_after
        && now >= not_after
    {
        return Some(Reason::NoLonger { grant: grant(), not_after });
    }
    None
}

impl Decision {
    fn deny(reason: Reason) -> Self {
        Self { allow: false, reason, matched: Vec::new(), obligations: Obligations::default() }
    }
}

impl Obligations {
    /// Nothing is kept, on line or off, beyond the end of the grant that gave it.
    fn tighten(&mut self, constraints: &Constraints, now: i64) {
        let left = constraints.not_after.map(|end| u64::try_from(end.saturating_sub(now)).unwrap_or(0));
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.max_ttl_s = least(self.max_ttl_s, least(constraints.max_ttl_s, left));
        self.max_offline_s = least(self.max_offline_s, least(constraints.max_offline_s, left));
    }
}

impl Reason {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AllowedByRole(_) => "allowed-by-role",
            Self::AllowedByGrant => "allowed-by-grant",
            Self::Barred(Barred::Revoked) => "revoked",
            Self::Barred(Barred::Quarantined) => "quarantined",
            Self::Barred(Barred::Expired) => "expired",
            Self::Barred(Barred::NotActive) => "not-active",
            Self::Barred(Barred::Retired) => "retired",
            Self::Barred(Barred::Malformed) => "malformed-actor",
            Self::Barred(Barred::ForeignChannel) => "foreign-channel",
            Self::ForeignTenant => "foreign-tenant",
            Self::DeniedByGrant(_) => "denied-by-grant",
            Self::NoRole { .. } => "no-role",
            Self::NoGrant => "no-grant",
            Self::TierTooLow { .. } => "tier-too-low",
            Self::VersionNotGranted { .. } => "version-not-granted",
            Self::NotYet { .. } => "grant-not-yet-valid",
            Self::NoLonger { .. } => "grant-no-longer-valid",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowedByRole(role) => write!(f, "role {role} allows it"),
            Self::AllowedByGrant => f.write_str("a grant allows it"),
            Self::Barred(Barred::Revoked) => f.write_str("revoked"),
            Self::Barred(Barred::Quarantined) => f.write_str("quarantined"),
            Self::Barred(Barred::Expired) => f.write_str("expired"),
            Self::Barred(Barred::NotActive) => f.write_str("not yet active"),
            Self::Barred(Barred::Retired) => f.write_str("retired or scrapped"),
            Self::Barred(Barred::Malformed) => f.write_str("named by what is no segment [a-z0-9._-]"),
            Self::Barred(Barred::ForeignChannel) => {
                f.write_str("not vouched for by its own site and cluster")
            }
            Self::ForeignTenant => f.write_str("no such thing in this tenant"),
            Self::DeniedByGrant(id) => write!(f, "grant {id} denies it"),
            Self::NoRole { resource, action } => write!(f, "no role here may {action} {resource}"),
            Self::NoGrant => f.write_str("no grant matches"),
            Self::TierTooLow { grant, tier, min_tier } => {
                write!(f, "grant {grant} wants {min_tier:?}, this is {tier:?}")
            }
            Self::VersionNotGranted { grant } => write!(f, "grant {grant} does not name this version"),
            Self::NotYet { grant, not_before } => write!(f, "grant {grant} begins at {not_before}"),
            Self::NoLonger { grant, not_after } => write!(f, "grant {grant} ended at {not_after}"),
        }
    }
}
