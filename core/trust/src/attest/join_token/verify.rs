//! The service's half: a token, or in a recovery the expired certificate's key.

use crate::attest::reason::Reason;
use crate::attest::registry::{Checks, Kind};
use crate::attest::tpm2::curve;
use crate::attest::verify::{Claim, Evidence, Proof};
use crate::attest::{Ledger, Policy};
use crate::chain::{Certificate, name, signature};
use crate::limits::{CERTIFICATE_MAX_BYTES, CLAIM_MAX_BYTES};
use holdfast_proto::Digest;
use holdfast_proto::enroll::{AttestKind, EnrollStart};
use holdfast_tpm::wire::Curve;
use rustls_pki_types::alg_id;

/// The kind `join_token`.
pub struct JoinToken;

/// What M1 showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTokenClaim {
    /// A token by its public id; whether it exists, for whom, and is unspent, is the service's row.
    Token { id: String },
    /// An expired certificate, signed by one of our issuers; whether it is this record's is the service's row.
    Recovery(Box<ExpiredCertificate>),
}

/// The certificate of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredCertificate {
    pub fingerprint: Digest,
    /// Hex.
    pub serial: String,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// Unix seconds.
    pub not_after: i64,
}

/// What M3 proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinTokenProven {
    /// The token's secret; the service's transaction spends it.
    Token,
    /// The expired certificate's key.
    Recovery,
}

impl Kind for JoinToken {
    fn kind(&self) -> AttestKind {
        AttestKind::JoinToken
    }

    fn start(
        &self,
        message: &EnrollStart,
        policy: &Policy<'_>,
        now: i64,
        ledger: &mut Checks<'_>,
    ) -> Option<Claim> {
        let said = message.join_token.as_ref()?;
        let claim = match (&said.expired_certificate, said.token_id.as_str()) {
            (Some(certificate), "") => {
                let expired = expired(certificate, policy, now, ledger.0)?;
                JoinTokenClaim::Recovery(Box::new(expired))
            }
            (None, id)
                if (1..=CLAIM_MAX_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                ledger.0.require(Reason::MalformedMessage, true, format!("token {id}"));
                JoinTokenClaim::Token { id: id.to_owned() }
            }
            _ => {
                ledger.0.fail(Reason::MalformedMessage, "neither a token's id alone nor a certificate alone");
                return None;
            }
        };
        Some(Claim::JoinToken(claim))
    }

    fn prove(
        &self,
        claim: &Claim,
        evidence: &Evidence<'_>,
        policy: &Policy<'_>,
        ledger: &mut Checks<'_>,
    ) -> Option<Proof> {
        let Claim::JoinToken(claim) = claim else { return None };
        let ledger = &mut *ledger.0;
        let Some(said) = &evidence.message.join_token else {
            ledger.fail(Reason::MalformedMessage, "M3 has no part for a token");
            return None;
        };
        check_key(evidence, ledger);
        let (csr, exporter) = (&evidence.message.csr, &evidence.attempt.exporter);
        match claim {
            JoinTokenClaim::Token { id } => {
                let token = evidence.attempt.session.secret.as_ref();
                let held = token.is_some_and(|token| {
                    evidence.transcript.token_proof_holds(&token.0, csr, exporter, &said.mac)
                });
                let detail = format!("HMAC of token {id} over T, the request and the connection");
                ledger
                    .require(Reason::TokenMac, held, detail)
                    .then_some(Proof::JoinToken(JoinTokenProven::Token))
            }
            JoinTokenClaim::Recovery(expired) => {
                let message = evidence.transcript.recovery_message(csr, exporter);
                let algorithm = alg_id::ECDSA_SHA256;
                let held = signature::verify(
                    policy.algorithms,
                    &expired.spki,
                    algorithm.as_ref(),
                    &message,
                    &said.mac,
                );
                ledger.take(Reason::RecoverySignature, held, "by the expired certificate's key")?;
                Some(Proof::JoinToken(JoinTokenProven::Recovery))
            }
        }
    }
}

/// The new key is P-256, whole and on its curve.
fn check_key(evidence: &Evidence<'_>, ledger: &mut Ledger) {
    let key = evidence.csr_key.as_ref().ok_or_else(|| "the request's key cannot be read".to_owned());
    let sound = key.and_then(|key| {
        let p256 = matches!(key, holdfast_tpm::wire::SubjectKey::Ecc { .. });
        if p256 {
            curve::check(key, 2048, &[Curve::P256])
        } else {
            Err("the request's key is not P-256".into())
        }
    });
    let detail = sound.clone().unwrap_or_default();
    ledger.take(Reason::DeviceKeyType, sound, detail);
}

fn expired(der: &[u8], policy: &Policy<'_>, now: i64, ledger: &mut Ledger) -> Option<ExpiredCertificate> {
    let rule = Reason::RecoveryCertificate;
    let Some(recovery) = policy.recovery else {
        ledger.fail(Reason::RecoveryWindow, "recovery is not allowed here");
        return None;
    };
    if der.len() > CERTIFICATE_MAX_BYTES {
        ledger.fail(rule, format!("{} bytes are above the cap of {CERTIFICATE_MAX_BYTES}", der.len()));
        return None;
    }
    let certificate = ledger.take(rule, Certificate::parse(der), "one X.509 certificate")?;
    let issued = recovery.issuers.iter().filter_map(|issuer| Certificate::parse(issuer).ok()).any(|issuer| {
        name::same(certificate.x509.issuer(), issuer.x509.subject())
            && signature::verify(
                policy.algorithms,
                issuer.spki(),
                certificate.algorithm,
                certificate.tbs,
                certificate.signature,
            )
            .is_ok()
    });
    ledger.require(
        rule,
        issued,
        format!("serial {}, signed by one of our issuers", certificate.serial_hex()),
    );
    let ended = now.saturating_sub(certificate.not_after());
    let in_window = ended <= recovery.window_s;
    let detail = format!("ended {ended} s ago, the window is {} s", recovery.window_s);
    ledger.require(Reason::RecoveryWindow, in_window, detail);
    Some(ExpiredCertificate {
        fingerprint: Digest(certificate.fingerprint()),
        serial: certificate.serial_hex(),
        spki: certificate.spki().to_vec(),
        not_after: certificate.not_after(),
    })
}
