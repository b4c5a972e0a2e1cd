//! The attestation key: a primary of the endorsement hierarchy, derived anew whenever it is needed, so
//! that nothing of it is stored and TPM2_Clear does not lose it.

use super::Attestation;
use crate::commands::{Loaded, Tpm, TpmError};
use crate::wire::{Hierarchy, PcrSelections, Public, ak_template};

impl Tpm {
    /// The attestation key's public area.
    pub fn ak_public(&mut self) -> Result<Public, TpmError> {
        self.with_ak(|_, ak| Ok(ak.public.clone()))
    }

    /// TPM2_Quote by the attestation key.
    pub fn quote(
        &mut self,
        qualifying: &[u8; 32],
        selection: &PcrSelections,
    ) -> Result<Attestation, TpmError> {
        self.with_ak(|tpm, ak| tpm.quote_by(ak, qualifying, selection))
    }

    /// Loads the attestation key for the time of `work`.
    pub fn with_ak<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        self.with(|tpm| tpm.create_primary(Hierarchy::Endorsement, &ak_template()), work)
    }
}
