//! `manufacture`: every key exists before the device meets a service, and the line learns what it must claim.

use crate::config::{Config, KeyStoreKind};
use crate::error::DeviceError;
use crate::keystore::{FileKeys, KeyStore as _, Slot, TpmKeys};
use holdfast_proto::Digest;
use holdfast_proto::blob::ManufactureRecord;
use holdfast_tpm::Ek;
use sha2::Digest as _;

/// Makes the keys and prints the record.
pub(crate) fn run(config: &Config) -> Result<(), DeviceError> {
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
