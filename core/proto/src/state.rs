//! `GET /v1/state`: what the service wants of a device. At most 4 KiB; a 304 at most 300 B.

use crate::Bytes;
use serde::{Deserialize, Serialize};

/// Header with the attestation nonce (base64, 32 bytes): outside the ETag, so that a poll stays a 304.
pub const NONCE_HEADER: &str = "holdfast-nonce";
/// Cap of the body, bytes.
pub const STATE_MAX_BYTES: usize = 4096;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StateAnswer {
    /// The signed assignment envelope, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Bytes>,
    /// The newest timestamp.json, raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Bytes>,
    /// Seconds until the next poll is welcome.
    pub poll_after_s: u32,
}
