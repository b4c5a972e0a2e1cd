//! What firmware does at a boot: the TPM starts anew, the slot is measured into PCR 4, and the event log says so.

use super::power;
use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use crate::installer::{Installer, hash_prefix};
use holdfast_decide::device::Slot;
use holdfast_tpm::Tpm;
use holdfast_tpm::wire::Sha2;
use sha2::{Digest as _, Sha256};

/// Boot manager code and additional boot attempts: where firmware measures what it starts.
const BOOT_PCR: u8 = 4;
const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const SHA256_ALG: u16 = 0x000B;

/// Whether a slot boots: it holds what its install record says. What the factory put there has no record; only the
/// default slot may be such.
pub(super) fn is_bootable(
    installer: &dyn Installer,
    slot: Slot,
    is_default: bool,
) -> Result<bool, DeviceError> {
    match installer.record(slot) {
        None => Ok(is_default),
        Some(record) => {
            let found = digests(installer, slot)?;
            Ok(found
                .iter()
                .all(|(name, digest)| record.artefacts.get(name).is_some_and(|a| a.sha256.0 == *digest)))
        }
    }
}

/// The digests of a slot's artefacts as the medium holds them; the factory's, without a record, count as a whole.
pub(super) fn digests(installer: &dyn Installer, slot: Slot) -> Result<Vec<(String, [u8; 32])>, DeviceError> {
    let record = installer.record(slot);
    let mut found = Vec::new();
    for name in installer.names(slot)? {
        let length = match &record {
            Some(record) => record.artefacts.get(&name).map(|artefact| artefact.length),
            None => None,
        };
        let Some(mut file) = installer.open(slot, &name)? else { continue };
        let digest = hash_prefix(&mut file, length.unwrap_or(u64::MAX));
        let digest = digest.map_err(|source| DeviceError::Read {
            path: format!("{}/{name}", slot.as_str()).into(),
            source,
        })?;
        found.push((name, digest.0));
    }
    Ok(found)
}

/// Power to the TPM off and on, then the slot's digests into it and the log.
pub(super) fn into_tpm(config: &Config, installer: &dyn Installer, slot: Slot) -> Result<(), DeviceError> {
    let Some(spec) = &config.tpm else { return Ok(()) };
    power::cycle(spec)?;
    let mut tpm = Tpm::open(spec)?;
    let mut log = header();
    for pcr in 0..8 {
        let separator = Sha256::digest([0; 4]);
        tpm.pcr_extend(pcr, Sha2::Sha256, &separator)?;
        log.extend(event(pcr, EV_SEPARATOR, &separator.into(), &[0; 4]));
    }
    for (name, digest) in digests(installer, slot)? {
        tpm.pcr_extend(BOOT_PCR, Sha2::Sha256, &digest)?;
        let data = format!("slot {} {name}", slot.as_str());
        log.extend(event(BOOT_PCR, EV_EFI_BOOT_SERVICES_APPLICATION, &digest, data.as_bytes()));
    }
    tpm.release();
    match &config.event_log {
        Some(path) => files::write(path, &log),
        None => Ok(()),
    }
}

/// TCG_PCR_EVENT that says what follows: crypto-agile, one bank, SHA-256 (PC Client Platform Firmware Profile, 10.4.5.1).
fn header() -> Vec<u8> {
    let mut spec_id = b"Spec ID Event03\0".to_vec();
    spec_id.extend(0_u32.to_le_bytes()); // platformClass: client
    spec_id.extend([0, 2, 0, 2]); // version 2.00, errata 0, uintnSize 64 bits
    spec_id.extend(1_u32.to_le_bytes());
    spec_id.extend(SHA256_ALG.to_le_bytes());
    spec_id.extend(32_u16.to_le_bytes());
    spec_id.push(0); // vendorInfoSize
    let mut log = Vec::new();
    log.extend(0_u32.to_le_bytes());
    log.extend(EV_NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    log.extend((spec_id.len() as u32).to_le_bytes());
    log.extend(spec_id);
    log
}

/// TCG_PCR_EVENT2.
fn event(pcr: u8, kind: u32, digest: &[u8; 32], data: &[u8]) -> Vec<u8> {
    let mut event = Vec::new();
    event.extend(u32::from(pcr).to_le_bytes());
    event.extend(kind.to_le_bytes());
    event.extend(1_u32.to_le_bytes());
    event.extend(SHA256_ALG.to_le_bytes());
    event.extend(digest);
    event.extend((data.len() as u32).to_le_bytes());
    event.extend(data);
    event
}
