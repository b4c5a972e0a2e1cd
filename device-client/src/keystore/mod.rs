//! Where the device key lives. One trait, one registry; the private key never leaves its store.

mod file;
mod tpm;

pub(crate) use file::FileKeys;
pub(crate) use tpm::TpmKeys;

use crate::config::{Config, KeyStoreKind};
use crate::error::DeviceError;
use rustls::sign::SigningKey;
use std::sync::Arc;

/// Which of the two keys: the one in use, or the one that a renewal is about to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Current,
    Next,
}

impl Slot {
    fn suffix(self) -> &'static str {
        match self {
            Self::Current => "key",
            Self::Next => "key.next",
        }
    }
}

/// A store of device keys (ECDSA P-256).
pub(crate) trait KeyStore {
    /// Makes the key of a slot unless it is there.
    fn ensure(&self, slot: Slot) -> Result<(), DeviceError>;

    /// Makes the key of a slot anew.
    fn replace(&self, slot: Slot) -> Result<(), DeviceError>;

    /// The next key becomes the current one.
    fn promote(&self) -> Result<(), DeviceError>;

    /// PKCS#10 over the key, DER, subject empty.
    fn csr(&self, slot: Slot) -> Result<Vec<u8>, DeviceError>;

    /// ECDSA with SHA-256 over `message`, DER.
    fn sign(&self, slot: Slot, message: &[u8]) -> Result<Vec<u8>, DeviceError>;

    /// For TLS client authentication.
    fn tls_key(&self, slot: Slot) -> Result<Arc<dyn SigningKey>, DeviceError>;

    /// The TPM, where the keys live in one.
    fn tpm_keys(&self) -> Option<&TpmKeys> {
        None
    }

    /// Lets go of what only one program can hold at a time.
    fn release(&self) {}
}

/// The store that the configuration names.
pub(crate) fn open(config: &Config) -> Result<Box<dyn KeyStore>, DeviceError> {
    Ok(match config.keystore {
        KeyStoreKind::Tpm => Box::new(TpmKeys::open(config)?),
        KeyStoreKind::File => Box::new(FileKeys::open(config)),
    })
}
