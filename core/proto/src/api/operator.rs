//! Operators' service tokens.

use serde::{Deserialize, Serialize};

/// `POST /api/v1/tokens`: a new service token. Nobody hands out a role that he does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// For people: who or what carries it.
    pub name: String,
    /// Of `viewer`, `operator`, `release-manager`, `secret-writer`, `grant-admin`, `grant-approver`, `auditor`,
    /// `tenant-admin`, `installation-admin`, `key-custodian`.
    pub roles: Vec<String>,
    /// Seconds; at most a year.
    pub ttl_s: u64,
    /// Site that it is confined to; none: the whole tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// Its answer: the only time that the token itself is shown. No Debug of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// `hf_` and 64 hex digits; send as `Authorization: Bearer`.
    pub token: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A token, as `GET /api/v1/tokens` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenInfo {
    pub id: String,
    pub name: String,
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    pub created_by: String,
    pub created_at: i64,
    pub expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}
