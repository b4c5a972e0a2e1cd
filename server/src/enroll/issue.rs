//! The certificate itself, and M5. Nothing is issued here without a [`Verified`] proof.

use super::ops::refusal;
use super::rows;
use super::sql::Attempt;
use crate::audit::{self, Entry};
use crate::ca::issuer::{LeafKey, Request};
use crate::ca::profile::{Leaf, leaf_validity};
use crate::ca::{self, Certificate, CertificateState};
use crate::db::Tx;
use crate::device::ops::{self as device, Record};
use crate::http::auth::Device;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use holdfast_decide::identity::{self, IssuedFor, Mover, Order};
use holdfast_proto::api::device::{DeviceState, Tier};
use holdfast_proto::enroll::{Acknowledged, EnrollIssued};
use holdfast_proto::{Bytes, DeviceId};
use holdfast_trust::Verified;
use holdfast_trust::attest::join_token::{JoinTokenClaim, JoinTokenProven};
use holdfast_trust::attest::{Claim, Proof, Proven, Reason};
use rustls::pki_types::CertificateDer;

/// What is to be issued, and under which record.
pub(super) struct Issue<'a> {
    pub(super) proven: &'a Verified<Proven>,
    pub(super) record: Record,
    /// The record's from now on.
    pub(super) tier: Tier,
}

/// A certificate, new or answered again.
pub(super) struct Issued {
    pub(super) serial: String,
    /// Fingerprint of the issuing CA.
    pub(super) signer: String,
    chain: Vec<CertificateDer<'static>>,
    not_before: i64,
    not_after: i64,
}

impl Issued {
    pub(super) fn answer(self, device: DeviceId) -> EnrollIssued {
        let renew_at = identity::renew_at(self.not_before, self.not_after, &mut Jitter::of(&self.serial));
        let certificate_chain = self.chain.into_iter().map(|der| Bytes(der.to_vec())).collect();
        EnrollIssued { device, certificate_chain, renew_at, not_after: self.not_after }
    }

