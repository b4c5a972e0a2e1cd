//! How the service says no: one kind, one stable code, one sentence for the peer, and the cause for the log.
//!
//! Not here: HTTP status codes (`http::problem`). The peer learns kind, code and detail; `source` never
//! leaves the log.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// What kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read, or breaks a rule of form.
    Invalid,
    /// Nobody we know is asking.
    Unauthenticated,
    /// We know who asks, and he may not.
    Forbidden,
    /// There is none, or it belongs to another tenant.
    NotFound,
    /// The route has no such method.
    MethodNotAllowed,
    /// It stands against what is already so.
    Conflict,
    /// If-Match named a version that is not the current one.
    Precondition,
    /// Longer than the cap.
    TooLarge,
    /// The range that was asked for lies outside of what there is.
    RangeNotSatisfiable,
    /// Too often.
    TooMany,
    /// The keyring is sealed: secrets cannot be served now.
    Sealed,
    /// Not now; try again.
    Unavailable,
    /// Our fault. The peer learns no more than that.
    Internal,
}

/// A refusal on its way to the peer.
#[derive(Debug)]
pub struct Refusal {
    pub kind: Kind,
    /// Stable, kebab-case, part of the API.
    pub code: Cow<'static, str>,
    /// What exactly, and what to do about it.
    pub detail: String,
    /// Id of the record that holds the whole story.
    pub record: Option<String>,
    /// For `TooMany` and `Unavailable`: when to come again.
    pub retry_after_s: Option<u32>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            detail: detail.into(),
            record: None,
            retry_after_s: None,
            source: None,
        }
    }

    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, detail)
    }

    pub fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, code, detail)
    }

    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, code, detail)
    }

    /// `what` as in "no device `dev_1`".
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, "not-found", format!("there is no {what}"))
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// The row is at `current`, the request expected another version.
    pub fn precondition(current: i64) -> Self {
        Self::new(
            Kind::Precondition,
            "version-mismatch",
            format!("the record is at version {current}: read it again, then send that version in If-Match"),
        )
    }

    /// Our fault; `source` goes to the log.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "internal", "the service failed; its log has the cause").because(source)
    }

    /// Names the record that holds the story.
    pub fn on_record(mut self, id: impl Into<String>) -> Self {
        self.record = Some(id.into());
        self
    }

    /// Keeps the cause for the log.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The causes, outermost first, for the log.
    pub fn chain(&self) -> String {
        let mut text = format!("{}: {}", self.code, self.detail);
        let mut next: Option<&dyn Error> = self.source.as_deref().map(|e| e as &dyn Error);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }

    /// The cause, if it is of this type.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        self.source.as_deref()?.downcast_ref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl From<crate::db::Error> for Refusal {
    fn from(error: crate::db::Error) -> Self {
        if error.is_busy() {
            Self::new(Kind::Unavailable, "database-busy", "the database is busy; try again in a moment")
                .retry_after(2)
                .because(error)
        } else {
            Self::internal(error)
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        crate::db::Error::from(error).into()
    }
}

impl crate::db::Retryable for Refusal {
    fn is_retryable(&self) -> bool {
        self.cause::<crate::db::Error>().is_some_and(crate::db::Error::is_busy)
    }
}
