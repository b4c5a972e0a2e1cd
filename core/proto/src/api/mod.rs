//! The operators' REST API, `/api/v1`: one file a noun, what the service answers and what it takes.

pub mod audit;
pub mod authority;
pub mod device;
pub mod enrollment;
pub mod operator;
pub mod release;
pub mod rollout;
pub mod secret;
pub mod site;
pub mod tuf;

use serde::{Deserialize, Serialize};

/// One page of a list; `next` is the cursor of the following one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
