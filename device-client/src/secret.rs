//! `secret PATH`: reads a secret and writes its value to standard output.

use crate::config::Config;
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::keystore::{self, Slot};
use crate::net::Service;
use crate::trust;
use holdfast_proto::api::secret::SecretValue;
use std::io::Write as _;

/// Runs the command.
pub(crate) fn read(config: &Config, path: &str) -> Result<(), DeviceError> {
    let (blob, identity, keys) = (config.read_blob()?, Identity::required(config)?, keystore::open(config)?);
    let path = format!("/v1/secret/{path}");
    let value: SecretValue = trust::in_contact(config, &blob, |site| {
        let service = Service::as_device(site, &identity, keys.as_ref(), Slot::Current)?;
        service.call("GET", &path, &[], &[])?.json(&path)
    })?;
    let written = std::io::stdout().write_all(&value.value).and_then(|()| std::io::stdout().flush());
    written.map_err(|source| DeviceError::Write { path: "standard output".into(), source })
}
