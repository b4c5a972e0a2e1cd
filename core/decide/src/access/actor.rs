//! Who asks. Everything here was authenticated before it comes here; nothing is taken from a request's body.

use super::operator::{Binding, Scope};
use super::path::Variable;
use holdfast_proto::TenantId;
use holdfast_proto::api::device::{DeviceState, Tier};
use holdfast_proto::id::is_segment;
use std::collections::BTreeMap;

/// Whoever asks, with the facts that decisions rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person, by OIDC or mTLS.
    User(Operator),
    /// A service token.
    ServiceToken(Operator),
    Device(DeviceActor),
    Controller(SiteActor),
    Workload(WorkloadActor),
    Gateway(SiteActor),
}

/// A person or a service token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The person, or for a token whoever stands at the root of its chain of minting: two tokens of one person
    /// are one principal, so that nobody approves his own proposal through a token of his.
    pub principal: String,
    /// Its tenant; `None` only for operators of the installation.
    pub tenant: Option<TenantId>,
    pub bindings: Vec<Binding>,
    pub standing: Standing,
    /// When the session or token ends, Unix seconds.
    pub expires_at: Option<i64>,
}

/// A device behind its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceActor {
    pub tenant: TenantId,
    /// The record's id; a segment (`[a-z0-9._-]+`).
    pub id: String,
    pub site: Option<String>,
    /// Labels and groups; `id` and `site` never come from here.
    pub labels: BTreeMap<String, String>,
    pub tier: Tier,
    pub state: DeviceState,
    /// Of the certificate that it used.
    pub certificate: Standing,
}

/// A controller or a gateway, behind its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteActor {
    pub tenant: TenantId,
    pub site: String,
    /// A gateway has none.
    pub cluster: Option<String>,
    pub standing: Standing,
}

/// A pod's ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadActor {
    pub tenant: TenantId,
    pub site: String,
    pub cluster: String,
    pub namespace: String,
    pub service_account: String,
    /// The lowest tier of the cluster's nodes; unknown is T0.
    pub tier: Tier,
    /// How it reached us.
    pub channel: Channel,
}

/// What vouches for a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// Through a controller or a gateway: counts only inside that one's own site and cluster.
    Through(SiteActor),
    /// Directly, with a token verified against the pinned keys of this cluster.
    Pinned { tenant: TenantId, site: String, cluster: String },
}

/// Whether a credential still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    Good,
    Revoked,
    Quarantined,
    Expired,
}

/// Why an actor is refused before anything else is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Barred {
    Revoked,
    Quarantined,
    Expired,
    /// PENDING: not yet acknowledged.
    NotActive,
    /// RETIRED or SCRAPPED.
    Retired,
    /// A name of it is no segment, so no pattern could be filled with it.
    Malformed,
    /// A workload through a channel of another site or cluster.
    ForeignChannel,
}

impl Actor {
    /// The operator's half, if it is a person or a token.
    pub fn operator(&self) -> Option<&Operator> {
        match self {
            Self::User(operator) | Self::ServiceToken(operator) => Some(operator),
            Self::Device(_) | Self::Controller(_) | Self::Workload(_) | Self::Gateway(_) => None,
        }
    }

