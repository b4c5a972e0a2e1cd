//! TPM 2.0, as far as Holdfast speaks it.
//!
//! [`wire`] holds structures: parsed totally, hashed over the bytes received, no input or output; the server's
//! verifier and the device use it alike. [`device`] (feature `device`) holds commands, keys and transports.
//! Structures are read by `tpm2-protocol`; what it normalises away (raw attribute bits, received bytes) is kept here.
//! Source: TCG TPM 2.0 Library, Parts 1 to 3; TCG EK Credential Profile 2.5.

#[cfg(feature = "device")]
pub mod device;
pub mod wire;
