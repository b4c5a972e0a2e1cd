//! Talking to a TPM: transports, commands, and the keys that Holdfast keeps in it.
//!
//! One [`Tpm`] owns one transport; whatever is loaded is flushed when its guard ends, on error paths too, so
//! that the few transient slots never run out.

mod command;
// mod keys;
// mod nv;
// mod signer;
mod transport;

pub use command::{Tpm, TpmCommandError};
// pub use keys::{DeviceKey, EkChoice, Loaded};
// pub use nv::{NvCertificate, Properties};
// pub use signer::TpmSigner;
pub use transport::{Transport, TransportError, open};
