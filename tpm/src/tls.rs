//! The device key as a rustls signing key. No crypto provider is named: the TPM signs.

use crate::commands::{Tpm, TpmError};
use crate::keys::DeviceKey;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A device key that signs TLS handshakes: ECDSA P-256 with SHA-256.
///
/// The TPM is locked for one signature at a time; it loads the key and forgets it again each time.
#[derive(Clone)]
pub struct TpmSigningKey {
    tpm: Arc<Mutex<Tpm>>,
    key: Arc<DeviceKey>,
    spki: Arc<[u8]>,
}

impl TpmSigningKey {
    pub fn new(tpm: Arc<Mutex<Tpm>>, key: DeviceKey) -> Result<Self, TpmError> {
        let spki = key.public_area()?.to_spki_der()?.into();
        Ok(Self { tpm, key: Arc::new(key), spki })
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
}

impl SigningKey for TpmSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| -> Box<dyn Signer> { Box::new(self.clone()) })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&*self.spki))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        // Every command leaves the TPM flushed, so a panicked holder leaves nothing half done.
        let mut tpm = self.tpm.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = self.key.sign(&mut tpm, message);
        signature.map(|signature| signature.to_x509()).map_err(|error| OtherError(Arc::new(error)).into())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl fmt::Debug for TpmSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmSigningKey").finish_non_exhaustive()
    }
}
