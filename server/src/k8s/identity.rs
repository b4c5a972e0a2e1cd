//! The controller's key and certificate: made here, kept in one file (0600), renewed at half of their life.

use crate::keyring::kek::write_private;
use anyhow::{Context as _, anyhow, ensure};
use holdfast_proto::Bytes;
use holdfast_proto::api::site::ControllerIssued;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A key that waits for its certificate.
pub struct Pending {
    key: KeyPair,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
}

/// Key and certificate of a controller. No Debug.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub tenant: String,
    pub site: String,
    /// Leaf first.
    chain: Vec<Bytes>,
    key_pkcs8: Bytes,
    not_before: i64,
    pub not_after: i64,
}

impl Pending {
    pub fn make() -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // The service sets every name; a request asks for none.
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { key, csr })
    }

    /// With what the service issued.
    pub fn issued(self, site: &str, issued: ControllerIssued, now: i64) -> anyhow::Result<Identity> {
        ensure!(!issued.certificate_chain.is_empty(), "the service issued no certificate");
        Ok(Identity {
            tenant: issued.tenant,
            site: site.to_owned(),
            chain: issued.certificate_chain,
            key_pkcs8: Bytes(self.key.serialize_der()),
            not_before: now,
            not_after: issued.not_after,
        })
    }
}

impl Identity {
    /// True once half of its life is over.
    pub fn is_due(&self, now: i64) -> bool {
        now >= self.not_before + (self.not_after - self.not_before) / 2
    }

    /// True once it is of no use.
    pub fn is_over(&self, now: i64) -> bool {
        now >= self.not_after
    }

    pub(super) fn tls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        (chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_pkcs8.0.clone())))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key_pkcs8.0);
    }
}

/// The file that holds it.
pub struct Keep(PathBuf);

impl Keep {
    pub fn in_folder(data_dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.with_context(|| format!("the data folder {} cannot be made", data_dir.display()))?;
        Ok(Self(data_dir.join("controller.json")))
    }

    /// What was kept for this site; another site's is of no use.
    pub fn load(&self, tenant: &str, site: &str) -> anyhow::Result<Option<Identity>> {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(anyhow!(error).context(format!("{} cannot be read", self.0.display()))),
        };
        // The parser's error may quote what it read, which is a key.
        let identity: Identity = serde_json::from_slice(&bytes)
            .map_err(|_| anyhow!("{} is broken: remove it and enrol again", self.0.display()))?;
        Ok(Some(identity).filter(|identity| identity.tenant == tenant && identity.site == site))
    }

    pub fn save(&self, identity: &Identity) -> anyhow::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(identity)?);
        write_private(&self.0, &bytes).with_context(|| format!("{} cannot be written", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_for_its_own_site_and_due_at_half_of_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::in_folder(&folder.path().join("c")).unwrap();
        assert!(keep.load("default", "plant-a").unwrap().is_none());
        let issued = ControllerIssued {
            certificate_chain: vec![Bytes(vec![1])],
            tenant: "default".into(),
            not_after: 3_000,
        };
        let identity = Pending::make().unwrap().issued("plant-a", issued, 1_000).unwrap();
        keep.save(&identity).unwrap();
        let kept = keep.load("default", "plant-a").unwrap().unwrap();
        assert_eq!(kept.key_pkcs8, identity.key_pkcs8);
        assert!(keep.load("default", "plant-b").unwrap().is_none());
        assert!(keep.load("acme", "plant-a").unwrap().is_none());
        assert!(!kept.is_due(1_999) && kept.is_due(2_000) && !kept.is_over(2_999) && kept.is_over(3_000));
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&keep.0).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
