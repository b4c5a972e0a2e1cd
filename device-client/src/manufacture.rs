//! `manufacture`: every key exists before the device meets a service, and the line learns what it must claim.

use crate::config::{Config, KeyStoreKind};
use crate::error::DeviceError;
use crate::keystore::{FileKeys, KeyStore as _, Slot, TpmKeys};
use crate::{files, installer, survey};
use holdfast_decide::device;
use holdfast_proto::Digest;
use holdfast_proto::blob::ManufactureRecord;
use holdfast_proto::manifest::Manifest;
use holdfast_tpm::Ek;
use sha2::Digest as _;
use std::path::Path;

/// Makes the keys and prints the record; notes what the line put into slot a, if it says so.
pub(crate) fn run(config: &Config, installed: Option<&Path>) -> Result<(), DeviceError> {
    if let Some(manifest) = installed {
        note_installed(config, manifest)?;
    }
    let record = match config.keystore {
        KeyStoreKind::Tpm => with_tpm(config)?,
        KeyStoreKind::File => {
            FileKeys::open(config).ensure(Slot::Current)?;
            ManufactureRecord {
                serial: config.serial.clone(),
                model: config.model.clone(),
                ek_certificate: None,
                ek_hash: None,
                ak_name: None,
            }
        }
    };
    println!("{}", serde_json::to_string_pretty(&record).map_err(DeviceError::unusable)?);
    Ok(())
}

/// The factory's word, held against the bytes that it put there.
fn note_installed(config: &Config, path: &Path) -> Result<(), DeviceError> {
    let malformed = |why: String| DeviceError::Malformed { path: path.to_owned(), why };
    let bytes = files::read(path)?.ok_or_else(|| malformed("it is not there".into()))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    let digest = Digest(sha2::Sha256::digest(&bytes).into());
    let installer = installer::open(config)?;
    survey::verify(installer.as_ref(), &manifest, digest, device::Slot::A).map_err(malformed)
}

fn with_tpm(config: &Config) -> Result<ManufactureRecord, DeviceError> {
    let keys = TpmKeys::open(config)?;
    keys.ensure(Slot::Current)?;
    let mut tpm = keys.tpm();
    let certificates = tpm.ek_certificates()?;
    let ek = Ek::find(&mut tpm, &certificates)?;
    let spki = ek.public.to_spki_der().map_err(DeviceError::unusable)?;
    let certificate = certificates.into_iter().find(|(index, _)| *index == ek.template.certificate_index());
    Ok(ManufactureRecord {
        serial: config.serial.clone(),
        model: config.model.clone(),
        ek_certificate: certificate.map(|(_, bytes)| bytes.into()),
        ek_hash: Some(Digest(sha2::Sha256::digest(&spki).into())),
        ak_name: Some(tpm.ak_public()?.name().into()),
    })
}