    /// A word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ServiceToken(_) => "service token",
            Self::Device(_) => "device",
            Self::Controller(_) => "controller",
            Self::Workload(_) => "workload",
            Self::Gateway(_) => "gateway",
        }
    }

    /// True if it may be heard on `tenant` at all.
    pub(crate) fn is_of(&self, tenant: &TenantId) -> bool {
        match self {
            Self::User(o) | Self::ServiceToken(o) => match &o.tenant {
                Some(own) => own == tenant,
                None => o.bindings.iter().any(|b| match &b.scope {
                    Scope::Installation => true,
                    Scope::Tenant(t) | Scope::Site { tenant: t, .. } => t == tenant,
                }),
            },
            Self::Device(d) => d.tenant == *tenant,
            Self::Controller(s) | Self::Gateway(s) => s.tenant == *tenant,
            Self::Workload(w) => w.tenant == *tenant,
        }
    }

    /// What bars it at `now`, if anything.
    pub(crate) fn barred(&self, now: i64) -> Option<Barred> {
        match self {
            Self::User(o) | Self::ServiceToken(o) => {
                let over = o.expires_at.is_some_and(|end| now >= end);
                o.standing.barred().or(over.then_some(Barred::Expired))
            }
            Self::Device(d) => d.barred(),
            Self::Controller(s) | Self::Gateway(s) => s.barred(),
            Self::Workload(w) => w.barred(),
        }
    }

    /// What `${variable}` stands for.
    pub(crate) fn value(&self, variable: Variable) -> Option<&str> {
        match (self, variable) {
            (Self::Device(d), Variable::DeviceId) => Some(&d.id),
            (Self::Device(d), Variable::Site) => d.site.as_deref(),
            (Self::Workload(w), Variable::Site) => Some(&w.site),
            (Self::Workload(w), Variable::Namespace) => Some(&w.namespace),
            (Self::Workload(w), Variable::ServiceAccount) => Some(&w.service_account),
            _ => None,
        }
    }

    /// Its tier of trust; `T0` for what has none.
    pub(crate) fn tier(&self) -> Tier {
        match self {
            Self::Device(d) => d.tier,
            Self::Workload(w) => w.tier,
            Self::User(_) | Self::ServiceToken(_) | Self::Controller(_) | Self::Gateway(_) => Tier::T0,
        }
    }
}

impl DeviceActor {
    /// A label as selectors see it: `id` and `site` are facts of the record, whatever the labels say.
    pub fn label(&self, key: &str) -> Option<&str> {
        device_label(&self.id, self.site.as_deref(), &self.labels, key)
    }

    fn barred(&self) -> Option<Barred> {
        if let Some(barred) = self.certificate.barred() {
            return Some(barred);
        }
        match self.state {
            DeviceState::Active if is_segment(&self.id) && self.site.as_deref().is_none_or(is_segment) => {
                None
            }
            DeviceState::Active => Some(Barred::Malformed),
            DeviceState::Pending => Some(Barred::NotActive),
            DeviceState::Suspended => Some(Barred::Quarantined),
            DeviceState::Retired | DeviceState::Scrapped => Some(Barred::Retired),
        }
    }
}

/// A device's label as selectors see it, for grants and cohorts alike.
pub fn device_label<'a>(
    id: &'a str,
    site: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    key: &str,
) -> Option<&'a str> {
    match key {
        "id" => Some(id),
        "site" => site,
        _ => labels.get(key).map(String::as_str),
    }
}

impl SiteActor {
    fn barred(&self) -> Option<Barred> {
        let named = is_segment(&self.site) && self.cluster.as_deref().is_none_or(is_segment);
        self.standing.barred().or((!named).then_some(Barred::Malformed))
    }
}

impl WorkloadActor {
    fn barred(&self) -> Option<Barred> {
        let names = [&self.site, &self.cluster, &self.namespace, &self.service_account];
        if !names.into_iter().all(|name| is_segment(name)) {
            return Some(Barred::Malformed);
        }
        let (tenant, site, cluster) = match &self.channel {
            Channel::Through(by) => match by.barred() {
                Some(barred) => return Some(barred),
                // A gateway speaks for its whole site, a controller for its cluster alone.
                None => (&by.tenant, &by.site, by.cluster.as_ref().unwrap_or(&self.cluster)),
            },
            Channel::Pinned { tenant, site, cluster } => (tenant, site, cluster),
        };
        let own = *tenant == self.tenant && *site == self.site && *cluster == self.cluster;
        (!own).then_some(Barred::ForeignChannel)
    }
}

impl Standing {
    fn barred(self) -> Option<Barred> {
        match self {
            Self::Good => None,
            Self::Revoked => Some(Barred::Revoked),
            Self::Quarantined => Some(Barred::Quarantined),
            Self::Expired => Some(Barred::Expired),
        }
    }
}
