//! Attempts as operators see them: lists, evidence, and who says whose device it is.

use super::sql::{self, Attempt};
use crate::audit;
use crate::db::Tx;
use crate::device;
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use holdfast_proto::Bytes;
use holdfast_proto::api::enrollment::{
    ApproveEnrollment, Enrollment, EnrollmentState, EvidenceInput, EvidenceRecord, RefuseEnrollment,
};
use holdfast_trust::attest::Reason;

/// In the order of ids, after `after`.
pub async fn list(
    state: &AppState,
    operator: &Operator,
    wanted: Option<EnrollmentState>,
    after: &str,
    limit: i64,
) -> Result<Vec<Enrollment>, Refusal> {
    let rows = sql::attempt_list(&mut state.db.read().await?, &operator.tenant, wanted, after, limit).await?;
    Ok(rows.into_iter().map(|row| row.shown).collect())
}

/// An attempt with everything that it was decided from.
pub async fn show(state: &AppState, operator: &Operator, id: &str) -> Result<EvidenceRecord, Refusal> {
    let mut tx = state.db.read().await?;
    let attempt =
        sql::attempt_by_id(&mut tx, &operator.tenant, id).await?.ok_or_else(|| no_enrollment(id))?;
    record(&mut tx, &operator.tenant, attempt).await
}

/// The evidence behind a device's newest certificate.
pub async fn evidence_of_device(
    state: &AppState,
    operator: &Operator,
    id: &str,
) -> Result<EvidenceRecord, Refusal> {
    let mut tx = state.db.read().await?;
    let known = device::ops::by_id(&mut tx, &operator.tenant, id).await?;
    let none = |what: &str| Refusal::not_found(format_args!("{what} `{}`", audit::printable(id)));
    known.ok_or_else(|| none("device"))?;
    let attempt = sql::attempt_of_device(&mut tx, &operator.tenant, id)
        .await?
        .ok_or_else(|| none("evidence yet of device"))?;
    record(&mut tx, &operator.tenant, attempt).await
}

async fn record(tx: &mut Tx, tenant: &str, attempt: Attempt) -> Result<EvidenceRecord, Refusal> {
    let mut inputs = Vec::with_capacity(attempt.inputs.len());
    for input in attempt.inputs {
        let bytes = sql::input(tx, tenant, input.sha256).await?;
        let bytes =
            bytes.ok_or_else(|| Refusal::internal(format!("the evidence input {} is gone", input.sha256)))?;
        inputs.push(EvidenceInput { name: input.name, sha256: input.sha256, bytes: Bytes(bytes) });
    }
    Ok(EvidenceRecord {
        enrollment: attempt.shown,
        checks: attempt.checks,
        inputs,
        policy_version: attempt.policy_version,
        roots_version: attempt.roots_version,
        signer: attempt.signer,
        certificate_serial: attempt.certificate_serial,
        exporter: attempt.exporter,
    })
}

/// Says that this EK is this serial's device: bound to both, used by the device's next attempt.
pub async fn approve(
    state: &AppState,
    operator: &Operator,
    id: &str,
    body: &ApproveEnrollment,
) -> Result<Enrollment, Refusal> {
    device::ops::check_labels(&body.labels)?;
    let now = state.now();
    tx!(state.db, "enrollment.approve", |tx| {
        let before = sql::attempt_by_id(tx, &operator.tenant, id).await?.ok_or_else(|| no_enrollment(id))?;
        match before.shown.state {
            EnrollmentState::Approved => return Ok(before.shown),
            EnrollmentState::Conflict if body.reason.trim().is_empty() => {
                let text = "this approval gives the serial to another TPM: say why (a replaced board, ..)";
                return Err(Refusal::invalid("reason-needed", text));
            }
            EnrollmentState::Pending | EnrollmentState::Conflict => {}
            EnrollmentState::Refused if before.shown.reason == Reason::OperatorRefused.code() => {}
            EnrollmentState::Refused | EnrollmentState::Issued => return Err(settled(&before)),
        }
        let mut attempt = before;
        attempt.labels.clone_from(&body.labels);
        change(
            tx,
            operator,
            attempt,
            ("enrollment.approve", EnrollmentState::Approved),
            (None, &body.reason),
            now,
        )
        .await
    })
}

/// Says no to this EK for this serial, until it is approved.
pub async fn refuse(
    state: &AppState,
    operator: &Operator,
    id: &str,
    body: &RefuseEnrollment,
) -> Result<Enrollment, Refusal> {
    let now = state.now();
    if body.reason.trim().is_empty() {
        return Err(Refusal::invalid("reason-needed", "say why"));
    }
    tx!(state.db, "enrollment.refuse", |tx| {
        let before = sql::attempt_by_id(tx, &operator.tenant, id).await?.ok_or_else(|| no_enrollment(id))?;
        match before.shown.state {
            EnrollmentState::Pending | EnrollmentState::Conflict | EnrollmentState::Approved => {}
            EnrollmentState::Refused if before.shown.reason == Reason::OperatorRefused.code() => {
                return Ok(before.shown);
            }
            EnrollmentState::Refused | EnrollmentState::Issued => return Err(settled(&before)),
        }
        let code = Some(Reason::OperatorRefused.code());
        change(
            tx,
            operator,
            before,
            ("enrollment.refuse", EnrollmentState::Refused),
            (code, &body.reason),
            now,
        )
        .await
    })
}

async fn change(
    tx: &mut Tx,
    operator: &Operator,
    mut attempt: Attempt,
    (action, to): (&str, EnrollmentState),
    (code, reason): (Option<&str>, &str),
    now: i64,
) -> Result<Enrollment, Refusal> {
    let version = attempt.version;
    attempt.version += 1;
    attempt.shown.state = to;
    attempt.shown.updated_at = now;
    if let Some(code) = code {
        code.clone_into(&mut attempt.shown.reason);
    }
    if !sql::attempt_put(tx, &operator.tenant, &attempt).await? {
        return Err(Refusal::precondition(version));
    }
    let ek = attempt.shown.ek_hash.map_or_else(|| "no EK".to_owned(), |hash| format!("EK {hash}"));
    let labels = match to {
        EnrollmentState::Approved => device::ops::labels_given(&attempt.labels),
        _ => String::new(),
    };
    let reason = format!("serial {} with {ek}{labels}: {}", attempt.shown.serial, audit::printable(reason));
    audit::append(tx, &operator.did(action, format!("enrollment/{}", attempt.shown.id), reason), now).await?;
    Ok(attempt.shown)
}

fn settled(attempt: &Attempt) -> Refusal {
    let text = format!("this enrolment is {} already", sql::text_of(&attempt.shown.state));
    Refusal::conflict("enrollment-settled", text).on_record(attempt.shown.id.as_str())
}

fn no_enrollment(id: &str) -> Refusal {
    Refusal::not_found(format_args!("enrollment `{}`", audit::printable(id)))
}
