//! What operators' roles may do: the whole table, and who may hand a role on.
//!
//! Here: roles, resources, actions, scopes. Not here: reading a secret's value, which no role may.
//! Invariant: nobody binds a role, scope or token that he does not hold; nobody approves what he proposed.

use super::actor::{Actor, Operator};
use super::{Decision, Request, Target, allow};
use crate::access::policy::Compiled;
use crate::limits::BINDINGS_MAX;
use holdfast_proto::TenantId;
use holdfast_proto::api::secret::Effect;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads its stable word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// An operator's role.
    Role {
        Viewer = "viewer",
        /// Enrols, quarantines, starts and pauses rollouts.
        Operator = "operator",
        /// Proposes a rollout; cannot sign.
        ReleaseManager = "release-manager",
        /// Writes and rotates; cannot read back.
        SecretWriter = "secret-writer",
        /// Proposes grants; cannot read.
        GrantAdmin = "grant-admin",
        GrantApprover = "grant-approver",
        Auditor = "auditor",
        /// Holds viewer, operator, release-manager and auditor in its tenant; none that touches secrets.
        TenantAdmin = "tenant-admin",
        /// Holds tenant-admin everywhere; none that touches secrets or keys.
        InstallationAdmin = "installation-admin",
        KeyCustodian = "key-custodian",
    }
}

words! {
    /// A noun of the operators' API.
    Resource {
        Devices = "devices",
        Enrollments = "enrollments",
        Releases = "releases",
        Artifacts = "artifacts",
        Deltas = "deltas",
        Cohorts = "cohorts",
        Rollouts = "rollouts",
        Assignments = "assignments",
        Secrets = "secrets",
        Grants = "grants",
        Certificates = "certificates",
        Authorities = "authorities",
        Sites = "sites",
        Operators = "operators",
        Tokens = "tokens",
        Audit = "audit",
        Tuf = "tuf",
        Events = "events",
    }
}

words! {
    /// What is done to a noun.
    Action {
        /// List and show; of secrets, never the value.
        Read = "read",
        /// Register, draft, propose, upload, mint.
        Create = "create",
        /// Labels, thresholds, a secret's next version, a site's tokens.
        Update = "update",
        Delete = "delete",
        Approve = "approve",
        Quarantine = "quarantine",
        /// Lifts a quarantine.
        Release = "release",
        Retire = "retire",
        Scrap = "scrap",
        Start = "start",
        Pause = "pause",
        Resume = "resume",
        Rollback = "rollback",
        Cancel = "cancel",
        Withdraw = "withdraw",
        Rotate = "rotate",
        Revoke = "revoke",
        Publish = "publish",
        Explain = "explain",
        Verify = "verify",
        /// A secret's value as a person: no role has it.
        ReadValue = "read-value",
    }
}

/// How far a binding reaches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Installation,
    Tenant(TenantId),
    Site { tenant: TenantId, site: String },
}

/// A role at a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    pub role: Role,
    pub scope: Scope,
}

/// Who approves grants: two persons, or (single-operator installations, said by every audit row) the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approvals {
    TwoPersons,
    AuthorToo,
}

/// Why a binding, token, approval or withdrawal is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    #[error("{0}")]
    NotAllowed(String),
    #[error("{role} at {scope:?} is not held by who hands it on")]
    NotHeld { role: Role, scope: Scope },
    #[error("the token would end at {wanted:?}, after its maker's own end at {own}")]
    Outlives { wanted: Option<i64>, own: i64 },
    #[error("a token has 1 to {BINDINGS_MAX} bindings, not {count}")]
    BindingCount { count: usize },
    #[error("{principal} proposed this, another must approve it")]
    OwnProposal { principal: String },
}

/// How a grant goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// At once.
    Now,
    /// Taking a deny away widens: it is noted as proposed, and another approves.
    NeedsAnother,
}

use Action as A;
use Resource as R;
use Role as O;

