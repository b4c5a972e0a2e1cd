//! The device key: an ordinary ECDSA P-256 key under the storage root. The TPM forgets it; the two blobs
//! are kept in files. The private blob is encrypted by the TPM and opens in no other.

use super::Attestation;
use crate::commands::{Loaded, Tpm, TpmError};
use crate::csr;
use crate::wire::{Hierarchy, Public, Sha2, Signature, WireError, device_key_template, srk_template};

/// The blobs of a device key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
}

impl DeviceKey {
    /// Makes a new key in the TPM.
    pub fn create(tpm: &mut Tpm) -> Result<Self, TpmError> {
        let (private, public) = tpm.with(load_srk, |tpm, srk| tpm.create(srk, &device_key_template()))?;
        Ok(Self { public, private })
    }

    /// The public area.
    pub fn public_area(&self) -> Result<Public, WireError> {
        Public::parse_tpm2b(&self.public)
    }

    /// Loads the key for the time of `work`. [`TpmError::ForeignBlob`] after a TPM2_Clear.
    pub fn with<T>(
        &self,
        tpm: &mut Tpm,
        work: impl FnOnce(&mut Tpm, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        tpm.with(|tpm| tpm.with(load_srk, |tpm, srk| tpm.load(srk, &self.private, &self.public)), work)
    }

    /// TPM2_Certify by the attestation key.
    pub fn certify(&self, tpm: &mut Tpm, qualifying: &[u8; 32]) -> Result<Attestation, TpmError> {
        self.with(tpm, |tpm, key| tpm.with_ak(|tpm, ak| tpm.certify(key, ak, qualifying)))
    }

    /// ECDSA over SHA-256 of `message`.
    pub fn sign(&self, tpm: &mut Tpm, message: &[u8]) -> Result<Signature, TpmError> {
        let mut digest = [0; 32];
        digest.copy_from_slice(&Sha2::Sha256.digest(&[message]));
        self.with(tpm, |tpm, key| tpm.sign(key, &digest))
    }

    /// A PKCS#10 request for this key, DER; the subject is empty, since the service sets it.
    pub fn csr(&self, tpm: &mut Tpm) -> Result<Vec<u8>, TpmError> {
        let spki = self.public_area()?.to_spki_der()?;
        csr::build(&spki, |to_be_signed| Ok(self.sign(tpm, to_be_signed)?.to_x509()))
    }
}

pub(super) fn load_srk(tpm: &mut Tpm) -> Result<Loaded, TpmError> {
    tpm.create_primary(Hierarchy::Owner, &srk_template())
}
