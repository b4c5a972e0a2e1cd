//! What the tables say about an attempt whose proof holds, and what `holdfast_decide::identity` makes of it.

use super::ops::Door;
use super::sql::Attempt;
use crate::ca::{self, Certificate, CertificateState};
use crate::db::{Error, Tx};
use crate::device::ops::{self as device, Record};
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_decide::identity::{
    self, Approval, Claim, Known, PendingReason, Presented, RecoveryRefused, RefusalCode, RowDecision,
    TierChange,
};
use holdfast_proto::api::device::DeviceState;
use holdfast_proto::api::enrollment::{EnrollmentPurpose, EnrollmentState};
use holdfast_proto::{Bytes, DeviceId, Digest};
use holdfast_trust::attest::join_token::{JoinTokenClaim, JoinTokenProven};
use holdfast_trust::attest::{self, Proof, Proven, Reason};

/// What becomes of an attempt.
#[derive(Debug)]
pub(super) enum Ruling {
    /// Issue under a new record.
    New,
    /// Issue under this record.
    Under {
        record: Box<Record>,
        tier: TierChange,
    },
    /// 202: an operator must say so.
    Wait {
        state: EnrollmentState,
        code: &'static str,
        device: Option<DeviceId>,
    },
    Refused {
        reason: Reason,
        device: Option<DeviceId>,
        severity: Severity,
    },
}

/// Whether somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Plain,
    /// This TPM is another device.
    Alarm,
}

/// The EK that an attempt proved.
pub(super) fn ek_hash(proven: &Proven) -> Option<Digest> {
    match &proven.claim {
        attest::Claim::Tpm2(claim) => Some(claim.ek_hash),
        attest::Claim::JoinToken(_) => None,
    }
}

/// The AK's Name that an attempt proved.
pub(super) fn ak_name(proven: &Proven) -> Option<Vec<u8>> {
    match &proven.claim {
        attest::Claim::Tpm2(claim) => Some(claim.ak_name.clone()),
        attest::Claim::JoinToken(_) => None,
    }
}

/// The device of a certificate of ours, and that certificate; expired ones too.
pub(super) async fn by_certificate(
    tx: &mut Tx,
    serial: &str,
) -> Result<Option<(Record, Certificate)>, Error> {
    let Some((tenant, certificate)) = ca::revoke::lookup(tx, serial).await? else { return Ok(None) };
    if certificate.profile != "device" {
        return Ok(None);
    }
    let record = device::by_id(tx, &tenant, &certificate.subject).await?;
    Ok(record.map(|record| (record, certificate)))
}

/// What the record says already, for the verifier: in a renewal and a recovery.
pub(super) async fn known(
    tx: &mut Tx,
    tenant: &str,
    door: Door<'_>,
    serial: &str,
) -> Result<attest::Known, Error> {
    match (door.purpose, door.device) {
        (EnrollmentPurpose::Renew, Some(asks)) => {
            let record = device::by_id(tx, tenant, asks.id.as_str()).await?;
            let known = |record: Record| attest::Known {
                ek_hash: record.device.ek_hash,
                ak_name: record.ak_name,
                clock: record.tpm_clock,
            };
            Ok(record.map(known).unwrap_or_default())
        }
        // A recovery may bring a new AK, after a Clear that set the clock to zero.
        (EnrollmentPurpose::Recover, _) => {
            let record = device::by_serial(tx, tenant, serial).await?;
            Ok(attest::Known {
                ek_hash: record.and_then(|record| record.device.ek_hash),
                ..attest::Known::default()
            })
        }
        _ => Ok(attest::Known::default()),
    }
}

