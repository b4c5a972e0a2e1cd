//! Grants for devices and workloads: how one is written, and how many are found fast.
//!
//! Here: the checks when a grant is written, and an index by path and subject. Not here: the walk.
//! Invariant: a compiled policy holds one tenant's grants, each of which passed every check of writing.

use super::actor::Actor;
use super::path::{PathError, PathPattern, SecretPath, Segment, Tail, Variable};
use super::selector::{Selector, SelectorError};
use crate::limits::{GRANT_VERSIONS_MAX, GRANTS_MAX};
use holdfast_proto::api::secret::{Constraints, Effect, ProposeGrant, Subject};
use holdfast_proto::id::is_segment;
use holdfast_proto::{GrantId, TenantId};
use std::collections::BTreeMap;

/// What a grant lets one do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Read,
    Watch,
    Issue,
}

/// A grant that passed every check of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub(crate) id: GrantId,
    pub(crate) effect: Effect,
    pub(crate) subject: GrantSubject,
    pub(crate) resource: PathPattern,
    pub(crate) verbs: Vec<Verb>,
    pub(crate) constraints: Constraints,
}

/// Whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantSubject {
    Device(Selector),
    Workload(WorkloadKey),
}

/// A workload's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkloadKey {
    pub(crate) site: String,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
}

/// Why a proposal is refused when it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("the resource is no path pattern")]
    Resource(#[source] PathError),
    #[error("the selector does not parse")]
    Selector(#[source] SelectorError),
    #[error("{field} `{text}` of the workload is not 1 to 128 of [a-z0-9._-]")]
    WorkloadName { field: &'static str, text: String },
    #[error("`${{{}}}` has no meaning for a {subject}", .variable.name())]
    VariableWithoutMeaning { variable: Variable, subject: &'static str },
    #[error("`{verb}` is not one of read, watch, issue")]
    UnknownVerb { verb: String },
    #[error("a grant names each of its verbs once, and at least one")]
    Verbs,
    #[error("a deny carries no constraints: it holds always")]
    DenyWithConstraints,
    #[error("not_before {not_before} is not before not_after {not_after}: it would never hold")]
    NeverHolds { not_before: i64, not_after: i64 },
    #[error("versions holds {count} entries, 1 to {GRANT_VERSIONS_MAX} are allowed")]
    Versions { count: usize },
}

/// Why a policy does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{count} grants, at most {GRANTS_MAX} are allowed in one tenant")]
    TooMany { count: usize },
    #[error("grant {id} stands twice")]
    Twice { id: GrantId },
}

/// One tenant's grants, indexed.
#[derive(Debug, Clone)]
pub struct Compiled {
    tenant: TenantId,
    grants: Vec<Grant>,
    denies: Node,
    allows: Node,
}

/// A node of the index: what hangs below one segment of the patterns.
#[derive(Debug, Clone, Default)]
struct Node {
    literal: BTreeMap<String, Node>,
    /// `*` and segments with variables.
    other: Vec<(Segment, Node)>,
    /// Patterns that end here.
    exact: Bucket,
    /// Patterns that end in `**` here.
    below: Bucket,
}

/// Grants (by place in `Compiled::grants`) of one pattern, by subject.
#[derive(Debug, Clone, Default)]
struct Bucket {
    workloads: BTreeMap<WorkloadKey, Vec<u32>>,
    /// Device grants whose selector demands this label.
    labelled: BTreeMap<String, BTreeMap<String, Vec<u32>>>,
    /// Device grants whose selector demands no one label.
    any_device: Vec<u32>,
}

impl Verb {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Watch => "watch",
            Self::Issue => "issue",
        }
    }

    /// Reads its word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Watch, Self::Issue].into_iter().find(|verb| verb.as_str() == text)
    }
}

