//! Enrolment, renewal and recovery: M1 to M5 from the device's side (docs/protocol.md).
//!
//! Nothing but the keys and the certificates is kept: a run that was cut off begins again at M1, and the service
//! answers a lost M4 with the same certificate. A renewal that was cut off after M4 is taken up at M5: the service may
//! have revoked the certificate in use without our hearing of it.

use crate::config::{Config, KeyStoreKind};
use crate::error::{DeviceError, is_final};
use crate::files;
use crate::identity::Identity;
use crate::keystore::{self, FileKeys, KeyStore, Slot, TpmKeys};
use crate::net::{Answer, Held, Service, Site, is_told_expired};
use crate::trust;
use holdfast_proto::Bytes;
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::enroll::{
    Attestation, EnrollIssued, EnrollPending, NvCertificate, PROOF_HEADER, PcrBank, PcrValue, TpmProof,
    TpmStart,
};
use holdfast_tpm::Ek;
use holdfast_tpm::wire::{AlgId, Attest, Attested, PcrSelections};
use holdfast_trust::attest::binding::Exporter;
use holdfast_trust::attest::{join_token, tpm2};

/// An event log above this cannot go inline.
const EVENT_LOG_MAX_BYTES: usize = 1 << 20;
/// PCRs may change between quote and read: so many tries.
const QUOTE_TRIES: usize = 5;

/// By which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Enroll,
    Renew,
    Recover,
}

impl Way {
    fn path(self, step: &str) -> String {
        let door = match self {
            Self::Enroll => "enroll",
            Self::Renew => "renew",
            Self::Recover => "recover",
        };
        format!("/v1/{door}/{step}")
    }

    /// A renewal brings a new key beside the one in use.
    fn slot(self) -> Slot {
        if self == Self::Renew { Slot::Next } else { Slot::Current }
    }
}

/// Runs M1 to M5 and keeps what came of it.
pub(crate) fn run(config: &Config, way: Way) -> Result<(), DeviceError> {
    let blob = config.read_blob()?;
    let identity = trust::in_contact(config, &blob, |site| identify(config, &blob, site, way))?;
    println!("{}: enrolled, certificate until {}", identity.device, identity.not_after);
    Ok(())
}

/// As [`run`], for an agent that has contact.
pub(crate) fn identify(
    config: &Config,
    blob: &DeviceBlob,
    site: &Site,
    way: Way,
) -> Result<Identity, DeviceError> {
    if way != Way::Enroll
        && Identity::load_next(config)?.is_some()
        && let Some(identity) = take_up(config, site, keystore::open(config)?.as_ref())?
    {
        return Ok(identity);
    }
    match config.keystore {
        KeyStoreKind::Tpm => by_tpm(config, blob, site, way),
        KeyStoreKind::File => by_token(config, blob, site, way),
    }
}

fn by_tpm(config: &Config, blob: &DeviceBlob, site: &Site, way: Way) -> Result<Identity, DeviceError> {
    let keys = TpmKeys::open(config)?;
    prepare(&keys, way)?;
    let csr = keys.csr(way.slot())?;
    let (ek, m1) = tpm_start(config, blob, &keys)?;
    let service = door(config, site, &keys, way)?;
    let (mut held, m2) = first_half(&service, way, &m1)?;
    let challenge = tpm2::collect::challenge(&m2).map_err(DeviceError::unusable)?;
    let secret = ek.activate(&mut keys.tpm(), &challenge.credential_blob, &challenge.encrypted_secret)?;
    let secret: &[u8; 32] =
        secret.as_slice().try_into().map_err(|_| DeviceError::unusable("the secret is not 32 bytes"))?;
    let event_log = if challenge.event_log { read_event_log(config)? } else { None };

    // A TPM may have thought for as long as a link lasts.
    if !held.is_fresh() {
        held = service.connect()?;
    }
    let exporter = Exporter::Bound(held.exporter);
    let (certify, quote) = tpm2::collect::qualifying_data(&m1, &m2, &csr, event_log.as_deref(), &exporter);
    let selection = PcrSelections::single(AlgId(challenge.pcr_bank), challenge.pcr_selection.iter().copied())
        .map_err(DeviceError::unusable)?;
    let device_key = keys.key(way.slot())?;
    let certified = device_key.certify(&mut keys.tpm(), &certify)?;
    let (quoted, pcr_values) = quote_with_values(&keys, &quote, &selection)?;
    let proof = TpmProof {
        device_public: device_key.public.clone().into(),
        certify: Attestation { attest: certified.attest.into(), signature: certified.signature.into() },
        quote: quoted,
        pcr_values,
        event_log: event_log.map(Into::into),
    };
    let (body, mac) = tpm2::collect::proof(&m1, &m2, &csr, proof, secret).map_err(DeviceError::unusable)?;
    let headers = [(PROOF_HEADER, Bytes(mac.to_vec()).to_base64())];
    let answer = send_proof(&service, &held, way, &headers, &body)?;
    finish(config, site, &keys, way, answer)
}

