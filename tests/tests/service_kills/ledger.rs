//! What the callers were told, and what they do not know: the service is held against it at the end.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that was acknowledged, and everything whose answer was lost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By serial number.
    pub(crate) claims: BTreeMap<String, Claim>,
    /// By path.
    pub(crate) secrets: BTreeMap<String, Versions>,
    /// By resource: each proposal has one of its own.
    pub(crate) grants: BTreeMap<String, Grant>,
    /// By id.
    pub(crate) rollouts: BTreeMap<String, Rollout>,
    /// Drafts whose answer was lost, by selector: each draft has one of its own.
    pub(crate) drafts_lost: BTreeSet<String>,
    /// By serial number of the device.
    pub(crate) enrolled: BTreeMap<String, Enrolled>,
    /// What devices were assigned: by device, epoch and sequence, the rollout.
    pub(crate) served: BTreeMap<(String, u64, u64), BTreeSet<String>>,
    /// Requests acknowledged and lost.
    pub(crate) acknowledged: u32,
    pub(crate) lost: u32,
}

impl Ledger {
    /// Whether every kind of write was acknowledged, and a device was assigned something.
    pub(crate) fn is_rich(&self) -> bool {
        let orders = self.rollouts.values().flat_map(|rollout| rollout.orders.iter());
        let ordered: BTreeSet<&str> =
            orders.filter(|(_, known)| **known == Known::Acknowledged).map(|(order, _)| *order).collect();
        self.claims.values().any(|claim| claim.relabelled > 0)
            && self.secrets.values().any(|versions| versions.acknowledged.len() > 1)
            && self.grants.values().any(|grant| grant.approved == Known::Acknowledged)
            && ["start", "cancel"].iter().all(|order| ordered.contains(order))
            && self.enrolled.len() > 1
            && !self.served.is_empty()
    }
}

/// A claim of a device.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// Its id, once acknowledged; each acknowledgement must tell the same.
    pub(crate) ids: BTreeSet<String>,
    /// The label `turn` as last acknowledged; those of lost answers since then.
    pub(crate) turn: Option<u64>,
    pub(crate) turns_lost: BTreeSet<u64>,
    /// Every change of labels that was acknowledged.
    pub(crate) relabelled: usize,
}

/// The versions of a secret.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    pub(crate) acknowledged: BTreeMap<u64, String>,
    /// Values whose answer was lost: each became one version, or none.
    pub(crate) lost: BTreeSet<String>,
}

/// A proposal.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    /// None: the answer to the proposal was lost.
    pub(crate) id: Option<String>,
    pub(crate) approved: Known,
}

/// A rollout and the orders given to it.
#[derive(Debug, Default)]
pub(crate) struct Rollout {
    pub(crate) selector: String,
    pub(crate) orders: BTreeMap<&'static str, Known>,
}

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Known {
    /// It was not asked for, or was refused.
    #[default]
    No,
    Acknowledged,
    Lost,
}

/// A device that enrolled.
#[derive(Debug, Default)]
pub(crate) struct Enrolled {
    pub(crate) id: String,
    /// Serials of the certificates that it took, in order.
    pub(crate) certificates: Vec<String>,
    /// Recoveries that ended without an answer: each brought one certificate more, or none.
    pub(crate) recoveries_lost: usize,
}