impl Grant {
    /// Checks a proposal as it is written.
    pub fn parse(id: GrantId, proposal: &ProposeGrant) -> Result<Self, GrantError> {
        let resource = PathPattern::parse(&proposal.resource).map_err(GrantError::Resource)?;
        let subject = GrantSubject::parse(&proposal.subject)?;
        if let Some(variable) = resource.variables().find(|v| !subject.knows(*v)) {
            return Err(GrantError::VariableWithoutMeaning { variable, subject: subject.kind() });
        }
        let verbs = parse_verbs(&proposal.verbs)?;
        check_constraints(proposal.effect, &proposal.constraints)?;
        Ok(Self {
            id,
            effect: proposal.effect,
            subject,
            resource,
            verbs,
            constraints: proposal.constraints.clone(),
        })
    }

    /// Its id.
    pub fn id(&self) -> &GrantId {
        &self.id
    }

    /// True if it speaks of this actor.
    pub(crate) fn is_for(&self, actor: &Actor) -> bool {
        match (&self.subject, actor) {
            (GrantSubject::Device(selector), Actor::Device(device)) => {
                selector.matches(|key| device.label(key))
            }
            (GrantSubject::Workload(key), Actor::Workload(_)) => WorkloadKey::of(actor).as_ref() == Some(key),
            _ => false,
        }
    }

    /// True if it speaks of this path and verb, for this actor's names.
    pub(crate) fn is_over(&self, path: &SecretPath, verb: Verb, actor: &Actor) -> bool {
        self.verbs.contains(&verb) && self.resource.matches(path, |variable| actor.value(variable))
    }
}

fn parse_verbs(words: &[String]) -> Result<Vec<Verb>, GrantError> {
    let mut verbs = Vec::new();
    for word in words {
        match Verb::parse(word) {
            None => return Err(GrantError::UnknownVerb { verb: word.escape_default().to_string() }),
            Some(verb) if verbs.contains(&verb) => return Err(GrantError::Verbs),
            Some(verb) => verbs.push(verb),
        }
    }
    if verbs.is_empty() { Err(GrantError::Verbs) } else { Ok(verbs) }
}

fn check_constraints(effect: Effect, constraints: &Constraints) -> Result<(), GrantError> {
    if effect == Effect::Deny && *constraints != Constraints::default() {
        return Err(GrantError::DenyWithConstraints);
    }
    if let (Some(not_before), Some(not_after)) = (constraints.not_before, constraints.not_after)
        && not_before >= not_after
    {
        return Err(GrantError::NeverHolds { not_before, not_after });
    }
    match constraints.versions.as_ref().map(Vec::len) {
        Some(count) if count == 0 || count > GRANT_VERSIONS_MAX => Err(GrantError::Versions { count }),
        _ => Ok(()),
    }
}

impl GrantSubject {
    fn parse(subject: &Subject) -> Result<Self, GrantError> {
        let (site, cluster, namespace, service_account) = match subject {
            Subject::Device { selector } => {
                return Selector::parse(selector).map(Self::Device).map_err(GrantError::Selector);
            }
            Subject::Workload { site, cluster, namespace, service_account } => {
                (site, cluster, namespace, service_account)
            }
        };
        for (field, text) in [
            ("site", site),
            ("cluster", cluster),
            ("namespace", namespace),
            ("service account", service_account),
        ] {
            if !is_segment(text) {
                return Err(GrantError::WorkloadName { field, text: text.escape_default().to_string() });
            }
        }
        Ok(Self::Workload(WorkloadKey {
            site: site.clone(),
            cluster: cluster.clone(),
            namespace: namespace.clone(),
            service_account: service_account.clone(),
        }))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Workload(_) => "workload",
        }
    }

    fn knows(&self, variable: Variable) -> bool {
        match variable {
            Variable::Site => true,
            Variable::DeviceId => matches!(self, Self::Device(_)),
            Variable::Namespace | Variable::ServiceAccount => matches!(self, Self::Workload(_)),
        }
    }
}

impl WorkloadKey {
    fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Workload(w) => Some(Self {
                site: w.site.clone(),
                cluster: w.cluster.clone(),
                namespace: w.namespace.clone(),
                service_account: w.service_account.clone(),
            }),
            _ => None,
        }
    }
}