/// Everyone who may look at the fleet.
const EYES: &[Role] =
    &[O::Viewer, O::Operator, O::ReleaseManager, O::GrantAdmin, O::GrantApprover, O::Auditor];
/// As above, and who keeps keys.
const EYES_AND_KEYS: &[Role] = &[
    O::Viewer,
    O::Operator,
    O::ReleaseManager,
    O::GrantAdmin,
    O::GrantApprover,
    O::Auditor,
    O::KeyCustodian,
];
/// Who may see that a secret exists.
const SECRET_EYES: &[Role] =
    &[O::Viewer, O::Operator, O::SecretWriter, O::GrantAdmin, O::GrantApprover, O::Auditor];
const ADMINS: &[Role] = &[O::TenantAdmin, O::InstallationAdmin];
const ADMIN_EYES: &[Role] = &[O::TenantAdmin, O::InstallationAdmin, O::Auditor];

/// The whole table. What does not stand here is allowed to nobody.
pub const TABLE: &[(Resource, Action, &[Role])] = &[
    (R::Devices, A::Read, EYES),
    (R::Devices, A::Create, &[O::Operator]),
    (R::Devices, A::Update, &[O::Operator]),
    (R::Devices, A::Approve, &[O::Operator]),
    (R::Devices, A::Quarantine, &[O::Operator]),
    (R::Devices, A::Release, &[O::Operator]),
    (R::Devices, A::Retire, &[O::Operator]),
    (R::Devices, A::Scrap, &[O::TenantAdmin]),
    (R::Enrollments, A::Read, EYES),
    (R::Enrollments, A::Approve, &[O::Operator]),
    (R::Enrollments, A::Delete, &[O::Operator]),
    (R::Releases, A::Read, EYES),
    (R::Releases, A::Create, &[O::ReleaseManager]),
    (R::Artifacts, A::Read, EYES),
    (R::Artifacts, A::Create, &[O::ReleaseManager]),
    (R::Deltas, A::Read, EYES),
    (R::Deltas, A::Create, &[O::ReleaseManager]),
    (R::Deltas, A::Withdraw, &[O::ReleaseManager, O::Operator]),
    (R::Cohorts, A::Read, EYES),
    (R::Cohorts, A::Create, &[O::ReleaseManager, O::Operator]),
    (R::Cohorts, A::Update, &[O::ReleaseManager, O::Operator]),
    (R::Cohorts, A::Delete, &[O::ReleaseManager, O::Operator]),
    (R::Rollouts, A::Read, EYES),
    (R::Rollouts, A::Create, &[O::ReleaseManager]),
    (R::Rollouts, A::Update, &[O::ReleaseManager]),
    (R::Rollouts, A::Approve, &[O::Operator]),
    (R::Rollouts, A::Start, &[O::Operator]),
    // Stopping is safe: whoever proposed it may stop it too.
    (R::Rollouts, A::Pause, &[O::Operator, O::ReleaseManager]),
    (R::Rollouts, A::Resume, &[O::Operator]),
    (R::Rollouts, A::Rollback, &[O::Operator]),
    (R::Rollouts, A::Cancel, &[O::Operator, O::ReleaseManager]),
    (R::Assignments, A::Read, EYES),
    (R::Assignments, A::Approve, &[O::Operator]),
    (R::Secrets, A::Read, SECRET_EYES),
    (R::Secrets, A::Create, &[O::SecretWriter]),
    (R::Secrets, A::Update, &[O::SecretWriter]),
    (R::Secrets, A::Rotate, &[O::SecretWriter]),
    (R::Secrets, A::Delete, &[O::SecretWriter]),
    (R::Secrets, A::ReadValue, &[]),
    (R::Grants, A::Read, SECRET_EYES),
    (R::Grants, A::Create, &[O::GrantAdmin]),
    (R::Grants, A::Approve, &[O::GrantApprover]),
    (R::Grants, A::Withdraw, &[O::GrantAdmin, O::GrantApprover]),
    (R::Grants, A::Explain, SECRET_EYES),
    (R::Certificates, A::Read, EYES_AND_KEYS),
    (R::Certificates, A::Revoke, &[O::Operator, O::KeyCustodian]),
    (R::Authorities, A::Read, EYES_AND_KEYS),
    (R::Authorities, A::Create, &[O::KeyCustodian, O::InstallationAdmin]),
    (R::Authorities, A::Delete, &[O::KeyCustodian, O::InstallationAdmin]),
    (R::Authorities, A::Rotate, &[O::KeyCustodian]),
    (R::Sites, A::Read, EYES),
    (R::Sites, A::Create, &[O::TenantAdmin]),
    (R::Sites, A::Update, &[O::TenantAdmin]),
    (R::Sites, A::Delete, &[O::TenantAdmin]),
    (R::Operators, A::Read, ADMIN_EYES),
    (R::Operators, A::Create, ADMINS),
    (R::Operators, A::Update, ADMINS),
    (R::Operators, A::Delete, ADMINS),
    (R::Tokens, A::Read, ADMIN_EYES),
    (R::Tokens, A::Create, ADMINS),
    (R::Tokens, A::Revoke, ADMINS),
    (R::Audit, A::Read, &[O::Auditor]),
    (R::Audit, A::Verify, &[O::Auditor]),
    (R::Tuf, A::Read, EYES_AND_KEYS),
    (R::Tuf, A::Publish, &[O::ReleaseManager, O::KeyCustodian]),
    (R::Tuf, A::Rotate, &[O::KeyCustodian]),
    (R::Events, A::Read, EYES),
];

