//! A record's states and who moves them; tiers; renewal and recovery.

use super::{Record, RefusalCode, barred};
use crate::access::Role;
use holdfast_proto::api::device::{DeviceState, Tier};
use rand_core::RngCore;

/// What is to happen to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// M5: the device used its new key.
    Acknowledge,
    Quarantine,
    /// Lifts a quarantine.
    Release,
    Retire,
    Scrap,
}

/// Who orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mover {
    /// The device itself, over mTLS with the key of this very record.
    Device,
    Operator(Role),
    /// The service, on failed attestation or a cloned key.
    Policy,
}

/// Why an order is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LifecycleError {
    #[error("a device that is {from:?} takes no {order:?}")]
    NotFrom { from: DeviceState, order: Order },
    #[error("{order:?} is not {by:?}'s to order")]
    NotYours { order: Order, by: Mover },
}

/// What new evidence does to a record's tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierChange {
    /// The record's first.
    First {
        tier: Tier,
    },
    Same {
        tier: Tier,
    },
    /// Better evidence than before: the record keeps its tier until an operator raises it, and the row says so.
    RaiseOffered {
        stays: Tier,
        proven: Tier,
    },
    /// Only an operator's approval makes it so.
    Lower {
        from: Tier,
        to: Tier,
    },
}

/// Why a recovery is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecoveryRefused {
    #[error("the record is {}", .0.as_str())]
    Record(RefusalCode),
    #[error("a device that never was active enrols")]
    NeverActive,
    #[error("its certificate was revoked")]
    Revoked,
    #[error("another endorsement key than the record's")]
    AnotherEk,
    #[error("a software key expired {ago_s} s ago recovers within {window_s} s, then needs a new token")]
    OutsideWindow { ago_s: u64, window_s: u64 },
}

/// What to do about a certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateDuty {
    Keep { renew_at: i64 },
    Renew,
    Recover,
}

impl TierChange {
    /// The tier that the record has afterwards.
    pub fn tier(self) -> Tier {
        match self {
            Self::First { tier } | Self::Same { tier } => tier,
            Self::RaiseOffered { stays, .. } => stays,
            Self::Lower { to, .. } => to,
        }
    }
}

/// The state that an order leads to. The same order again on its own result changes nothing and is no error.
pub fn move_device(from: DeviceState, order: Order, by: Mover) -> Result<DeviceState, LifecycleError> {
    use DeviceState as D;
    let yours = match (order, by) {
        (Order::Acknowledge, Mover::Device) | (Order::Quarantine, Mover::Policy) => true,
        (Order::Quarantine | Order::Release | Order::Retire, Mover::Operator(role)) => {
            role.holds(Role::Operator)
        }
        (Order::Scrap, Mover::Operator(role)) => role.holds(Role::TenantAdmin),
        // Invariant 13: neither the device nor a server's job ends an identity.
        _ => false,
    };
    if !yours {
        return Err(LifecycleError::NotYours { order, by });
    }
    match (from, order) {
        (D::Pending | D::Active, Order::Acknowledge) => Ok(D::Active),
        (D::Pending | D::Active | D::Suspended, Order::Quarantine) => Ok(D::Suspended),
        (D::Active | D::Suspended, Order::Release) => Ok(D::Active),
        (D::Pending | D::Active | D::Suspended | D::Retired, Order::Retire) => Ok(D::Retired),
        (_, Order::Scrap) => Ok(D::Scrapped),
        _ => Err(LifecycleError::NotFrom { from, order }),
    }
}

/// What evidence of tier `proven` does to a record of tier `had`.
pub fn tier_after(had: Option<Tier>, proven: Tier) -> TierChange {
    match had {
        None => TierChange::First { tier: proven },
        Some(had) if proven == had => TierChange::Same { tier: had },
        Some(had) if proven > had => TierChange::RaiseOffered { stays: had, proven },
        Some(had) => TierChange::Lower { from: had, to: proven },
    }
}

/// When to renew: from 2/3 of life, spread over the next sixth of it, so that a fleet enrolled in one hour does not
/// renew in one. Always before `not_after`.
pub fn renew_at(not_before: i64, not_after: i64, rng: &mut dyn RngCore) -> i64 {
    let life = u64::try_from(not_after.saturating_sub(not_before)).unwrap_or(0);
    let two_thirds = life - life.div_ceil(3);
    let spread = life / 6;
    // The high half of a 64 x 64 bit product is at most `spread`.
    let jitter = ((u128::from(rng.next_u64()) * (u128::from(spread) + 1)) >> 64) as u64;
    not_before.saturating_add_unsigned(two_thirds + jitter)
}

/// What a device shall do about its certificate.
pub fn certificate_duty(renew_at: i64, not_after: i64, now: i64) -> CertificateDuty {
    if now >= not_after {
        CertificateDuty::Recover
    } else if now >= renew_at {
        CertificateDuty::Renew
    } else {
        CertificateDuty::Keep { renew_at }
    }
}

/// May this record be recovered? Expired is not revoked: a TPM may come back after any time, under the same EK and
/// with a new AK; a software key only within the tenant's window.
pub fn may_recover(
    record: &Record,
    proven_ek: Option<holdfast_proto::Digest>,
    certificate_revoked: bool,
    not_after: i64,
    window_s: u64,
    now: i64,
) -> Result<(), RecoveryRefused> {
    if let Some(code) = barred(record) {
        return Err(RecoveryRefused::Record(code));
    }
    if record.state == DeviceState::Pending {
        return Err(RecoveryRefused::NeverActive);
    }
    if certificate_revoked {
        return Err(RecoveryRefused::Revoked);
    }
    if record.ek_hash != proven_ek {
        return Err(RecoveryRefused::AnotherEk);
    }
    let ago_s = u64::try_from(now.saturating_sub(not_after)).unwrap_or(0);
    if record.ek_hash.is_none() && ago_s > window_s {
        return Err(RecoveryRefused::OutsideWindow { ago_s, window_s });
    }
    Ok(())
}