    fn again(state: &AppState, certificate: Certificate) -> Self {
        Self {
            chain: state.ca.chain(CertificateDer::from(certificate.der), &state.ca.device),
            serial: certificate.serial,
            signer: certificate.issuer,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }
}

/// Issues under the record, or gives the certificate that this very attempt was issued before (a lost M4).
pub(super) async fn issue(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    Issue { proven, record, tier }: Issue<'_>,
    now: i64,
) -> Result<Result<Issued, Reason>, Refusal> {
    if let Some(certificate) = issued_before(tx, proven, &record, now).await? {
        return Ok(Ok(Issued::again(state, certificate)));
    }
    if let Some(id) = token_of(proven)
        && !crate::device::token::spend(tx, tenant, id, now).await?
    {
        return Ok(Err(Reason::TokenSpent));
    }
    let id = record.device.id.as_str();
    // A conflict that an operator settled: the other board's certificates end here.
    if record.device.ek_hash.is_some() && record.device.ek_hash != rows::ek_hash(proven) {
        ca::revoke::all_of(tx, tenant, "device", id, "superseded", now).await?;
    }
    let identity = &state.config.identity;
    let validity = leaf_validity(now, identity.certificate_days);
    let leaf = Leaf::Device {
        trust_domain: &identity.trust_domain,
        id,
        hardware_serial: &record.device.serial,
        tier,
        oid_arc: &identity.oid_arc,
    };
    let request = Request { tenant, profile: "device", subject: id, leaf, validity };
    let key = LeafKey::from_spki(&proven.device_spki)?;
    let made = state.ca.issue(tx, &state.ca.device, &request, &key, now).await?;
    let facts = facts(proven, tier, (&made.serial, made.not_after));
    if !device::set_proven(tx, tenant, id, record.device.version, &facts, now).await? {
        return Err(Refusal::precondition(record.device.version));
    }
    Ok(Ok(Issued {
        serial: made.serial,
        signer: made.signer,
        chain: made.chain,
        not_before: validity.not_before,
        not_after: made.not_after,
    }))
}

/// The record's certificate, while EK, AK Name, key and serial are those that it was issued for.
async fn issued_before(
    tx: &mut Tx,
    proven: &Proven,
    record: &Record,
    now: i64,
) -> Result<Option<Certificate>, Refusal> {
    let (Some(serial), Some(key)) = (&record.device.certificate_serial, &record.device_key) else {
        return Ok(None);
    };
    let Some((_, certificate)) = ca::revoke::lookup(tx, serial).await? else { return Ok(None) };
    let issued = IssuedFor {
        ek_hash: record.device.ek_hash,
        ak_name: record.ak_name.clone().map(Bytes),
        public_key: Bytes(key.clone()),
        serial: record.device.serial.clone(),
    };
    let asked = IssuedFor {
        ek_hash: rows::ek_hash(proven),
        ak_name: rows::ak_name(proven).map(Bytes),
        public_key: Bytes(proven.device_spki.clone()),
        serial: proven.serial.clone(),
    };
    let revoked = certificate.state == CertificateState::Revoked;
    let same = identity::reanswers(&issued, &asked, revoked, certificate.not_after, now);
    Ok(same.then_some(certificate))
}

/// M4 of an attempt that was issued, once more.
pub(super) async fn answer_again(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    attempt: &Attempt,
) -> Result<Option<EnrollIssued>, Refusal> {
    let (Some(serial), Some(id)) = (&attempt.certificate_serial, &attempt.shown.device) else {
        return Ok(None);
    };
    let Some((owner, certificate)) = ca::revoke::lookup(tx, serial).await? else { return Ok(None) };
    if owner != tenant || certificate.state == CertificateState::Revoked {
        return Ok(None);
    }
    Ok(Some(Issued::again(state, certificate).answer(id.clone())))
}

/// Labels that an operator gave with his approval, over those of the claim.
pub(super) async fn with_labels(
    tx: &mut Tx,
    tenant: &str,
    record: Record,
    open: Option<&Attempt>,
    now: i64,
) -> Result<Record, Refusal> {
    let Some(given) = open.map(|open| &open.labels).filter(|labels| !labels.is_empty()) else {
        return Ok(record);
    };
    let id = record.device.id.as_str();
    if !device::add_labels(tx, tenant, &record, given, now).await? {
        return Err(Refusal::precondition(record.device.version));
    }
    device::by_id(tx, tenant, id).await?.ok_or_else(|| Refusal::not_found("device"))
}

fn facts(proven: &Proven, tier: Tier, (serial, not_after): (&str, i64)) -> device::Proven {
    let (ak_public, tpm_clock) = match (&proven.claim, &proven.proof) {
        (Claim::Tpm2(claim), Proof::Tpm2(proof)) => (Some(claim.ak.to_tpm2b()), Some(proof.quote.clock)),
        _ => (None, None),
    };
    device::Proven {
        kind: proven.kind,
        tier,
        root_class: proven.root_class,
        ek_hash: rows::ek_hash(proven),
        ak_name: rows::ak_name(proven),
        ak_public,
        device_key: proven.device_spki.clone(),
        tpm_clock,
        certificate_serial: serial.to_owned(),
        certificate_not_after: not_after,
    }
}

/// The join token that this attempt spends.
fn token_of(proven: &Proven) -> Option<&str> {
    match (&proven.claim, &proven.proof) {
        (Claim::JoinToken(JoinTokenClaim::Token { id }), Proof::JoinToken(JoinTokenProven::Token)) => {
            Some(id)
        }
        _ => None,
    }
}

/// M5: the device has used its newest key. The record is ACTIVE, and its older certificates end.
pub async fn acknowledge(state: &AppState, asks: &Device) -> Result<Acknowledged, Refusal> {
    let now = state.now();
    let (tenant, id) = (asks.tenant.as_str(), asks.id.as_str());
    tx!(state.db.grouped(), "enroll.acknowledge", |tx| {
        // The first M5 needs no look: it moves what the guard saw, if nothing has moved it meanwhile.
        let is_first = asks.state == DeviceState::Pending
            && device::activate(tx, tenant, id, &asks.certificate, now).await?;
        let before = if is_first { asks.state } else { standing(tx, asks).await? };
        let after = identity::move_device(before, Order::Acknowledge, Mover::Device);
        let after = after.map_err(|why| Refusal::forbidden("state-does-not-allow", why.to_string()))?;
        let superseded = ca::revoke::all_but(tx, tenant, id, &asks.certificate, "superseded", now).await?;
        if before != after || superseded > 0 {
            let reason = format!("certificate {}, {superseded} older revoked", asks.certificate);
            let entry =
                Entry::done(tenant, asks.actor(), "enroll.acknowledge", format!("device/{id}"), reason);
            audit::append(tx, &entry, now).await?;
        }
        Ok(Acknowledged { device: asks.id.clone(), state: after })
    })
}

/// The record's state, where this certificate may acknowledge.
async fn standing(tx: &mut Tx, asks: &Device) -> Result<DeviceState, Refusal> {
    let record = device::by_id(tx, &asks.tenant, asks.id.as_str()).await?;
    let record = record.ok_or_else(|| refusal(Reason::RecordUnknown))?;
    if record.device.certificate_serial.as_deref() != Some(asks.certificate.as_str()) {
        let text = "a newer certificate was issued for this device: acknowledge with that one";
        return Err(Refusal::conflict("not-the-newest-certificate", text));
    }
    if record.device.state == DeviceState::Pending {
        return Err(Refusal::precondition(record.device.version));
    }
    Ok(record.device.state)
}

/// Randomness that is the same for the same certificate, so that an answer given again is the same answer. Serials
/// are random.
struct Jitter(u64);

impl Jitter {
    fn of(serial: &str) -> Self {
        let digest = super::evidence::sha256(serial.as_bytes());
        Self(digest.0.iter().take(8).fold(0, |word, byte| (word << 8) | u64::from(*byte)))
    }
}

impl rand_core::RngCore for Jitter {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        rand_core::impls::fill_bytes_via_next(self, out);
    }
}
