//! Device keys in a file (PKCS#8, 0600): tier T0, for devices without a TPM.

use super::{KeyStore, Slot};
use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use holdfast_tpm::wire::der;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The files of the keys.
pub(crate) struct FileKeys {
    folder: PathBuf,
}

impl FileKeys {
    pub(crate) fn open(config: &Config) -> Self {
        Self { folder: config.state_dir.clone() }
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(format!("{}.pk8", slot.suffix()))
    }

    fn pkcs8(&self, slot: Slot) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let bytes = files::read(&self.path(slot))?;
        bytes
            .map(Zeroizing::new)
            .ok_or_else(|| DeviceError::unusable("the device key is missing: enrol to make it"))
    }

    fn pair(&self, slot: Slot) -> Result<EcdsaKeyPair, DeviceError> {
        let path = self.path(slot);
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8(slot)?, &SystemRandom::new())
            .map_err(|error| DeviceError::Malformed { path, why: error.to_string() })
    }
}

impl KeyStore for FileKeys {
    fn ensure(&self, slot: Slot) -> Result<(), DeviceError> {
        if self.path(slot).exists() { self.pair(slot).map(|_| ()) } else { self.replace(slot) }
    }

    fn replace(&self, slot: Slot) -> Result<(), DeviceError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| DeviceError::unusable("the system gives no randomness"))?;
        files::write(&self.path(slot), key.as_ref())
    }

    fn promote(&self) -> Result<(), DeviceError> {
        let next = self.pkcs8(Slot::Next)?;
        files::write(&self.path(Slot::Current), &next)
    }

    fn csr(&self, slot: Slot) -> Result<Vec<u8>, DeviceError> {
        let pair = self.pair(slot)?;
        // RFC 2986: version 0, empty subject, the key, no attributes.
        let point = pair.public_key().as_ref();
        let algorithm = der::element(0x30, &[&P256_ALGORITHM]);
        let spki = der::element(0x30, &[&algorithm, &der::bit_string(point)]);
        let info = der::element(0x30, &[&[0x02, 0x01, 0x00], &[0x30, 0x00], &spki, &[0xA0, 0x00]]);
        let signature = self.sign(slot, &info)?;
        let signed_by = der::element(0x30, &[&ECDSA_SHA256]);
        Ok(der::element(0x30, &[&info, &signed_by, &der::bit_string(&signature)]))
    }

    fn sign(&self, slot: Slot, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let signature = self.pair(slot)?.sign(&SystemRandom::new(), message);
        signature.map(|bytes| bytes.as_ref().to_vec()).map_err(|_| DeviceError::unusable("signing failed"))
    }

    fn tls_key(&self, slot: Slot) -> Result<Arc<dyn rustls::sign::SigningKey>, DeviceError> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8(slot)?.to_vec()));
        Ok(rustls::crypto::ring::sign::any_ecdsa_type(&der)?)
    }
}

/// id-ecPublicKey, secp256r1 (RFC 5480).
const P256_ALGORITHM: [u8; 19] = [
    0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03,
    0x01, 0x07,
];
/// ecdsa-with-SHA256 (RFC 5758).
const ECDSA_SHA256: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
