//! Registering a site, enrolling its controller, renewing the controller's certificate.

use super::sql::{self, SiteRow};
use crate::audit::{self, Actor, Entry};
use crate::ca::issuer::{LeafKey, Request};
use crate::ca::profile::{Leaf, leaf_validity};
use crate::db::Tx;
use crate::http::auth::{Controller, Operator};
use crate::refusal::Refusal;
use crate::secret::ops::sealer;
use crate::secret::seal::{SealError, Sealer};
use crate::state::AppState;
use crate::tx;
use holdfast_proto::Bytes;
use holdfast_proto::api::site::{
    ControllerIssued, ControllerSite, ControllerToken, EnrollController, RegisterSite, Site,
};
use holdfast_proto::id::is_segment;
use holdfast_trust::Verified;
use holdfast_trust::csr::{self, Csr};
use holdfast_trust::workload::Keys;
use sha2::{Digest as _, Sha256};

/// A bootstrap token lives this long, seconds.
const TOKEN_TTL_S: i64 = 3_600;
const TOKEN_PREFIX: &str = "hfc_";
/// A controller's certificate; it renews at half of it.
const CERTIFICATE_DAYS: i64 = 30;
const ISSUER_MAX_BYTES: usize = 512;
const PROFILE: &str = "controller";
const MAC_LABEL: &str = "site";

/// Registers a site and pins its cluster's token keys.
pub async fn register(state: &AppState, operator: &Operator, body: &RegisterSite) -> Result<Site, Refusal> {
    for (what, name) in [("site", &body.site), ("cluster", &body.cluster)] {
        if !is_segment(name) {
            return Err(Refusal::invalid("malformed-site", format!("a {what} is 1 to 128 of [a-z0-9._-]")));
        }
    }
    let printable = body.issuer.bytes().all(|byte| byte.is_ascii_graphic());
    if body.issuer.is_empty() || body.issuer.len() > ISSUER_MAX_BYTES || !printable {
        let text = format!(
            "an issuer is 1 to {ISSUER_MAX_BYTES} printable ASCII characters, as `iss` in the tokens"
        );
        return Err(Refusal::invalid("malformed-issuer", text));
    }
    let jwks = crate::db::json(&body.jwks);
    let keys = parse_keys(&jwks)?;
    let now = state.now();
    let sealer = sealer(state).await?;
    let row = SiteRow {
        site: body.site.clone(),
        cluster: body.cluster.clone(),
        issuer: body.issuer.clone(),
        jwks,
        created_at: now,
        mac: Vec::new(),
    };
    let row =
        SiteRow { mac: with_parts(&operator.tenant, &row, |parts| sealer.mac(MAC_LABEL, parts)), ..row };
    tx!(state.db, "site.register", |tx| {
        if sql::site_row(tx, &operator.tenant, &row.site).await?.is_some() {
            let text = format!("the site {} is registered already; its keys stay pinned", row.site);
            return Err(Refusal::conflict("site-known", text));
        }
        sql::site_insert(tx, &operator.tenant, &row).await?;
        let reason =
            format!("cluster {}, issuer {}, keys {}", row.cluster, row.issuer, keys.ids().join(", "));
        let entry = operator.did("site.register", format!("site/{}", row.site), audit::printable(&reason));
        audit::append(tx, &entry, now).await?;
        Ok(())
    })?;
    to_api(&row, None)
}

pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<Site>, Refusal> {
    let mut tx = state.db.read().await?;
    let mut sites = Vec::new();
    for row in sql::site_list(&mut tx, &operator.tenant, after, limit).await? {
        let newest = crate::ca::revoke::newest_of(&mut tx, &operator.tenant, PROFILE, &row.site).await?;
        let valid = newest.filter(|found| found.state == crate::ca::CertificateState::Issued);
        sites.push(to_api(&row, valid.map(|found| found.serial))?);
    }
    Ok(sites)
}

/// Makes a one-time token for the site's controller.
pub async fn controller_token(
    state: &AppState,
    operator: &Operator,
    site: &str,
) -> Result<ControllerToken, Refusal> {
    let now = state.now();
    let secret = hex::encode(crate::chance::bytes::<32>());
    let expires_at = now + TOKEN_TTL_S;
    tx!(state.db, "site.controller_token", |tx| {
        if sql::site_row(tx, &operator.tenant, site).await?.is_none() {
            return Err(Refusal::not_found(format_args!("site `{}`", audit::printable(site))));
        }
        sql::controller_token_insert(tx, &operator.tenant, site, &hash(&secret), expires_at).await?;
        let entry = operator.did("site.controller-token", format!("site/{site}"), "");
        audit::append(tx, &entry, now).await?;
        Ok(())
    })?;
    Ok(ControllerToken { token: format!("{TOKEN_PREFIX}{secret}"), expires_at })
}

