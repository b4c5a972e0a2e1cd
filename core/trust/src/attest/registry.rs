//! The kinds of attestation. A new kind is a folder and a line here.

use super::verify::{Claim, Evidence, Proof};
use super::{Ledger, Policy, join_token, tpm2};
use holdfast_proto::enroll::{AttestKind, EnrollStart};

/// One kind's service half. Every method writes its checks into the ledger and gives a value only when it can.
pub trait Kind: Sync {
    fn kind(&self) -> AttestKind;

    /// Judges the kind's part of M1.
    #[doc(hidden)]
    fn start(
        &self,
        message: &EnrollStart,
        policy: &Policy<'_>,
        now: i64,
        ledger: &mut Checks<'_>,
    ) -> Option<Claim>;

    /// Judges the kind's part of M3.
    #[doc(hidden)]
    fn prove(
        &self,
        claim: &Claim,
        evidence: &Evidence<'_>,
        policy: &Policy<'_>,
        ledger: &mut Checks<'_>,
    ) -> Option<Proof>;
}

/// The ledger as kinds see it.
pub struct Checks<'a>(pub(crate) &'a mut Ledger);

/// Every kind.
pub static KINDS: [&dyn Kind; 2] = [&tpm2::verify::Tpm2, &join_token::verify::JoinToken];

/// The kind of that name.
pub fn of(kind: AttestKind) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|known| known.kind() == kind)
}
