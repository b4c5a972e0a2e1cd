//! Enrolment and device life cycle: which record an attempt belongs to, who may move it, when to renew.
//!
//! Here: decisions over facts that `holdfast-trust` has verified. Not here: any check of evidence, any storing.
//! Invariants: an EK proves a TPM and never a device; a tier is never raised silently and never lowered without an
//! operator; expired is not revoked.

mod lifecycle;
#[cfg(test)]
mod tests;

pub use lifecycle::{
    CertificateDuty, LifecycleError, Mover, Order, RecoveryRefused, TierChange, certificate_duty,
    may_recover, move_device, renew_at, tier_after,
};

use holdfast_proto::api::device::{DeviceState, Tier};
use holdfast_proto::{Bytes, DeviceId, Digest};

/// What an attempt proved (M3 has passed), and what it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// A claim.
    pub serial: String,
    /// A claim.
    pub model: String,
    /// SHA-256 of the EK's SubjectPublicKeyInfo; proven. None for kinds without a TPM.
    pub ek_hash: Option<Digest>,
    /// Proven; none for kinds without a TPM.
    pub ak_name: Option<Bytes>,
    /// Proven by the evidence.
    pub tier: Tier,
    /// The kind itself speaks for the serial: a join token made for it, spent by this attempt.
    pub vouched_serial: Option<String>,
}

/// A device record, as far as identity goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub id: DeviceId,
    pub serial: String,
    pub ek_hash: Option<Digest>,
    pub ak_name: Option<Bytes>,
    pub state: DeviceState,
    pub tier: Option<Tier>,
    /// The record that took its place (RMA).
    pub replaced_by: Option<DeviceId>,
}

/// A claim made before the device came: `device register`, `import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub serial: String,
    pub model: String,
    /// Given, or computed from the EK certificate given.
    pub ek_hash: Option<Digest>,
    pub ak_name: Option<Bytes>,
}

/// An operator's approval of a pending or conflicting attempt: bound to both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub ek_hash: Option<Digest>,
    pub serial: String,
}

/// What the tables hold about an attempt. All of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The live record (not replaced) of the claimed serial.
    pub by_serial: Option<Record>,
    /// The live record of the proven EK.
    pub by_ek: Option<Record>,
    /// The claim made for the claimed serial.
    pub claim: Option<Claim>,
    /// An unused approval of exactly this attempt's EK or serial.
    pub approval: Option<Approval>,
    /// The EK is on the deny list.
    pub ek_denied: bool,
}

/// What becomes of an attempt whose proof holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowDecision {
    /// Issue under a new record.
    Create { because: Because },
    /// Issue under this record; it keeps its id.
    Resume { record: DeviceId, tier: TierChange },
    /// 202: an operator must say whose device it is. No certificate.
    Pending { reason: PendingReason },
    /// 202: an operator must decide between two TPMs for one serial. No certificate.
    Conflict { record: DeviceId },
    /// Refused, and somebody must look: this TPM is another device.
    Alarm { record: DeviceId, reason: RefusalCode },
    /// Refused with a stable code.
    Refuse { reason: RefusalCode },
}

/// What speaks for the serial of a new record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// A claim names this EK.
    Claimed,
    /// An operator approved this EK for this serial.
    Approved,
    /// A join token was made for this serial.
    Vouched,
}

/// Why an operator is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PendingReason {
    /// Nobody claimed this serial.
    Unclaimed,
    /// The claim names no EK to hold the proven one against.
    ClaimWithoutKey,
    /// The claim names another EK.
    ClaimOfAnotherEk,
    /// The claim names another AK.
    ClaimOfAnotherAk,
    /// The claim names another model.
    ClaimOfAnotherModel,
    /// The evidence is of a lower tier than the record's: lowering needs an operator.
    TierLower,
}

/// Stable codes of refusals; part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    EkDenied,
    EkOfAnotherSerial,
    DeviceSuspended,
    DeviceRetired,
    DeviceScrapped,
    DeviceReplaced,
    /// A kind that proves no key brought neither a TPM nor a token that speaks for the serial.
    NothingProven,
}

impl PendingReason {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::ClaimWithoutKey => "claim-without-key",
            Self::ClaimOfAnotherEk => "claim-of-another-ek",
            Self::ClaimOfAnotherAk => "claim-of-another-ak",
            Self::ClaimOfAnotherModel => "claim-of-another-model",
            Self::TierLower => "tier-lower",
        }
    }
}

impl RefusalCode {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EkDenied => "ek-denied",
            Self::EkOfAnotherSerial => "ek-of-another-serial",
            Self::DeviceSuspended => "device-suspended",
            Self::DeviceRetired => "device-retired",
            Self::DeviceScrapped => "device-scrapped",
            Self::DeviceReplaced => "device-replaced",
            Self::NothingProven => "nothing-proven",
        }
    }
}

