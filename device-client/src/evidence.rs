//! What a report proves: a quote over the service's nonce, the PCRs of enrolment, and the event log of this boot.

use crate::config::Config;
use crate::enroll;
use crate::error::DeviceError;
use crate::keystore::KeyStore;
use holdfast_proto::Bytes;
use holdfast_proto::report::Evidence;
use holdfast_tpm::wire::{AlgId, PcrSelections};
use holdfast_trust::attest::binding::report_quote;

/// What the service asks for in reports: SHA-256, the firmware's and the boot loader's PCRs.
const PCRS: std::ops::Range<u8> = 0..10;

/// Whether the event log goes along: it says what booted; before a reboot there is nothing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    With,
    Without,
}

/// Makes evidence; a device without a TPM has its word and the nonce.
///
/// # Errors
/// When the TPM refuses, or the log cannot be read.
pub(crate) fn make(
    config: &Config,
    keys: &dyn KeyStore,
    nonce: &Bytes,
    log: Log,
) -> Result<Evidence, DeviceError> {
    let Some(tpm) = keys.tpm_keys() else {
        return Ok(Evidence { nonce: nonce.clone(), quote: None, pcr_values: Vec::new(), event_log: None });
    };
    let event_log = if log == Log::With { enroll::read_event_log(config)? } else { None };
    let selection = PcrSelections::single(AlgId::SHA256, PCRS).map_err(DeviceError::unusable)?;
    let qualifying = report_quote(nonce, event_log.as_deref());
    let (quote, pcr_values) = enroll::quote_with_values(tpm, &qualifying, &selection)?;
    Ok(Evidence {
        nonce: nonce.clone(),
        quote: Some(quote),
        pcr_values,
        event_log: event_log.map(Into::into),
    })
}
