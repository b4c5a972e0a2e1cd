//! What may be done with enrolments, one name each; the parts stand in the files beside this one.

pub use super::attempts::{approve, evidence_of_device, list, refuse, show};
pub use super::believed::{Believed, EkTrustCache, QUOTED_PCRS, anchors, policy};
pub use super::issue::acknowledge;
pub use super::prove::{Answered, prove};
pub use super::start::start;

use crate::http::auth::Device;
use crate::refusal::{Kind, Refusal};
use holdfast_proto::api::enrollment::EnrollmentPurpose;
use holdfast_trust::attest::Reason;

/// Through which door a message came, and on what.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    pub purpose: EnrollmentPurpose,
    /// For a renewal: who asks, by the certificate in use.
    pub device: Option<&'a Device>,
    /// Of the connection that carries the message (RFC 9266).
    pub exporter: [u8; 32],
}

/// What a peer is told: the kind, and what to do. Which check failed on what stays in the record and the log.
pub(super) fn refusal(reason: Reason) -> Refusal {
    let kind = match reason {
        Reason::MalformedMessage | Reason::CsrMalformed => Kind::Invalid,
        _ => Kind::Forbidden,
    };
    Refusal::new(kind, reason.code(), format!("{} {}", reason.means(), reason.what_to_do()))
}
