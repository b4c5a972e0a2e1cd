//! What attestations are judged by: anchors, deny list, listed endorsement keys, and the policy over them.

use super::sql;
use crate::authority::ops as authority;
use crate::db::Tx;
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_proto::Digest;
use holdfast_proto::api::authority::DenialKind;
use holdfast_trust::attest::policy::{AkHierarchy, EventLogPolicy};
use holdfast_trust::attest::{DenyList, Policy, Recovery, Unlisted};
use holdfast_trust::chain::{Anchor, Anchors, Certifies, Scope, TimePolicy};
use holdfast_trust::limits::CLAIM_MAX_BYTES;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// PCRs that enrolments and reports quote.
pub const QUOTED_PCRS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// Anchors of endorsement keys, and what is denied.
#[derive(Debug, Default)]
pub struct EkTrust {
    pub anchors: Anchors,
    pub deny: DenyList,
}

/// For each tenant what was read last, and at which version.
#[derive(Debug, Default)]
pub struct EkTrustCache(RwLock<HashMap<String, (String, Arc<EkTrust>)>>);

impl EkTrustCache {
    fn get(&self, tenant: &str, version: &str) -> Option<Arc<EkTrust>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(tenant).filter(|(at, _)| at == version).map(|(_, ek)| Arc::clone(ek))
    }

    fn keep(&self, tenant: &str, version: String, ek: &Arc<EkTrust>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(tenant.to_owned(), (version, Arc::clone(ek)));
    }
}

/// What the tenant believes.
#[derive(Debug, Clone, Default)]
pub struct Believed {
    pub ek: Arc<EkTrust>,
    /// EK hashes that a claim or an operator named: tier T3 without a certificate.
    pub listed_eks: BTreeSet<Digest>,
    /// Whose expired certificates count in a recovery of tier T0, and how long after their end (seconds).
    pub recovery: Option<(Vec<Vec<u8>>, i64)>,
}

/// The tenant's anchors of endorsement keys, and what it denies: as it is now, read and parsed once for each change.
pub async fn anchors(state: &AppState, tx: &mut Tx, tenant: &str) -> Result<Believed, Refusal> {
    // Asked for first: what is kept is never older than the version that it is kept under.
    let version = authority::trust_version(tx, tenant).await?;
    anchors_at(state, tx, tenant, version).await
}

async fn anchors_at(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    version: String,
) -> Result<Believed, Refusal> {
    if let Some(ek) = state.ek_trust.get(tenant, &version) {
        return Ok(Believed { ek, ..Believed::default() });
    }
    let ek = EkTrust { anchors: ek_anchors(tx, tenant).await?, deny: deny_list(tx, tenant).await? };
    let ek = Arc::new(ek);
    state.ek_trust.keep(tenant, version, &ek);
    Ok(Believed { ek, ..Believed::default() })
}

async fn ek_anchors(tx: &mut Tx, tenant: &str) -> Result<Anchors, Refusal> {
    let mut anchors = Anchors::default();
    let mut version = Sha256::new();
    for root in authority::ek_roots(tx, tenant).await? {
        let certifies = root.shown.certifies.iter().map(|pair| {
            let san = pair.san_id.parse().map_err(Refusal::internal)?;
            Ok(Certifies { san, tpm: pair.tpm_id.parse().map_err(Refusal::internal)? })
        });
        version.update(root.shown.id.as_bytes());
        version.update(root.shown.fingerprint.as_bytes());
        anchors.intermediates.extend(root.intermediates);
        anchors.anchors.push(Anchor {
            certificate: root.certificate,
            class: root.shown.class,
            scope: Scope::Only(certifies.collect::<Result<_, Refusal>>()?),
            time: TimePolicy::Strict,
        });
    }
    anchors.version = format!("{}/{}", anchors.anchors.len(), hex::encode(&version.finalize()[..8]));
    Ok(anchors)
}

/// What a peer says as a key to look rows up by: nothing, where no judgement would let it pass (PostgreSQL takes no
/// U+0000 in a text).
pub(super) fn plain(said: &str) -> &str {
    let fits = (1..=CLAIM_MAX_BYTES).contains(&said.len()) && !said.chars().any(char::is_control);
    if fits { said } else { "" }
}

/// As [`anchors`], with what speaks for this endorsement key and serial, and what a recovery is held against.
pub(super) async fn for_attempt(
    state: &AppState,
    tx: &mut Tx,
    (tenant, serial): (&str, &str),
    ek_hash: Option<Digest>,
) -> Result<Believed, Refusal> {
    if let Some(ek) = ek_hash {
        let under = sql::under(tx, tenant, serial, ek).await?;
        let mut believed = anchors_at(state, tx, tenant, under.trust_version).await?;
        believed.listed_eks.extend(under.is_listed.then_some(ek));
        return Ok(believed);
    }
    // Without a TPM, an expired certificate of ours may speak for the device.
    let mut believed = anchors(state, tx, tenant).await?;
    let issuers = crate::ca::authorities(tx, tenant).await?;
    let issuers = issuers.into_iter().filter(|authority| authority.name == "device");
    let window_s = state.config.identity.recover_t0_days * DAY_S;
    believed.recovery = Some((issuers.map(|authority| authority.certificate.0).collect(), window_s));
    Ok(believed)
}

const DAY_S: i64 = 86_400;

async fn deny_list(tx: &mut Tx, tenant: &str) -> Result<DenyList, Refusal> {
    let mut deny = DenyList::default();
    for denial in authority::denials(tx, tenant).await? {
        // A denial that cannot be read must not be passed over.
        let unreadable =
            || Refusal::internal(format!("the denial {denial:?} cannot be read by this version"));
        match denial.kind {
            DenialKind::Ek => {
                deny.ek_hashes.insert(denial.value.parse().map_err(|_| unreadable())?);
            }
            DenialKind::CertificateSerial => {
                deny.certificate_serials
                    .insert(authority::serial_number(&denial.value).ok_or_else(unreadable)?);
            }
            DenialKind::Firmware => {
                deny.firmware.push(authority::firmware_range(&denial.value).ok_or_else(unreadable)?);
            }
        }
    }
    Ok(deny)
}

/// The policy that every attestation of the tenant is judged by.
pub fn policy(believed: &Believed) -> Policy<'_> {
    Policy {
        algorithms: rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all,
        anchors: &believed.ek.anchors,
        deny: &believed.ek.deny,
        listed_eks: &believed.listed_eks,
        unlisted: Unlisted::Await,
        ak_hierarchy: AkHierarchy::Endorsement,
        event_log: EventLogPolicy::Optional,
        pcr_selection: &QUOTED_PCRS,
        recovery: believed
            .recovery
            .as_ref()
            .map(|(issuers, window_s)| Recovery { issuers, window_s: *window_s }),
    }
}