/// The controller's first certificate, for its one-time token. What other controllers of the site held is revoked.
pub async fn enroll(state: &AppState, body: &EnrollController) -> Result<ControllerIssued, Refusal> {
    let refused = || {
        let text = "this token is not for this site, was used, or has ended: make another with `holdfast site controller-token`";
        Refusal::unauthenticated("bootstrap-token", text)
    };
    let csr = verify_csr(&body.csr)?;
    let secret = body.token.strip_prefix(TOKEN_PREFIX).filter(|hex| hex.len() == 64).ok_or_else(refused)?;
    let now = state.now();
    // Until sites carry their tenant in the token, the embedded one.
    let tenant = state.tenant();
    let issued = tx!(state.db, "site.enroll", |tx| {
        if !sql::controller_token_spend(tx, tenant, &body.site, &hash(secret), now).await? {
            return Ok(None);
        }
        let others =
            crate::ca::revoke::all_of(tx, tenant, PROFILE, &body.site, "another controller enrolled", now);
        let others = others.await?;
        let issued = issue(state, tx, tenant, &body.site, &csr, now).await?;
        let reason = format!("serial {}, {others} earlier revoked", issued.serial);
        let entry =
            Entry::done(tenant, Actor::Controller(&body.site), "site.enroll", site_of(&body.site), reason);
        audit::append(tx, &entry, now).await?;
        Ok::<_, Refusal>(Some(issued))
    })?;
    issued.map(|issued| answer(tenant, issued)).ok_or_else(refused)
}

/// The next certificate; the present one stays good to its end.
pub async fn renew(
    state: &AppState,
    controller: &Controller,
    csr: &[u8],
) -> Result<ControllerIssued, Refusal> {
    let csr = verify_csr(csr)?;
    let now = state.now();
    let issued = tx!(state.db, "site.renew", |tx| {
        let issued = issue(state, tx, &controller.tenant, &controller.site, &csr, now).await?;
        let reason = format!("serial {}", issued.serial);
        let actor = Actor::Controller(&controller.site);
        let entry = Entry::done(&controller.tenant, actor, "site.renew", site_of(&controller.site), reason);
        audit::append(tx, &entry, now).await?;
        Ok::<_, Refusal>(issued)
    })?;
    Ok(answer(&controller.tenant, issued))
}

/// Whom the service takes the controller for.
pub async fn hello(state: &AppState, controller: &Controller) -> Result<ControllerSite, Refusal> {
    let Controller { tenant, site, .. } = controller;
    let row = sql::site_row(&mut state.db.read().await?, tenant, site).await?;
    let row = row.ok_or_else(|| Refusal::not_found(format_args!("site `{site}`")))?;
    Ok(ControllerSite { tenant: tenant.clone(), site: row.site, cluster: row.cluster })
}

/// A site whose row nobody but the service wrote, with its keys.
pub(super) struct Pinned {
    pub(super) cluster: String,
    pub(super) issuer: String,
    pub(super) keys: Keys,
}

pub(super) async fn pinned(
    tx: &mut Tx,
    tenant: &str,
    site: &str,
    sealer: &Sealer,
) -> Result<Pinned, Refusal> {
    let row = sql::site_row(tx, tenant, site).await?;
    let row = row.ok_or_else(|| Refusal::not_found(format_args!("site `{}`", audit::printable(site))))?;
    check(sealer, tenant, &row)?;
    Ok(Pinned { keys: parse_keys(&row.jwks)?, cluster: row.cluster, issuer: row.issuer })
}

async fn issue(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    site: &str,
    csr: &Verified<Csr>,
    now: i64,
) -> Result<crate::ca::Issued, Refusal> {
    let key = LeafKey::from_spki(&csr.spki)?;
    let trust_domain = &state.config.identity.trust_domain;
    let request = Request {
        tenant,
        profile: PROFILE,
        subject: site,
        leaf: Leaf::Controller { trust_domain, site },
        validity: leaf_validity(now, CERTIFICATE_DAYS),
    };
    Ok(state.ca.issue(tx, &state.ca.device, &request, &key, now).await?)
}

fn answer(tenant: &str, issued: crate::ca::Issued) -> ControllerIssued {
    ControllerIssued {
        certificate_chain: issued.chain.into_iter().map(|der| Bytes(der.to_vec())).collect(),
        tenant: tenant.to_owned(),
        not_after: issued.not_after,
    }
}

fn verify_csr(der: &[u8]) -> Result<Verified<Csr>, Refusal> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    csr::verify(der, provider.signature_verification_algorithms.all).map_err(|error| {
        Refusal::invalid("csr-malformed", format!("the signing request is refused: {error}"))
    })
}

fn parse_keys(jwks: &str) -> Result<Keys, Refusal> {
    Keys::parse(jwks.as_bytes()).map_err(|error| {
        let text =
            format!("the key set is not pinned: {error}; take it from `kubectl get --raw /openid/v1/jwks`");
        Refusal::invalid("malformed-jwks", text)
    })
}

fn site_of(site: &str) -> String {
    format!("site/{site}")
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

fn with_parts<T>(tenant: &str, row: &SiteRow, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let created = row.created_at.to_be_bytes();
    let texts = [tenant, &row.site, &row.cluster, &row.issuer, &row.jwks];
    let mut parts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    parts.push(&created);
    then(&parts)
}

fn check(sealer: &Sealer, tenant: &str, row: &SiteRow) -> Result<(), SealError> {
    with_parts(tenant, row, |parts| sealer.check_mac(MAC_LABEL, parts, &row.mac))
}

fn to_api(row: &SiteRow, controller_certificate: Option<String>) -> Result<Site, Refusal> {
    Ok(Site {
        site: row.site.clone(),
        cluster: row.cluster.clone(),
        issuer: row.issuer.clone(),
        key_ids: parse_keys(&row.jwks)?.ids(),
        controller_certificate,
        created_at: row.created_at,
    })
}
