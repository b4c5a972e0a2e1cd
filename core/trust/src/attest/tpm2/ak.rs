//! The AK's and the device key's public areas: attributes against our own masks, schemes, curves.

use super::curve;
use super::evidence::DEVICE_KEY;
use crate::attest::Ledger;
use crate::attest::reason::Reason;
use holdfast_tpm::wire::{AlgId, Attributes, Curve, Public, SubjectKey};

/// What makes a key one that was born in this TPM and stays there.
const BORN_HERE: u32 = Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN;
const AK_REQUIRED: u32 = BORN_HERE | Attributes::RESTRICTED | Attributes::SIGN | Attributes::USER_WITH_AUTH;
/// Every other bit is refused: decrypt, encryptedDuplication, adminWithPolicy, stClear, the newer TPMs' bits 8 and 9,
/// and whatever has no meaning yet.
const AK_ALLOWED: u32 = AK_REQUIRED | Attributes::NO_DA;
const DEVICE_REQUIRED: u32 = BORN_HERE | Attributes::SIGN;
const DEVICE_FORBIDDEN: u32 =
    Attributes::RESTRICTED | Attributes::DECRYPT | Attributes::ENCRYPTED_DUPLICATION;

/// Judges an AK's public area.
pub(crate) fn check_ak(ak: &Public, ledger: &mut Ledger) {
    let attributes = ak.attributes();
    let right = attributes.all_of(AK_REQUIRED) && !attributes.any_of(!AK_ALLOWED);
    let detail = format!("{attributes:?}: {AK_REQUIRED:#010x} needed, {AK_ALLOWED:#010x} allowed");
    ledger.require(Reason::AkAttributes, right, detail);
    let key = ak.subject_key().map_err(|why| why.to_string());
    let key = key.and_then(|key| curve::check(&key, 2048, &[Curve::P256, Curve::P384]));
    let detail = key.clone().unwrap_or_default();
    ledger.take(Reason::AkKey, key, detail);
    let scheme = ak.scheme();
    let fits = match (scheme, ak.subject_key()) {
        (Some(scheme), Ok(SubjectKey::Rsa { .. })) => [AlgId::RSASSA, AlgId::RSAPSS].contains(&scheme.alg),
        (Some(scheme), Ok(SubjectKey::Ecc { .. })) => scheme.alg == AlgId::ECDSA,
        _ => false,
    };
    let sha2 = scheme.and_then(|scheme| scheme.hash).is_some_and(|hash| hash.sha2().is_some());
    let detail = format!("scheme {scheme:?}, symmetric {:?}", ak.symmetric());
    ledger.require(Reason::AkScheme, fits && sha2 && ak.symmetric().is_none(), detail);
}

/// Judges a device key's public area. A genuine AK certifies an imported or loaded software key as well: only these
/// attributes tell it apart.
pub(crate) fn check_device_key(key: &Public, ledger: &mut Ledger) {
    let attributes = key.attributes();
    let born_here = attributes.all_of(DEVICE_REQUIRED) && !attributes.any_of(DEVICE_FORBIDDEN);
    let detail = format!("{attributes:?}: {DEVICE_REQUIRED:#010x} needed, {DEVICE_FORBIDDEN:#010x} refused");
    ledger.require(Reason::DeviceKeyNotTpmBorn, born_here, detail);
    let subject = key.subject_key().map_err(|why| why.to_string());
    let subject = subject.and_then(|key| curve::check(&key, 2048, &[Curve::P256]));
    let is_p256 = matches!(key.subject_key(), Ok(SubjectKey::Ecc { .. }));
    // A key without a scheme signs with any; one with a scheme must have the one asked for.
    let scheme =
        key.scheme().is_none_or(|scheme| scheme.alg == AlgId::ECDSA && scheme.hash == Some(AlgId::SHA256));
    let detail = format!("{subject:?}, scheme {:?}; asked for {DEVICE_KEY}", key.scheme());
    ledger.require(Reason::DeviceKeyType, subject.is_ok() && is_p256 && scheme, detail);
}
