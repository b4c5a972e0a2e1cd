//! The audit trail.

use serde::{Deserialize, Serialize};

/// One row of `GET /api/v1/audit`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRow {
    /// Rises with each row; also the cursor.
    pub seq: i64,
    /// Unix seconds.
    pub at: i64,
    /// `token/<id> (<name>)`, `device/<id>`, `controller/<site>`, `claimed/<serial>`, `service/<job>`.
    pub actor: String,
    /// `noun.verb`.
    pub action: String,
    /// `noun/id`.
    pub resource: String,
    /// `done`, `denied`, `refused`.
    pub outcome: String,
    pub reason: String,
}