fn by_token(config: &Config, blob: &DeviceBlob, site: &Site, way: Way) -> Result<Identity, DeviceError> {
    let keys = FileKeys::open(config);
    // The token was for the first certificate; from then on the key of the last one proves the device.
    let last = match way {
        Way::Enroll => None,
        Way::Renew | Way::Recover => Some(Identity::required(config)?.leaf()?),
    };
    // The old key signs; the new one stands beside it until it is certified.
    let slot = if last.is_some() { Slot::Next } else { way.slot() };
    if slot == Slot::Next {
        keys.replace(slot)?;
    } else {
        keys.ensure(slot)?;
    }
    let csr = keys.csr(slot)?;
    let token = match (&last, &blob.join_token) {
        (Some(_), _) => None,
        (None, Some(token)) => Some(token),
        (None, None) => {
            return Err(DeviceError::unusable(
                "the blob carries no join token: `holdfast device token` makes one",
            ));
        }
    };
    let token_id = token.map(|token| token.id.clone()).unwrap_or_default();
    let m1 = join_token::collect::start(
        blob.tenant.clone(),
        config.serial.clone(),
        config.model.clone(),
        token_id,
        last.as_deref(),
    )
    .map_err(DeviceError::unusable)?;
    let service = door(config, site, &keys, way)?;
    let (held, m2) = first_half(&service, way, &m1)?;
    let exporter = Exporter::Bound(held.exporter);
    let body = if let Some(token) = token {
        let secret = token
            .secret
            .0
            .as_slice()
            .try_into()
            .map_err(|_| DeviceError::unusable("the join token is not 32 bytes"))?;
        join_token::collect::proof(&m1, &m2, &csr, secret, &exporter)
    } else {
        let message = join_token::collect::recovery_message(&m1, &m2, &csr, &exporter);
        join_token::collect::recovery_proof(&m1, &m2, &csr, keys.sign(Slot::Current, &message)?)
    };
    let answer = send_proof(&service, &held, way, &[], &body.map_err(DeviceError::unusable)?)?;
    if slot == Slot::Next {
        return finish_next(config, site, &keys, answer, &way.path("proof"));
    }
    finish(config, site, &keys, way, answer)
}

fn prepare(keys: &dyn KeyStore, way: Way) -> Result<(), DeviceError> {
    if way == Way::Renew { keys.replace(Slot::Next) } else { keys.ensure(Slot::Current) }
}

/// Who knocks: nobody yet, or this device with its current certificate.
fn door(config: &Config, site: &Site, keys: &dyn KeyStore, way: Way) -> Result<Service, DeviceError> {
    match way {
        Way::Renew => Service::as_device(site, &Identity::required(config)?, keys, Slot::Current),
        Way::Enroll | Way::Recover => Service::anonymous(site),
    }
}

/// M1: everything that the TPM says of itself.
fn tpm_start(config: &Config, blob: &DeviceBlob, keys: &TpmKeys) -> Result<(Ek, Vec<u8>), DeviceError> {
    let mut tpm = keys.tpm();
    let certificates = tpm.ek_certificates()?;
    let ek = Ek::find(&mut tpm, &certificates)?;
    let properties = tpm.properties()?;
    let banks = tpm.pcr_banks()?;
    let start = TpmStart {
        ek_certificates: certificates
            .into_iter()
            .map(|(nv_index, bytes)| NvCertificate { nv_index, bytes: bytes.into() })
            .collect(),
        ek_chain: tpm.ek_chain()?.into_iter().map(|(_, bytes)| Bytes(bytes)).collect(),
        ek_public: ek.public.to_tpm2b().into(),
        ek_nonce: ek.nonce.clone().map(Into::into),
        ek_template: ek.nv_template.clone().map(Into::into),
        ak_public: tpm.ak_public()?.to_tpm2b().into(),
        manufacturer: format!("{:08x}", properties.manufacturer),
        vendor: properties.vendor,
        firmware_version: properties.firmware_version,
        pcr_banks: banks
            .0
            .iter()
            .map(|bank| PcrBank { alg: bank.bank.0, pcrs: bank.pcrs().into_iter().collect() })
            .filter(|bank| !bank.pcrs.is_empty())
            .collect(),
    };
    let m1 = tpm2::collect::start(blob.tenant.clone(), config.serial.clone(), config.model.clone(), start);
    Ok((ek, m1.map_err(DeviceError::unusable)?))
}

