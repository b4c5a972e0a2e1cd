//! The keys of a device: endorsement key, attestation key, device key. What they are is in
//! [`crate::wire`]'s templates; here is how they come to be and what they do.

mod ak;
mod device;
mod ek;
#[cfg(feature = "insecure-impostor")]
mod impostor;

pub use device::DeviceKey;
pub use ek::Ek;
#[cfg(feature = "insecure-impostor")]
pub use impostor::insecure_impostor_key;

/// A TPMS_ATTEST (without the TPM2B size) and the TPMT_SIGNATURE over it, as the TPM gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    pub attest: Vec<u8>,
    pub signature: Vec<u8>,
}
