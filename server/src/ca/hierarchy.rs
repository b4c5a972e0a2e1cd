//! Root -> tenant -> issuing CAs: made on the first start, opened on every other.

use super::key::{CaKey, file};
use super::profile::{self, Level};
use super::{Error, sql};
use crate::db::Tx;
use crate::keyring::Keyring;
use crate::tx;
use rcgen::{CertificateParams, Issuer, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use zeroize::Zeroizing;

/// One CA: its certificate and its signer.
pub struct Authority {
    pub name: &'static str,
    pub certificate: CertificateDer<'static>,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    params: CertificateParams,
    key: Arc<dyn CaKey>,
}

/// The four of them.
pub struct Hierarchy {
    pub root: Authority,
    pub tenant: Authority,
    pub device: Authority,
    pub server: Authority,
}

/// What stands in the table for a CA.
pub(super) struct Stored {
    pub(super) certificate: Vec<u8>,
    pub(super) fingerprint: String,
    pub(super) serial: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

struct Plan {
    name: &'static str,
    level: Level,
    algorithm: &'static SignatureAlgorithm,
}

const ROOT: Plan = Plan { name: "root", level: Level::Root, algorithm: &PKCS_ECDSA_P384_SHA384 };
const TENANT: Plan = Plan { name: "tenant", level: Level::Tenant, algorithm: &PKCS_ECDSA_P384_SHA384 };
const DEVICE: Plan = Plan { name: "device", level: Level::Issuing, algorithm: &PKCS_ECDSA_P256_SHA256 };
const SERVER: Plan = Plan { name: "server", level: Level::Issuing, algorithm: &PKCS_ECDSA_P256_SHA256 };

impl Authority {
    /// As an issuer, for rcgen.
    pub(super) fn issuer(&self) -> Issuer<'_, &dyn CaKey> {
        Issuer::from_params(&self.params, &*self.key)
    }
}

impl Hierarchy {
    /// Opens the hierarchy, or makes what is missing, in one transaction.
    pub async fn open_or_make(
        db: &crate::db::Db,
        keyring: &Keyring,
        tenant: &str,
        now: i64,
    ) -> Result<Self, Error> {
        let (hierarchy, generation) = tx!(db, "ca.open_or_make", |tx| {
            let mut generation = 0;
            let root = open_or_make(tx, keyring, tenant, &ROOT, None, now, &mut generation).await?;
            let middle =
                open_or_make(tx, keyring, tenant, &TENANT, Some(&root), now, &mut generation).await?;
            let device =
                open_or_make(tx, keyring, tenant, &DEVICE, Some(&middle), now, &mut generation).await?;
            let server =
                open_or_make(tx, keyring, tenant, &SERVER, Some(&middle), now, &mut generation).await?;
            Ok::<_, Error>((Self { root, tenant: middle, device, server }, generation))
        })?;
        keyring.committed(generation)?;
        Ok(hierarchy)
    }

    /// A leaf of `issuer` with its issuers, up to but without the root.
    pub fn chain(&self, leaf: CertificateDer<'static>, issuer: &Authority) -> Vec<CertificateDer<'static>> {
        vec![leaf, issuer.certificate.clone(), self.tenant.certificate.clone()]
    }
}

async fn open_or_make(
    tx: &mut Tx,
    keyring: &Keyring,
    tenant: &str,
    plan: &Plan,
    parent: Option<&Authority>,
    now: i64,
    generation: &mut i64,
) -> Result<Authority, Error> {
    let key_name = format!("ca/{}", plan.name);
    if let Some(stored) = sql::authority(tx, tenant, plan.name).await? {
        let pkcs8 = keyring.open_in(tx, &key_name).await?;
        let pkcs8 = pkcs8.ok_or_else(|| Error::KeyMissing { name: plan.name.to_owned() })?;
        return authority(plan, tenant, stored.certificate, &pkcs8);
    }
    let pkcs8: Zeroizing<Vec<u8>> = file::generate(plan.algorithm)?;
    let key = file::open(&pkcs8, plan.algorithm)?;
    let serial = profile::serial_from(crate::chance::bytes());
    let validity = plan.level.validity(now);
    let params = profile::ca(&common_name(tenant, plan.name), plan.level, serial, validity);
    let certificate = match parent {
        None => params.self_signed(&&*key)?,
        Some(parent) => params.signed_by(&&*key, &parent.issuer())?,
    };
    let certificate = certificate.der().to_vec();
    let stored = Stored {
        fingerprint: hex::encode(Sha256::digest(&certificate)),
        serial: hex::encode(serial),
        not_before: validity.not_before,
        not_after: validity.not_after,
        certificate,
    };
    sql::insert_authority(tx, tenant, plan.name, &stored, now).await?;
    *generation = keyring.seal_in(tx, &key_name, &pkcs8, now).await?;
    authority(plan, tenant, stored.certificate, &pkcs8)
}

/// The issuer's parameters are its name and key identifier method: the rest of them stands in the certificate.
fn authority(plan: &Plan, tenant: &str, certificate: Vec<u8>, pkcs8: &[u8]) -> Result<Authority, Error> {
    let validity = profile::Validity { not_before: 0, not_after: 0 };
    Ok(Authority {
        name: plan.name,
        fingerprint: hex::encode(Sha256::digest(&certificate)),
        certificate: CertificateDer::from(certificate),
        params: profile::ca(&common_name(tenant, plan.name), plan.level, [0x40; 16], validity),
        key: file::open(pkcs8, plan.algorithm)?,
    })
}

fn common_name(tenant: &str, name: &str) -> String {
    format!("Holdfast {tenant} {name} CA")
}
