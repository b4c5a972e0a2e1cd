//! What this device is: its record's id and its certificate. Written whole; no server's answer ever deletes it.

use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use holdfast_proto::enroll::EnrollIssued;
use holdfast_proto::{Bytes, DeviceId};
use serde::{Deserialize, Serialize};

const NEXT: &str = "identity.next.json";

/// `identity.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) device: DeviceId,
    /// Leaf first; DER.
    pub(crate) certificate_chain: Vec<Bytes>,
    pub(crate) renew_at: i64,
    pub(crate) not_after: i64,
    /// The service has taken M5.
    pub(crate) acknowledged: bool,
}

impl Identity {
    pub(crate) fn issued(issued: EnrollIssued) -> Self {
        Self {
            device: issued.device,
            certificate_chain: issued.certificate_chain,
            renew_at: issued.renew_at,
            not_after: issued.not_after,
            acknowledged: false,
        }
    }

    pub(crate) fn load(config: &Config) -> Result<Option<Self>, DeviceError> {
        files::read_json(&config.state("identity.json"))
    }

    /// # Errors
    /// When the device has none: it must enrol first.
    pub(crate) fn required(config: &Config) -> Result<Self, DeviceError> {
        Self::load(config)?.ok_or_else(|| {
            DeviceError::unusable("this device has no certificate yet: `holdfast-device enroll`")
        })
    }

    /// The certificate itself, DER.
    pub(crate) fn leaf(&self) -> Result<Vec<u8>, DeviceError> {
        let leaf = self.certificate_chain.first().map(|leaf| leaf.0.clone());
        leaf.ok_or_else(|| DeviceError::unusable("identity.json holds no certificate"))
    }

    pub(crate) fn store(&self, config: &Config) -> Result<(), DeviceError> {
        files::write_json(&config.state("identity.json"), self)
    }

    /// A certificate for the next key whose M5 was sent, or was about to be.
    pub(crate) fn load_next(config: &Config) -> Result<Option<Self>, DeviceError> {
        files::read_json(&config.state(NEXT))
    }

    pub(crate) fn store_next(&self, config: &Config) -> Result<(), DeviceError> {
        files::write_json(&config.state(NEXT), self)
    }

    pub(crate) fn forget_next(config: &Config) -> Result<(), DeviceError> {
        let path = config.state(NEXT);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(DeviceError::Write { path, source })
            }
            _ => Ok(()),
        }
    }
}
