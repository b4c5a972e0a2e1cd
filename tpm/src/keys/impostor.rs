//! For tests only: a software key inside a genuine TPM. Its attestation key will certify it, and only
//! the attributes in the certified Name tell.

use super::{DeviceKey, device::load_srk};
use crate::commands::{Tpm, TpmError};
use crate::wire::{AlgId, Writer, imported_key_public};

/// Imports a software P-256 key (private scalar and both coordinates, 32 bytes each) under the storage root.
pub fn insecure_impostor_key(
    tpm: &mut Tpm,
    scalar: &[u8; 32],
    x: &[u8; 32],
    y: &[u8; 32],
) -> Result<DeviceKey, TpmError> {
    let public = imported_key_public(x, y);
    // TPMT_SENSITIVE: type, authValue, seedValue, scalar; in its TPM2B.
    let sensitive = Writer::default().u16(AlgId::ECC.0).sized(&[]).sized(&[]).sized(scalar).done();
    let sensitive = Writer::default().sized(&sensitive).done();
    let private = tpm.with(load_srk, |tpm, srk| tpm.import(srk, &sensitive, &public))?;
    Ok(DeviceKey { public: Writer::default().sized(&public).done(), private })
}
