//! TPM 2.0: structures for everyone ([`wire`], pure), and behind feature `device` commands, keys and
//! transports for a program with a TPM at hand.
//!
//! ```no_run
//! # #[cfg(feature = "device")]
//! # fn demo() -> Result<(), holdfast_tpm::TpmError> {
//! use holdfast_tpm::{DeviceKey, Tpm};
//! let mut tpm = Tpm::open("device:/dev/tpmrm0")?;
//! let key = DeviceKey::create(&mut tpm)?;
//! let certified = key.certify(&mut tpm, &[0; 32])?;
//! # Ok(()) }
//! ```

pub mod wire;

#[cfg(feature = "device")]
mod commands;
#[cfg(feature = "device")]
mod csr;
#[cfg(feature = "device")]
mod keys;
#[cfg(feature = "device")]
mod tls;
#[cfg(feature = "device")]
pub mod transport;

#[cfg(feature = "device")]
pub use commands::{Loaded, Patience, PcrValue, Properties, ResponseCode, Tpm, TpmError, rc};
#[cfg(feature = "insecure-impostor")]
pub use keys::insecure_impostor_key;
#[cfg(feature = "device")]
pub use keys::{Attestation, DeviceKey, Ek};
#[cfg(feature = "device")]
pub use tls::TpmSigningKey;