impl Role {
    /// True if who holds this role holds `other` too.
    pub fn holds(self, other: Self) -> bool {
        let more: &[Self] = match self {
            O::TenantAdmin => &[O::Viewer, O::Operator, O::ReleaseManager, O::Auditor],
            O::InstallationAdmin => &[O::TenantAdmin, O::Viewer, O::Operator, O::ReleaseManager, O::Auditor],
            _ => &[],
        };
        self == other || more.contains(&other)
    }

    /// True if the table gives this role, or one that it holds, `action` on `resource`.
    pub fn may(self, resource: Resource, action: Action) -> bool {
        TABLE
            .iter()
            .any(|(r, a, roles)| *r == resource && *a == action && roles.iter().any(|role| self.holds(*role)))
    }
}

impl Scope {
    /// True if everything within `other` lies within this scope.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Installation, _) => true,
            (Self::Tenant(own), Self::Tenant(t) | Self::Site { tenant: t, .. }) => own == t,
            (Self::Site { .. }, Self::Site { .. }) => self == other,
            (Self::Tenant(_) | Self::Site { .. }, _) => false,
        }
    }

    /// True if it reaches a thing of `tenant`, at `site` if the thing hangs below one.
    pub fn reaches(&self, tenant: &TenantId, site: Option<&str>) -> bool {
        match self {
            Self::Installation => true,
            Self::Tenant(own) => own == tenant,
            Self::Site { tenant: own, site: at } => own == tenant && site == Some(at.as_str()),
        }
    }
}

impl Operator {
    /// The role by which it may do `action` there, if one does.
    pub fn role_for(
        &self,
        resource: Resource,
        action: Action,
        tenant: &TenantId,
        site: Option<&str>,
    ) -> Option<Role> {
        let mut bindings = self.bindings.iter();
        bindings.find(|b| b.scope.reaches(tenant, site) && b.role.may(resource, action)).map(|b| b.role)
    }

    fn holds(&self, wanted: &Binding) -> bool {
        self.bindings.iter().any(|b| b.role.holds(wanted.role) && b.scope.covers(&wanted.scope))
    }
}

/// May `actor` bind these roles to another operator of `tenant`?
pub fn may_bind(
    policy: &Compiled,
    actor: &Actor,
    tenant: &TenantId,
    wanted: &[Binding],
    now: i64,
) -> Result<(), DelegationError> {
    hand_on(policy, actor, tenant, R::Operators, wanted, now).map(|_| ())
}