/// Which record the attempt belongs to, by the door that it came through.
pub(super) async fn rule(
    state: &AppState,
    tx: &mut Tx,
    (tenant, door): (&str, Door<'_>),
    proven: &Proven,
    open: Option<&Attempt>,
    now: i64,
) -> Result<Ruling, Refusal> {
    match door.purpose {
        EnrollmentPurpose::Enroll => enroll(tx, tenant, proven, open, now).await,
        EnrollmentPurpose::Renew => renew(tx, tenant, door, proven, open).await,
        EnrollmentPurpose::Recover => {
            let window_s = state.config.identity.recover_t0_days.max(0) as u64 * 86_400;
            recover(tx, tenant, proven, open, (window_s, now)).await
        }
    }
}

async fn enroll(
    tx: &mut Tx,
    tenant: &str,
    proven: &Proven,
    open: Option<&Attempt>,
    now: i64,
) -> Result<Ruling, Refusal> {
    let vouched_serial = match token(tx, tenant, proven, now).await? {
        Ok(serial) => serial,
        Err(reason) => return Ok(refused(reason)),
    };
    let ek_hash = ek_hash(proven);
    let presented = Presented {
        serial: proven.serial.clone(),
        model: proven.model.clone(),
        ek_hash,
        ak_name: ak_name(proven).map(Bytes),
        tier: proven.tier,
        vouched_serial,
    };
    let (row, of_ek) = match ek_hash {
        Some(ek) => device::by_serial_and_ek(tx, tenant, &proven.serial, &ek).await?,
        None => (device::by_serial(tx, tenant, &proven.serial).await?, None),
    };
    let approved = open.filter(|_| is_approved(open));
    let known = Known {
        by_serial: row.as_ref().filter(|row| !is_mere_claim(row) || ek_hash.is_none()).map(as_record),
        by_ek: of_ek.as_ref().zip(ek_hash).and_then(|(row, ek)| as_holder(row, ek)),
        claim: row.as_ref().filter(|row| is_mere_claim(row)).map(as_claim),
        approval: approved
            .map(|open| Approval { ek_hash: open.shown.ek_hash, serial: open.shown.serial.clone() }),
        // The verifier has refused those already.
        ek_denied: false,
    };
    Ok(match identity::identity_row(&presented, &known) {
        RowDecision::Create { .. } => match row {
            // The claim's own row becomes the record.
            Some(row) => {
                Ruling::Under { record: Box::new(row), tier: TierChange::First { tier: proven.tier } }
            }
            None => Ruling::New,
        },
        RowDecision::Resume { record, tier } => match row.filter(|row| row.device.id == record) {
            Some(row) => Ruling::Under { record: Box::new(row), tier },
            None => return Err(Refusal::internal(format!("record {record} is not that of its serial"))),
        },
        RowDecision::Pending { reason } => {
            Ruling::Wait { state: EnrollmentState::Pending, code: reason.as_str(), device: None }
        }
        RowDecision::Conflict { record } => {
            let code = Reason::SerialConflict.code();
            Ruling::Wait { state: EnrollmentState::Conflict, code, device: Some(record) }
        }
        RowDecision::Alarm { record, reason } => {
            Ruling::Refused { reason: reason_of(reason), device: Some(record), severity: Severity::Alarm }
        }
        RowDecision::Refuse { reason } => {
            let device = row.map(|row| row.device.id);
            Ruling::Refused { reason: reason_of(reason), device, severity: Severity::Plain }
        }
    })
}

/// The serial that a join token speaks for; the certificate's issue spends it.
async fn token(
    tx: &mut Tx,
    tenant: &str,
    proven: &Proven,
    now: i64,
) -> Result<Result<Option<String>, Reason>, Refusal> {
    let (attest::Claim::JoinToken(JoinTokenClaim::Token { id }), Proof::JoinToken(JoinTokenProven::Token)) =
        (&proven.claim, &proven.proof)
    else {
        return Ok(Ok(None));
    };
    let Some(facts) = crate::device::token::facts(tx, tenant, id).await? else {
        return Ok(Err(Reason::TokenUnknown));
    };
    let Some(record) = device::by_id(tx, tenant, &facts.device).await? else {
        return Ok(Err(Reason::TokenUnknown));
    };
    if record.device.serial != proven.serial || record.device.model != proven.model {
        return Ok(Err(Reason::TokenClaim));
    }
    if facts.spent {
        // Its own M4 got lost: the same key may fetch the same certificate. Nothing new is issued on a spent token.
        let same = record.device_key.as_ref() == Some(&proven.device_spki)
            && record.device.certificate_serial.is_some();
        return Ok(if same { Ok(Some(record.device.serial)) } else { Err(Reason::TokenSpent) });
    }
    if facts.expires_at <= now {
        return Ok(Err(Reason::TokenExpired));
    }
    Ok(Ok(Some(record.device.serial)))
}

async fn renew(
    tx: &mut Tx,
    tenant: &str,
    door: Door<'_>,
    proven: &Proven,
    open: Option<&Attempt>,
) -> Result<Ruling, Refusal> {
    let Some(asks) = door.device else { return Err(Refusal::internal("a renewal without a certificate")) };
    let Some(record) = device::by_id(tx, tenant, asks.id.as_str()).await? else {
        return Ok(refused(Reason::RecordUnknown));
    };
    let device = Some(record.device.id.clone());
    if let attest::Claim::JoinToken(claim) = &proven.claim {
        // The certificate shown in M1 must be the one of the connection, and no token stands in for it.
        let shown =
            matches!(claim, JoinTokenClaim::Recovery(shown) if same_serial(&shown.serial, &asks.certificate));
        if !shown {
            return Ok(Ruling::Refused {
                reason: Reason::RecoveryCertificate,
                device,
                severity: Severity::Plain,
            });
        }
    }
    if record.device.serial != proven.serial {
        return Ok(Ruling::Refused { reason: Reason::EkHasOtherSerial, device, severity: Severity::Alarm });
    }
    if let Some(reason) = closed(&record) {
        return Ok(Ruling::Refused { reason, device, severity: Severity::Plain });
    }
    Ok(under(record, proven, open))
}

async fn recover(
    tx: &mut Tx,
    tenant: &str,
    proven: &Proven,
    open: Option<&Attempt>,
    (window_s, now): (u64, i64),
) -> Result<Ruling, Refusal> {
    let found = match &proven.claim {
        attest::Claim::Tpm2(_) => {
            let record = device::by_serial(tx, tenant, &proven.serial).await?;
            let Some(record) = record else { return of_another_serial(tx, tenant, proven).await };
            let current = match &record.device.certificate_serial {
                Some(serial) => ca::revoke::lookup(tx, serial).await?.map(|(_, certificate)| certificate),
                None => None,
            };
            current.map(|certificate| (record, certificate))
        }
        attest::Claim::JoinToken(JoinTokenClaim::Recovery(shown)) => {
            by_certificate(tx, &shown.serial).await?
        }
        // A token enrols; it recovers nothing.
        attest::Claim::JoinToken(JoinTokenClaim::Token { .. }) => return Ok(refused(Reason::KindNotAllowed)),
    };
    let Some((record, certificate)) = found else { return Ok(refused(Reason::RecordUnknown)) };
    if record.device.serial != proven.serial {
        return Ok(refused(Reason::RecoveryCertificate));
    }
    let revoked = certificate.state == CertificateState::Revoked;
    let may = identity::may_recover(
        &as_record(&record),
        ek_hash(proven),
        revoked,
        certificate.not_after,
        window_s,
        now,
    );
    Ok(match may {
        Ok(()) => under(record, proven, open),
        Err(why) => {
            let device = Some(record.device.id);
            Ruling::Refused { reason: reason_of_recovery(why), device, severity: Severity::Plain }
        }
    })
}

/// A recovery for a serial without a record: this EK may be another device's.
async fn of_another_serial(tx: &mut Tx, tenant: &str, proven: &Proven) -> Result<Ruling, Refusal> {
    let Some(ek) = ek_hash(proven) else { return Ok(refused(Reason::RecordUnknown)) };
    let record = device::by_ek(tx, tenant, &ek).await?;
    Ok(match record.filter(|record| record.device.ek_hash == Some(ek)) {
        None => refused(Reason::RecordUnknown),
        Some(record) => Ruling::Refused {
            reason: Reason::EkHasOtherSerial,
            device: Some(record.device.id),
            severity: Severity::Alarm,
        },
    })
}

/// Under the record, unless that would lower its tier: then an operator is asked.
fn under(record: Record, proven: &Proven, open: Option<&Attempt>) -> Ruling {
    match identity::tier_after(record.device.tier, proven.tier) {
        TierChange::Lower { .. } if !is_approved(open) => Ruling::Wait {
            state: EnrollmentState::Pending,
            code: PendingReason::TierLower.as_str(),
            device: Some(record.device.id),
        },
        tier => Ruling::Under { record: Box::new(record), tier },
    }
}

fn is_approved(open: Option<&Attempt>) -> bool {
    open.is_some_and(|open| open.shown.state == EnrollmentState::Approved)
}

fn refused(reason: Reason) -> Ruling {
    Ruling::Refused { reason, device: None, severity: Severity::Plain }
}

/// Serials of certificates are hex; a parser may drop leading zeros.
fn same_serial(one: &str, other: &str) -> bool {
    one.trim_start_matches('0').eq_ignore_ascii_case(other.trim_start_matches('0'))
}

/// A row that was only ever claimed, and may still be.
fn is_mere_claim(row: &Record) -> bool {
    row.kind.is_none() && row.device.state == DeviceState::Pending && row.replaced_by.is_none()
}

fn as_record(row: &Record) -> identity::Record {
    identity::Record {
        id: row.device.id.clone(),
        serial: row.device.serial.clone(),
        ek_hash: row.device.ek_hash,
        ak_name: row.ak_name.clone().map(Bytes),
        state: row.device.state,
        tier: row.device.tier,
        replaced_by: row.replaced_by.clone(),
    }
}

fn as_claim(row: &Record) -> Claim {
    Claim {
        serial: row.device.serial.clone(),
        model: row.device.model.clone(),
        ek_hash: row.claimed_ek_hash,
        ak_name: row.claimed_ak_name.clone().map(Bytes),
    }
}

/// The record that proved this EK, or the claim that expects it: both say whose TPM this is.
fn as_holder(row: &Record, ek: Digest) -> Option<identity::Record> {
    let holds = row.device.ek_hash == Some(ek) || is_mere_claim(row);
    holds.then(|| identity::Record { ek_hash: Some(ek), ..as_record(row) })
}

fn closed(record: &Record) -> Option<Reason> {
    if record.replaced_by.is_some() {
        return Some(Reason::RecordClosed);
    }
    match record.device.state {
        DeviceState::Pending | DeviceState::Active => None,
        DeviceState::Suspended => Some(Reason::RecordSuspended),
        DeviceState::Retired | DeviceState::Scrapped => Some(Reason::RecordClosed),
    }
}

fn reason_of(code: RefusalCode) -> Reason {
    match code {
        RefusalCode::EkDenied => Reason::EkDenyListed,
        RefusalCode::EkOfAnotherSerial => Reason::EkHasOtherSerial,
        RefusalCode::DeviceSuspended => Reason::RecordSuspended,
        RefusalCode::DeviceRetired | RefusalCode::DeviceScrapped | RefusalCode::DeviceReplaced => {
            Reason::RecordClosed
        }
        RefusalCode::NothingProven => Reason::KindNotAllowed,
    }
}

fn reason_of_recovery(why: RecoveryRefused) -> Reason {
    match why {
        RecoveryRefused::Record(code) => reason_of(code),
        RecoveryRefused::NeverActive => Reason::RecordUnknown,
        RecoveryRefused::Revoked => Reason::RecordRevoked,
        RecoveryRefused::AnotherEk => Reason::EkChanged,
        RecoveryRefused::OutsideWindow { .. } => Reason::RecoveryWindow,
    }
}