/// M3's check 10: which record the attempt belongs to. Asked only after the proof has passed, so that a genuine
/// TPM cannot take a serial, or raise an alarm, by claiming it.
pub fn identity_row(presented: &Presented, known: &Known) -> RowDecision {
    if known.ek_denied {
        return RowDecision::Refuse { reason: RefusalCode::EkDenied };
    }
    let approved = known
        .approval
        .as_ref()
        .is_some_and(|a| a.serial == presented.serial && a.ek_hash == presented.ek_hash);
    if presented.ek_hash.is_none() {
        return without_ek(presented, known, approved);
    }
    // Same EK, another serial: an alarm, and no approval lifts it (an RMA replaces the record first).
    if let Some(record) = &known.by_ek
        && record.ek_hash == presented.ek_hash
        && record.serial != presented.serial
    {
        let (record, reason) = (record.id.clone(), RefusalCode::EkOfAnotherSerial);
        return RowDecision::Alarm { record, reason };
    }
    match &known.by_serial {
        Some(record) if record.serial == presented.serial => {
            if let Some(reason) = barred(record) {
                return RowDecision::Refuse { reason };
            }
            // Same serial, another EK: the conflict queue; an approval of this very EK settles it.
            if record.ek_hash != presented.ek_hash && !approved {
                return RowDecision::Conflict { record: record.id.clone() };
            }
            resume(record, presented, approved)
        }
        _ => claimed(presented, known, approved),
    }
}

/// A kind without a TPM: its token speaks for the serial, or an operator does.
fn without_ek(presented: &Presented, known: &Known, approved: bool) -> RowDecision {
    let vouched = presented.vouched_serial.as_deref() == Some(presented.serial.as_str());
    if !vouched && !approved {
        return RowDecision::Refuse { reason: RefusalCode::NothingProven };
    }
    match &known.by_serial {
        Some(record) if record.serial == presented.serial => match barred(record) {
            Some(reason) => RowDecision::Refuse { reason },
            // A token never takes over a record that a TPM holds.
            None if record.ek_hash.is_some() && !approved => {
                RowDecision::Conflict { record: record.id.clone() }
            }
            None => resume(record, presented, approved),
        },
        _ => RowDecision::Create { because: if vouched { Because::Vouched } else { Because::Approved } },
    }
}

fn resume(record: &Record, presented: &Presented, approved: bool) -> RowDecision {
    match tier_after(record.tier, presented.tier) {
        TierChange::Lower { .. } if !approved => RowDecision::Pending { reason: PendingReason::TierLower },
        tier => RowDecision::Resume { record: record.id.clone(), tier },
    }
}

/// No record yet: a claim or an approval must speak for the serial.
fn claimed(presented: &Presented, known: &Known, approved: bool) -> RowDecision {
    if approved {
        return RowDecision::Create { because: Because::Approved };
    }
    match known.claim.as_ref().filter(|claim| claim.serial == presented.serial) {
        None => RowDecision::Pending { reason: PendingReason::Unclaimed },
        Some(claim) => match claim_fault(claim, presented) {
            Some(reason) => RowDecision::Pending { reason },
            None => RowDecision::Create { because: Because::Claimed },
        },
    }
}

/// A claim matches by EK and serial, and by model and AK Name where it names them.
fn claim_fault(claim: &Claim, presented: &Presented) -> Option<PendingReason> {
    match claim.ek_hash {
        None => return Some(PendingReason::ClaimWithoutKey),
        Some(ek) if Some(ek) != presented.ek_hash => return Some(PendingReason::ClaimOfAnotherEk),
        Some(_) => {}
    }
    if claim.ak_name.is_some() && claim.ak_name != presented.ak_name {
        return Some(PendingReason::ClaimOfAnotherAk);
    }
    (claim.model != presented.model).then_some(PendingReason::ClaimOfAnotherModel)
}

/// Records that take no new certificate.
fn barred(record: &Record) -> Option<RefusalCode> {
    if record.replaced_by.is_some() {
        return Some(RefusalCode::DeviceReplaced);
    }
    match record.state {
        DeviceState::Pending | DeviceState::Active => None,
        DeviceState::Suspended => Some(RefusalCode::DeviceSuspended),
        DeviceState::Retired => Some(RefusalCode::DeviceRetired),
        DeviceState::Scrapped => Some(RefusalCode::DeviceScrapped),
    }
}

/// What a certificate was issued for; a lost M4 is answered again with the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedFor {
    pub ek_hash: Option<Digest>,
    pub ak_name: Option<Bytes>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Bytes,
    pub serial: String,
}

/// True if an attempt may be answered with the certificate that was issued already: all four match, and it is
/// neither revoked nor over.
pub fn reanswers(issued: &IssuedFor, asked: &IssuedFor, revoked: bool, not_after: i64, now: i64) -> bool {
    issued == asked && !revoked && now < not_after
}