/// A quote and the values that it is over: read again while they change.
pub(crate) fn quote_with_values(
    keys: &TpmKeys,
    qualifying: &[u8; 32],
    selection: &PcrSelections,
) -> Result<(Attestation, Vec<PcrValue>), DeviceError> {
    for _ in 0..QUOTE_TRIES {
        let quoted = keys.tpm().quote(qualifying, selection)?;
        let values = keys.tpm().pcr_read(selection)?;
        let attest = Attest::parse(&quoted.attest).map_err(DeviceError::unusable)?;
        let Attested::Quote { digest, .. } = &attest.attested else {
            return Err(DeviceError::unusable("the TPM quoted something else"));
        };
        let parts: Vec<&[u8]> = values.iter().map(|value| value.value.as_slice()).collect();
        // The digest's algorithm is the AK's: SHA-256.
        if holdfast_trust::attest::binding::sha256(&parts).as_slice() == digest.as_slice() {
            let values = values
                .into_iter()
                .map(|value| PcrValue { alg: value.bank.0, index: value.index, value: value.value.into() })
                .collect();
            let attestation =
                Attestation { attest: quoted.attest.into(), signature: quoted.signature.into() };
            return Ok((attestation, values));
        }
    }
    Err(DeviceError::unusable(format!(
        "the PCRs changed between quote and read {QUOTE_TRIES} times: try again once the device has settled"
    )))
}

/// The event log of this boot, if there is one and it fits.
pub(crate) fn read_event_log(config: &Config) -> Result<Option<Vec<u8>>, DeviceError> {
    let Some(path) = &config.event_log else { return Ok(None) };
    Ok(files::read(path)?.filter(|log| log.len() <= EVENT_LOG_MAX_BYTES))
}

/// M1 and its M2, and the connection that carried them: M3 proves itself over its exporter.
fn first_half(service: &Service, way: Way, m1: &[u8]) -> Result<(Held, Vec<u8>), DeviceError> {
    let (held, path) = (service.connect()?, way.path("start"));
    let m2 = service.over(&held, "POST", &path, &[], m1)?.accepted(&path)?.body;
    Ok((held, m2))
}

fn send_proof(
    service: &Service,
    held: &Held,
    way: Way,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<Answer, DeviceError> {
    let path = way.path("proof");
    let answer = service.over(held, "POST", &path, headers, body)?.accepted(&path)?;
    if answer.status == 202 {
        let pending: EnrollPending = answer.json(&path)?;
        return Err(DeviceError::Pending {
            enrollment: pending.enrollment,
            retry_after_s: pending.retry_after_s,
        });
    }
    Ok(answer)
}

/// M4 and M5.
fn finish(
    config: &Config,
    site: &Site,
    keys: &dyn KeyStore,
    way: Way,
    answer: Answer,
) -> Result<Identity, DeviceError> {
    if way.slot() == Slot::Next {
        return finish_next(config, site, keys, answer, &way.path("proof"));
    }
    let issued: EnrollIssued = answer.json(&way.path("proof"))?;
    let mut identity = Identity::issued(issued);
    identity.store(config)?;
    acknowledge(site, &identity, keys, Slot::Current)?;
    identity.acknowledged = true;
    identity.store(config)?;
    Ok(identity)
}

/// The new certificate is tried with the new key before either replaces the old.
fn finish_next(
    config: &Config,
    site: &Site,
    keys: &dyn KeyStore,
    answer: Answer,
    path: &str,
) -> Result<Identity, DeviceError> {
    let identity = Identity::issued(answer.json(path)?);
    identity.store_next(config)?;
    adopt_next(config, site, keys, identity)
}

/// M5 with the next key; then that is the current one. May be repeated from any point.
fn adopt_next(
    config: &Config,
    site: &Site,
    keys: &dyn KeyStore,
    mut identity: Identity,
) -> Result<Identity, DeviceError> {
    acknowledge(site, &identity, keys, Slot::Next)?;
    identity.acknowledged = true;
    keys.promote()?;
    identity.store(config)?;
    Identity::forget_next(config)?;
    Ok(identity)
}

/// Takes up a renewal or recovery that was cut off after M4. None: there is none, or the service has done with it.
///
/// # Errors
/// When the service cannot be asked: it stays to be taken up.
pub(crate) fn take_up(
    config: &Config,
    site: &Site,
    keys: &dyn KeyStore,
) -> Result<Option<Identity>, DeviceError> {
    let Some(next) = Identity::load_next(config)? else { return Ok(None) };
    match adopt_next(config, site, keys, next) {
        Err(DeviceError::Refused(problem)) if is_final(&problem) => {
            Identity::forget_next(config)?;
            Ok(None)
        }
        Err(error) if is_told_expired(&error) => {
            Identity::forget_next(config)?;
            Ok(None)
        }
        ended => ended.map(Some),
    }
}

fn acknowledge(site: &Site, identity: &Identity, keys: &dyn KeyStore, slot: Slot) -> Result<(), DeviceError> {
    let service = Service::as_device(site, identity, keys, slot)?;
    service.call("POST", "/v1/ack", &[], b"{}").map(|_| ())
}
