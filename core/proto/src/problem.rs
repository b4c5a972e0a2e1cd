//! RFC 9457 problem documents: how a refusal is told.

use serde::{Deserialize, Serialize};

/// Media type of a problem document (RFC 9457 section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document. `type` is `urn:holdfast:problem:<code>`; `code` is stable and part of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:holdfast:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, for people, the same for every occurrence.
    pub title: String,
    /// HTTP status, as a convenience.
    pub status: u16,
    /// Stable machine word, kebab-case.
    pub code: String,
    /// What to do about it, or what exactly was wrong with this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Id of the record that holds the whole story (an enrolment attempt, a rollout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}