impl Compiled {
    /// Indexes the active grants of one tenant.
    pub fn new(tenant: TenantId, mut grants: Vec<Grant>) -> Result<Self, CompileError> {
        if grants.len() > GRANTS_MAX {
            return Err(CompileError::TooMany { count: grants.len() });
        }
        grants.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) =
            grants.windows(2).find(|pair| pair.first().map(Grant::id) == pair.last().map(Grant::id))
        {
            // Unwrap safety: windows(2) yields pairs.
            return Err(CompileError::Twice { id: pair[0].id.clone() });
        }
        let (mut denies, mut allows) = (Node::default(), Node::default());
        for (place, grant) in (0u32..).zip(&grants) {
            let root = if grant.effect == Effect::Deny { &mut denies } else { &mut allows };
            root.bucket(&grant.resource).insert(&grant.subject, place);
        }
        Ok(Self { tenant, grants, denies, allows })
    }

    /// A tenant's policy without any grant.
    pub fn empty(tenant: TenantId) -> Self {
        Self { tenant, grants: Vec::new(), denies: Node::default(), allows: Node::default() }
    }

    /// Whose grants these are.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// All grants, by id.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// How many grants a decision looks at after the index: what makes it fast, so a test may hold it.
    pub fn candidates(&self, actor: &Actor, path: &SecretPath) -> usize {
        [Effect::Deny, Effect::Allow].into_iter().map(|effect| self.find(effect, actor, path).len()).sum()
    }

    /// The grants of `effect` that may speak of this actor and path, by id.
    pub(crate) fn find(&self, effect: Effect, actor: &Actor, path: &SecretPath) -> Vec<&Grant> {
        let root = if effect == Effect::Deny { &self.denies } else { &self.allows };
        let segments: Vec<_> = path.segments().collect();
        let mut places = Vec::new();
        root.collect(&segments, actor, WorkloadKey::of(actor).as_ref(), &mut places);
        places.sort_unstable();
        places.into_iter().filter_map(|place| self.grants.get(place as usize)).collect()
    }
}

impl Node {
    fn bucket(&mut self, pattern: &PathPattern) -> &mut Bucket {
        let mut node = self;
        for segment in &pattern.segments {
            node = node.child(segment);
        }
        match pattern.tail {
            Tail::Exact => &mut node.exact,
            Tail::Below => &mut node.below,
        }
    }

    fn child(&mut self, segment: &Segment) -> &mut Self {
        if let Segment::Literal(text) = segment {
            return self.literal.entry(text.clone()).or_default();
        }
        let at = self.other.iter().position(|(s, _)| s == segment).unwrap_or_else(|| {
            self.other.push((segment.clone(), Self::default()));
            self.other.len() - 1
        });
        // Unwrap safety: `at` was just found or pushed.
        &mut self.other[at].1
    }

    fn collect(&self, rest: &[&str], actor: &Actor, workload: Option<&WorkloadKey>, places: &mut Vec<u32>) {
        let Some((first, after)) = rest.split_first() else {
            self.exact.collect(actor, workload, places);
            return;
        };
        self.below.collect(actor, workload, places);
        if let Some(node) = self.literal.get(*first) {
            node.collect(after, actor, workload, places);
        }
        for (segment, node) in &self.other {
            if segment.matches(first, &|variable| actor.value(variable)) {
                node.collect(after, actor, workload, places);
            }
        }
    }
}

impl Bucket {
    fn insert(&mut self, subject: &GrantSubject, place: u32) {
        match subject {
            GrantSubject::Workload(key) => self.workloads.entry(key.clone()).or_default().push(place),
            GrantSubject::Device(selector) => match selector.required_label() {
                Some((key, value)) => {
                    let values = self.labelled.entry(key.to_owned()).or_default();
                    values.entry(value.to_owned()).or_default().push(place);
                }
                None => self.any_device.push(place),
            },
        }
    }

    fn collect(&self, actor: &Actor, workload: Option<&WorkloadKey>, places: &mut Vec<u32>) {
        if let Some(found) = workload.and_then(|key| self.workloads.get(key)) {
            places.extend(found);
        }
        if let Actor::Device(device) = actor {
            places.extend(&self.any_device);
            for (key, values) in &self.labelled {
                let found = device.label(key).and_then(|value| values.get(value));
                places.extend(found.into_iter().flatten());
            }
        }
    }
}
