//! The audit trail: who did what to which thing, written in the transaction that it records.
//!
//! Invariant: a row is appended through the very [`Tx`] of the change, so neither exists without the other.
//! Denials and refusals, which change nothing, have a transaction of their own ([`append_alone`]).
//! A reason never holds a secret.

use crate::tx;
pub mod http;
mod sql;

use crate::db::{Db, Error, Tx};
pub use sql::{Filter, list};

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor<'a> {
    /// An operator's service token.
    Token {
        id: &'a str,
        name: &'a str,
    },
    Device(&'a str),
    Controller(&'a str),
    /// A pod's ServiceAccount: `<site>/<cluster>/<namespace>/<name>`.
    Workload(&'a str),
    /// Whoever enrols: a claimed serial is all that is known.
    Claimed {
        serial: &'a str,
    },
    /// The service itself: first start, periodic jobs.
    Service(&'static str),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The access table said no.
    Denied,
    /// A check failed.
    Refused,
}

/// One row to be.
#[derive(Debug)]
pub struct Entry<'a> {
    pub tenant: &'a str,
    pub actor: Actor<'a>,
    /// `noun.verb`, e.g. `device.quarantine`.
    pub action: &'a str,
    /// `noun/id`, e.g. `device/dev_01...`.
    pub resource: String,
    pub outcome: Outcome,
    /// Why, or what exactly; may be empty.
    pub reason: String,
}

impl<'a> Entry<'a> {
    /// A change that is made in the same transaction.
    pub fn done(
        tenant: &'a str,
        actor: Actor<'a>,
        action: &'a str,
        resource: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            tenant,
            actor,
            action,
            resource: resource.into(),
            outcome: Outcome::Done,
            reason: reason.into(),
        }
    }

    pub fn denied(self) -> Self {
        Self { outcome: Outcome::Denied, ..self }
    }

    pub fn refused(self) -> Self {
        Self { outcome: Outcome::Refused, ..self }
    }
}

/// Appends within the transaction that `entry` records.
pub async fn append(tx: &mut Tx, entry: &Entry<'_>, now: i64) -> Result<(), Error> {
    sql::insert(tx, entry, now).await
}

/// Appends in a transaction of its own: for what changed nothing.
pub async fn append_alone(db: &Db, entry: &Entry<'_>, now: i64) -> Result<(), Error> {
    tx!(db.grouped(), "audit.append", |tx| append(tx, entry, now).await)
}

impl Actor<'_> {
    fn to_text(&self) -> String {
        match self {
            Self::Token { id, name } => format!("token/{id} ({name})"),
            Self::Device(id) => format!("device/{id}"),
            Self::Controller(site) => format!("controller/{site}"),
            Self::Workload(name) => format!("workload/{name}"),
            Self::Claimed { serial } => format!("claimed/{}", printable(serial)),
            Self::Service(job) => format!("service/{job}"),
        }
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Refused => "refused",
        }
    }
}

/// What came from outside, cut to 128 characters and without control characters.
pub fn printable(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
