//! Device keys in the TPM: what is stored are the TPM's own blobs, which open in this TPM alone.

use super::{KeyStore, Slot};
use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use holdfast_tpm::{DeviceKey, Tpm, TpmSigningKey};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The TPM and the files of its blobs.
pub(crate) struct TpmKeys {
    tpm: Arc<Mutex<Tpm>>,
    folder: PathBuf,
}

impl TpmKeys {
    pub(crate) fn open(config: &Config) -> Result<Self, DeviceError> {
        let spec =
            config.tpm.as_deref().ok_or_else(|| DeviceError::usage("the configuration names no TPM"))?;
        Ok(Self { tpm: Arc::new(Mutex::new(Tpm::open(spec)?)), folder: config.state_dir.clone() })
    }

    /// The TPM itself, for what is not a key.
    pub(crate) fn tpm(&self) -> MutexGuard<'_, Tpm> {
        // A panic elsewhere left no half-done command behind: each is one exchange.
        self.tpm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blobs of a slot's key.
    pub(crate) fn key(&self, slot: Slot) -> Result<DeviceKey, DeviceError> {
        let missing =
            || DeviceError::unusable("the device key is missing: `holdfast-device manufacture` makes it");
        let [public, private] = self.paths(slot);
        Ok(DeviceKey {
            public: files::read(&public)?.ok_or_else(missing)?,
            private: files::read(&private)?.ok_or_else(missing)?,
        })
    }

    /// Stores the blobs of a slot's key.
    pub(crate) fn put(&self, slot: Slot, key: &DeviceKey) -> Result<(), DeviceError> {
        let [public, private] = self.paths(slot);
        // The public half last: a key counts as there when both are.
        files::write(&private, &key.private)?;
        files::write(&public, &key.public)
    }

    fn paths(&self, slot: Slot) -> [PathBuf; 2] {
        ["tpm.pub", "tpm.priv"].map(|half| self.folder.join(format!("{}.{half}", slot.suffix())))
    }
}

impl KeyStore for TpmKeys {
    fn ensure(&self, slot: Slot) -> Result<(), DeviceError> {
        if self.paths(slot).iter().all(|path| path.exists()) {
            // A cleared TPM no longer opens it: the device proves itself again with a new one.
            let key = self.key(slot)?;
            // The TPM is let go before another key is made in it.
            let signed = key.sign(&mut self.tpm(), b"holdfast/self-test");
            return match signed {
                Ok(_) => Ok(()),
                Err(holdfast_tpm::TpmError::ForeignBlob) => self.replace(slot),
                Err(error) => Err(error.into()),
            };
        }
        self.replace(slot)
    }

    fn replace(&self, slot: Slot) -> Result<(), DeviceError> {
        let key = DeviceKey::create(&mut self.tpm())?;
        self.put(slot, &key)
    }

    fn promote(&self) -> Result<(), DeviceError> {
        let next = self.key(Slot::Next)?;
        self.put(Slot::Current, &next)
    }

    fn csr(&self, slot: Slot) -> Result<Vec<u8>, DeviceError> {
        Ok(self.key(slot)?.csr(&mut self.tpm())?)
    }

    fn sign(&self, slot: Slot, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let signature = self.key(slot)?.sign(&mut self.tpm(), message)?;
        Ok(signature.to_x509())
    }

    fn tls_key(&self, slot: Slot) -> Result<Arc<dyn rustls::sign::SigningKey>, DeviceError> {
        Ok(Arc::new(TpmSigningKey::new(Arc::clone(&self.tpm), self.key(slot)?)?))
    }

    fn tpm_keys(&self) -> Option<&TpmKeys> {
        Some(self)
    }

    fn release(&self) {
        self.tpm().release();
    }
}