/// May `actor` mint a token with these bindings, ending at `expires_at`?
pub fn may_mint(
    policy: &Compiled,
    actor: &Actor,
    tenant: &TenantId,
    wanted: &[Binding],
    expires_at: Option<i64>,
    now: i64,
) -> Result<(), DelegationError> {
    let operator = hand_on(policy, actor, tenant, R::Tokens, wanted, now)?;
    match operator.expires_at {
        Some(own) if expires_at.is_none_or(|end| end > own) => {
            Err(DelegationError::Outlives { wanted: expires_at, own })
        }
        _ => Ok(()),
    }
}

/// May `actor` approve what `proposed_by` (a principal) proposed?
pub fn may_approve_grant(
    policy: &Compiled,
    actor: &Actor,
    tenant: &TenantId,
    proposed_by: &str,
    approvals: Approvals,
    now: i64,
) -> Result<(), DelegationError> {
    let operator = permitted(policy, actor, tenant, (R::Grants, A::Approve), None, now)?;
    if operator.principal == proposed_by && approvals == Approvals::TwoPersons {
        return Err(DelegationError::OwnProposal { principal: operator.principal.clone() });
    }
    Ok(())
}

/// May `actor` withdraw a grant, and does it take effect at once? Withdrawing an allow narrows; withdrawing a
/// deny widens and takes two: `proposed_by` is who proposed the withdrawal before, if anyone did.
pub fn may_withdraw_grant(
    policy: &Compiled,
    actor: &Actor,
    tenant: &TenantId,
    effect: Effect,
    proposed_by: Option<&str>,
    approvals: Approvals,
    now: i64,
) -> Result<Withdrawal, DelegationError> {
    match (effect, proposed_by) {
        (Effect::Allow, _) => {
            permitted(policy, actor, tenant, (R::Grants, A::Withdraw), None, now).map(|_| Withdrawal::Now)
        }
        (Effect::Deny, None) => permitted(policy, actor, tenant, (R::Grants, A::Create), None, now)
            .map(|_| Withdrawal::NeedsAnother),
        (Effect::Deny, Some(author)) => {
            may_approve_grant(policy, actor, tenant, author, approvals, now).map(|()| Withdrawal::Now)
        }
    }
}

fn hand_on<'a>(
    policy: &Compiled,
    actor: &'a Actor,
    tenant: &TenantId,
    resource: Resource,
    wanted: &[Binding],
    now: i64,
) -> Result<&'a Operator, DelegationError> {
    let first = match wanted {
        [first, ..] if wanted.len() <= BINDINGS_MAX => first,
        _ => return Err(DelegationError::BindingCount { count: wanted.len() }),
    };
    // Who is bound at one site hands on there, and only there.
    let site = match &first.scope {
        Scope::Site { site, .. } if wanted.iter().all(|b| b.scope == first.scope) => Some(site.as_str()),
        _ => None,
    };
    let operator = permitted(policy, actor, tenant, (resource, A::Create), site, now)?;
    // An operator of a tenant hands nothing on beyond it, whatever his own bindings say.
    let beyond = |b: &&Binding| operator.tenant.is_some() && !Scope::Tenant(tenant.clone()).covers(&b.scope);
    match wanted.iter().find(|b| !operator.holds(b) || beyond(b)) {
        Some(b) => Err(DelegationError::NotHeld { role: b.role, scope: b.scope.clone() }),
        None => Ok(operator),
    }
}

fn permitted<'a>(
    policy: &Compiled,
    actor: &'a Actor,
    tenant: &TenantId,
    (resource, action): (Resource, Action),
    site: Option<&str>,
    now: i64,
) -> Result<&'a Operator, DelegationError> {
    let request = Request { actor, tenant, target: Target::Operate { resource, action, site } };
    let Decision { allow, reason, .. } = allow(policy, &request, now);
    match actor.operator() {
        Some(operator) if allow => Ok(operator),
        _ => Err(DelegationError::NotAllowed(reason.to_string())),
    }
}
