//! M1 to M2: what the device says of itself is judged, and it is given something to prove. Writes nothing.

use super::believed;
use super::ops::{Door, refusal};
use super::rows;
use super::session::{Session, TpmSession};
use crate::db::Tx;
use crate::device;
use crate::http::auth::Device;
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_proto::api::enrollment::EnrollmentPurpose;
use holdfast_proto::enroll::{EnrollChallenge, EnrollStart, TpmChallenge};
use holdfast_proto::{Bytes, Digest};
use holdfast_tpm::wire::make_credential;
use holdfast_trust::Verified;
use holdfast_trust::attest::join_token::JoinTokenClaim;
use holdfast_trust::attest::tpm2::TpmClaim;
use holdfast_trust::attest::tpm2::verify::challenge_wants;
use holdfast_trust::attest::{self, Claim, Policy, Reason, Started};

/// Answers M1.
pub async fn start(state: &AppState, door: Door<'_>, m1: &[u8]) -> Result<EnrollChallenge, Refusal> {
    let now = state.now();
    let mut tx = state.db.read().await?;
    let (serial, ek_hash) = peek(m1);
    let believed = believed::for_attempt(state, &mut tx, (state.tenant(), &serial), ek_hash).await?;
    let policy = believed::policy(&believed);
    let started = attest::start(m1, &policy, now).map_err(|refused| {
        let purpose = door.purpose;
        tracing::info!(?purpose, reason = refused.reason.code(), detail = refused.detail(), "M1 was refused");
        refusal(refused.reason)
    })?;
    if started.tenant.as_str() != state.tenant() {
        return Err(
            refusal(Reason::MalformedMessage).because(format!("tenant `{}` is not ours", started.tenant))
        );
    }
    if let (EnrollmentPurpose::Renew, Some(device)) = (door.purpose, door.device) {
        may_renew(&mut tx, device, now).await?;
    }
    if let Claim::JoinToken(claim) = &started.claim {
        may_use(state, &mut tx, &started.serial, claim, now).await?;
    }
    drop(tx);
    challenge(state, door, &started, &policy, now)
}

/// Serial and EK of an M1 that has not been judged: they only say which rows to read for the judgement.
fn peek(m1: &[u8]) -> (String, Option<Digest>) {
    let Ok(message) = serde_json::from_slice::<EnrollStart>(m1) else { return (String::new(), None) };
    let ek_hash = message.tpm.as_ref().and_then(|tpm| attest::tpm2::ek_hash(&tpm.ek_public));
    (believed::plain(&message.serial).to_owned(), ek_hash)
}

/// From 2/3 of the life of the certificate in use.
async fn may_renew(tx: &mut Tx, device: &Device, now: i64) -> Result<(), Refusal> {
    let certificate = crate::ca::revoke::lookup(tx, &device.certificate).await?;
    let Some((_, certificate)) = certificate else { return Err(Refusal::not_found("certificate")) };
    let opens_at = certificate.not_before + (certificate.not_after - certificate.not_before) / 3 * 2;
    if now < opens_at {
        let text =
            format!("a certificate is renewed from 2/3 of its life: this one from {opens_at} (Unix seconds)");
        return Err(Refusal::conflict("renewal-too-early", text));
    }
    Ok(())
}

/// A token that cannot end well is refused before the device does more. What is decided is decided with M3.
async fn may_use(
    state: &AppState,
    tx: &mut Tx,
    serial: &str,
    claim: &JoinTokenClaim,
    now: i64,
) -> Result<(), Refusal> {
    match claim {
        JoinTokenClaim::Token { id } => {
            let token = device::token::open(state, tx, state.tenant(), id).await?;
            let token = token.ok_or_else(|| refusal(Reason::TokenUnknown))?;
            // A spent one may still fetch a lost M4.
            if token.expires_at <= now && !token.spent {
                return Err(refusal(Reason::TokenExpired));
            }
            Ok(())
        }
        JoinTokenClaim::Recovery(expired) => {
            let found = rows::by_certificate(tx, &expired.serial).await?;
            let (record, _) = found.ok_or_else(|| refusal(Reason::RecoveryCertificate))?;
            if record.device.serial == serial { Ok(()) } else { Err(refusal(Reason::RecoveryCertificate)) }
        }
    }
}

fn challenge(
    state: &AppState,
    door: Door<'_>,
    started: &Verified<Started>,
    policy: &Policy<'_>,
    now: i64,
) -> Result<EnrollChallenge, Refusal> {
    let nonce = Bytes(crate::chance::bytes::<32>().to_vec());
    let expires_at = now + state.config.identity.session_minutes * 60;
    let mut session = Session {
        purpose: door.purpose,
        m1: started.m1,
        nonce: nonce.clone(),
        expires_at,
        secret: Bytes::default(),
        tpm: None,
        device: door.device.map(|device| device.id.as_str().to_owned()),
    };
    let tpm = match &started.claim {
        Claim::JoinToken(_) => None,
        Claim::Tpm2(claim) => Some(tpm_challenge(claim, policy, &mut session)?),
    };
    let session = Bytes(state.sessions.seal(&session)?);
    Ok(EnrollChallenge { session, nonce, expires_at, tpm })
}

/// A secret that only the TPM with this EK and an AK of this Name can read.
fn tpm_challenge(
    claim: &TpmClaim,
    policy: &Policy<'_>,
    session: &mut Session,
) -> Result<TpmChallenge, Refusal> {
    let secret = zeroize::Zeroizing::new(crate::chance::bytes::<32>());
    let made = make_credential(&claim.ek, &claim.ak_name, &secret);
    let (credential, encrypted) = made.map_err(|why| refusal(Reason::EkTemplateMismatch).because(why))?;
    let (pcr_bank, pcr_selection, device_key) = challenge_wants(claim, policy);
    session.secret = Bytes(secret.to_vec());
    session.tpm = Some(TpmSession {
        ek_hash: claim.ek_hash,
        ak_name: Bytes(claim.ak_name.clone()),
        pcr_bank,
        pcr_selection: pcr_selection.clone(),
    });
    Ok(TpmChallenge {
        credential_blob: credential.to_tpm2b().into(),
        encrypted_secret: encrypted.to_tpm2b().into(),
        device_key: device_key.to_owned(),
        pcr_bank,
        pcr_selection,
        event_log: true,
    })
}
