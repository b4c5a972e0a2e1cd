//! Who may do what: the matrix as a golden file, the walk row by row, and what must hold for all questions.
//!
//! `UPDATE_GOLDEN=1 cargo test -p holdfast-decide access` writes the golden files anew.

mod delegation;
mod matrix;
mod own_actions;
mod properties;
mod scale;
mod walk;
mod writing;

use super::*;
use holdfast_proto::api::device::DeviceState;
use holdfast_proto::api::secret::{ProposeGrant, Subject};
use std::collections::BTreeMap;

pub(crate) const NOW: i64 = 1_780_000_000;

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::from(name)
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// A user of tenant `acme` with these bindings.
pub(crate) fn user(principal: &str, bindings: &[(Role, Scope)]) -> Operator {
    Operator {
        principal: principal.to_owned(),
        tenant: Some(tenant("acme")),
        bindings: bindings
            .iter()
            .map(|(role, scope)| Binding { role: *role, scope: scope.clone() })
            .collect(),
        standing: Standing::Good,
        expires_at: None,
    }
}

pub(crate) fn acme() -> Scope {
    Scope::Tenant(tenant("acme"))
}

pub(crate) fn site(name: &str) -> Scope {
    Scope::Site { tenant: tenant("acme"), site: name.to_owned() }
}

/// An active device of tenant `acme` at site `berlin`, tier T4.
pub(crate) fn device(id: &str, labels: &[(&str, &str)]) -> DeviceActor {
    DeviceActor {
        tenant: tenant("acme"),
        id: id.to_owned(),
        site: Some("berlin".to_owned()),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        tier: Tier::T4,
        state: DeviceState::Active,
        certificate: Standing::Good,
    }
}

/// The controller of cluster `edge` at site `berlin`.
pub(crate) fn controller() -> SiteActor {
    SiteActor {
        tenant: tenant("acme"),
        site: "berlin".to_owned(),
        cluster: Some("edge".to_owned()),
        standing: Standing::Good,
    }
}

/// Pods of `shop/web` on that cluster, through its controller.
pub(crate) fn workload() -> WorkloadActor {
    WorkloadActor {
        tenant: tenant("acme"),
        site: "berlin".to_owned(),
        cluster: "edge".to_owned(),
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        tier: Tier::T0,
        channel: Channel::Through(controller()),
    }
}

pub(crate) fn of_devices(selector: &str) -> Subject {
    Subject::Device { selector: selector.to_owned() }
}

pub(crate) fn of_web() -> Subject {
    Subject::Workload {
        site: "berlin".to_owned(),
        cluster: "edge".to_owned(),
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
    }
}

pub(crate) fn proposal(effect: Effect, subject: Subject, resource: &str) -> ProposeGrant {
    let verbs = vec!["read".to_owned()];
    ProposeGrant {
        effect,
        subject,
        resource: resource.to_owned(),
        verbs,
        constraints: Constraints::default(),
    }
}

pub(crate) fn grant(id: &str, proposal: &ProposeGrant) -> Grant {
    Grant::parse(GrantId::from(id), proposal).unwrap_or_else(|why| panic!("{id}: {why:?}"))
}

pub(crate) fn allow_read(id: &str, subject: Subject, resource: &str) -> Grant {
    grant(id, &proposal(Effect::Allow, subject, resource))
}

pub(crate) fn deny_read(id: &str, subject: Subject, resource: &str) -> Grant {
    grant(id, &proposal(Effect::Deny, subject, resource))
}

/// An allow of reading that holds only within `constraints`.
pub(crate) fn bounded(id: &str, resource: &str, constraints: Constraints) -> Grant {
    grant(id, &ProposeGrant { constraints, ..proposal(Effect::Allow, of_devices(""), resource) })
}

pub(crate) fn policy(grants: Vec<Grant>) -> Compiled {
    Compiled::new(tenant("acme"), grants).expect("a policy")
}

pub(crate) fn read(policy: &Compiled, actor: &Actor, path: &SecretPath) -> Decision {
    read_version(policy, actor, path, Some(1), NOW)
}

pub(crate) fn read_version(
    policy: &Compiled,
    actor: &Actor,
    path: &SecretPath,
    version: Option<u64>,
    now: i64,
) -> Decision {
    let (acme, target) = (tenant("acme"), Target::Value { path, verb: Verb::Read, version });
    allow(policy, &Request { actor, tenant: &acme, target }, now)
}

pub(crate) fn operate(
    actor: &Actor,
    tenant: &TenantId,
    resource: Resource,
    action: Action,
    site: Option<&str>,
) -> Decision {
    let target = Target::Operate { resource, action, site };
    allow(&Compiled::empty(tenant.clone()), &Request { actor, tenant, target }, NOW)
}

/// Compares with a file of `tests/golden`, or writes it.
pub(crate) fn check_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a test's golden file, on demand")]
        std::fs::write(&path, text).expect("write");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, text, "{name}: run with UPDATE_GOLDEN=1 and review the difference");
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
