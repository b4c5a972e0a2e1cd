//! Secrets, grants, and questions about access.

use crate::api::device::Tier;
use crate::{Bytes, GrantId};
use serde::{Deserialize, Serialize};

/// `PUT /api/v1/secrets/{path}`: a new version. No Debug of the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    pub value: Bytes,
    /// Default `application/octet-stream`; `application/json` objects have properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl std::fmt::Debug for PutSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutSecret").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// What an operator sees of a secret: never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Secret {
    pub path: String,
    pub current_version: u64,
    pub content_type: String,
    /// Bytes.
    pub length: u64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// `GET /v1/secret/{path}` by a device, and the answer to a workload's read. No Debug of the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretValue {
    pub path: String,
    pub version: u64,
    pub content_type: String,
    pub value: Bytes,
    /// Seconds that it may be kept, and kept while the service is away; none: policy sets no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_offline_s: Option<u64>,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretValue")
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/site/secret`: the controller reads for a workload, with that workload's token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReadForWorkload {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The ServiceAccount token (TokenRequest, audience `holdfast://<tenant>/<site>`).
    pub token: String,
}

impl std::fmt::Debug for ReadForWorkload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadForWorkload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Allow,
    Deny,
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Subject {
    /// Kubernetes label selector over devices; `id=<device>` names one.
    Device {
        selector: String,
    },
    Workload {
        site: String,
        cluster: String,
        namespace: String,
        service_account: String,
    },
}

/// `POST /api/v1/grants`: proposes a grant; it takes effect when another approves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProposeGrant {
    pub effect: Effect,
    pub subject: Subject,
    /// Path pattern: `*` one segment, `**` only last, `${site}` and the like within a segment.
    pub resource: String,
    /// Of `read`, `watch`, `issue`.
    pub verbs: Vec<String>,
    #[serde(default)]
    pub constraints: Constraints,
}

/// What an allow demands and limits; a deny carries none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tier: Option<Tier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_offline_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<i64>,
}

/// A grant, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grant {
    pub id: GrantId,
    #[serde(flatten)]
    pub proposal: ProposeGrant,
    /// `proposed`, `active`, `withdrawn`.
    pub state: String,
    pub proposed_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    pub created_at: i64,
    pub version: i64,
}

/// `POST /api/v1/access/explain`: may this subject do this, and why?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub subject: ExplainSubject,
    pub path: String,
    pub verb: String,
}

/// About whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExplainSubject {
    Device { id: String },
    Workload { site: String, cluster: String, namespace: String, service_account: String },
}

/// A decision and the walk that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explained {
    pub allow: bool,
    pub reason: String,
    pub matched: Vec<String>,
    /// One line a step, in the order of the walk.
    pub walk: Vec<String>,
}
