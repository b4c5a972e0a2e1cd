//! What is done with devices: claims, lists, states, labels; and for other nouns, finding and proving them.

pub use super::sql::{Filter, Proven, Record};
use crate::tx;

use super::sql::{self, NewDevice};
use crate::audit;
use crate::authority;
use crate::ca;
use crate::db::{Error, Tx};
use crate::http::auth::{self, Operator};
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_decide::access::{DeviceActor, Selector, Standing, device_label, is_label_key, is_label_value};
use holdfast_proto::api::device::{Device, DeviceState, RegisterDevice, Tier};
use holdfast_proto::blob::ManufactureRecord;
use holdfast_proto::{Digest, TenantId};
use sha2::Digest as _;
use std::collections::BTreeMap;
use x509_parser::prelude::FromDer as _;

const MAX_LABELS: usize = 64;
const MAX_NAME_BYTES: usize = 128;
/// Claims in one import.
pub const MAX_IMPORT: usize = 1000;

/// The device behind a certificate's serial, and that certificate.
pub async fn by_certificate(
    tx: &mut Tx,
    serial: &str,
) -> Result<Option<(auth::Device, ca::Certificate)>, Error> {
    let Some((holder, certificate)) = sql::by_certificate(tx, serial).await? else { return Ok(None) };
    let device = auth::Device {
        tenant: holder.tenant,
        id: holder.id,
        state: holder.state,
        tier: holder.tier,
        labels: holder.labels,
        site: holder.site,
        certificate: certificate.serial.clone(),
        certificate_der: certificate.der.clone(),
    };
    Ok(Some((device, certificate)))
}

pub async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Record>, Error> {
    sql::by_id(tx, tenant, id).await
}

pub async fn by_serial(tx: &mut Tx, tenant: &str, serial: &str) -> Result<Option<Record>, Error> {
    sql::by_serial(tx, tenant, serial).await
}

/// Whose endorsement key this is: the record that has proved it, else the one whose claim expects it.
pub async fn by_ek(tx: &mut Tx, tenant: &str, ek_hash: &Digest) -> Result<Option<Record>, Error> {
    sql::by_ek(tx, tenant, &ek_hash.to_hex()).await
}

/// As [`by_serial`] and [`by_ek`], in one look.
pub async fn by_serial_and_ek(
    tx: &mut Tx,
    tenant: &str,
    serial: &str,
    ek_hash: &Digest,
) -> Result<(Option<Record>, Option<Record>), Error> {
    let rows = sql::by_serial_or_ek(tx, tenant, serial, &ek_hash.to_hex()).await?;
    let of_ek = |row: &&Record| [row.device.ek_hash, row.claimed_ek_hash].contains(&Some(*ek_hash));
    let by_ek = rows.iter().find(of_ek).cloned();
    Ok((rows.into_iter().find(|row| row.device.serial == serial), by_ek))
}

/// Registers claims, all or none.
pub async fn register(
    state: &AppState,
    operator: &Operator,
    claims: &[RegisterDevice],
) -> Result<Vec<Device>, Refusal> {
    let checked = claims.iter().map(check_claim).collect::<Result<Vec<_>, _>>()?;
    let now = state.now();
    tx!(state.db, "device.register", |tx| {
        let mut devices = Vec::with_capacity(claims.len());
        for (claim, ek_hash) in claims.iter().zip(&checked) {
            devices.push(claim_device(tx, operator, claim, *ek_hash, now).await?);
        }
        Ok(devices)
    })
}

/// Writes one claim with its audit row.
pub(super) async fn claim_device(
    tx: &mut Tx,
    operator: &Operator,
    claim: &RegisterDevice,
    ek_hash: Option<Digest>,
    now: i64,
) -> Result<Device, Refusal> {
    let (tenant, record) = (operator.tenant.as_str(), &claim.record);
    if let Some(known) = sql::by_serial(tx, tenant, &record.serial).await? {
        let text = format!("the serial {} is claimed already", audit::printable(&record.serial));
        return Err(Refusal::conflict("serial-known", text).on_record(known.device.id.as_str()));
    }
    if let Some(hash) = ek_hash
        && let Some(known) = by_ek(tx, tenant, &hash).await?
    {
        let text = format!("this endorsement key belongs to serial {}", known.device.serial);
        return Err(Refusal::conflict("ek-known", text).on_record(known.device.id.as_str()));
    }
    let id = crate::chance::id("dev", now);
    let new = NewDevice {
        id: &id,
        serial: &record.serial,
        model: &record.model,
        labels: &claim.labels,
        claimed_ek_hash: ek_hash.map(|hash| hash.to_hex()),
        claimed_ak_name: record.ak_name.as_ref().map(|name| name.0.as_slice()),
        created_by: operator.principal(),
    };
    sql::insert(tx, tenant, &new, now).await?;
    let reason = format!("serial {} model {}{}", record.serial, record.model, labels_given(&claim.labels));
    audit::append(tx, &operator.did("device.register", format!("device/{id}"), reason), now).await?;
    let record = sql::by_id(tx, tenant, &id).await?;
    record.map(|record| record.device).ok_or_else(|| Refusal::not_found("device"))
}

/// Devices in the order of ids, those that `selector` matches.
pub async fn list(
    tx: &mut Tx,
    tenant: &str,
    filter: &Filter<'_>,
    selector: &Selector,
    after: &str,
    limit: i64,
) -> Result<Vec<Device>, Refusal> {
    let rows = walk(tx, tenant, (filter, selector), after, limit).await?;
    Ok(rows.into_iter().map(|row| row.device).collect())
}

/// Every record that `selector` matches, for planners and jobs.
pub async fn all_matching(tx: &mut Tx, tenant: &str, selector: &Selector) -> Result<Vec<Record>, Error> {
    walk(tx, tenant, (&Filter::default(), selector), "", i64::MAX).await
}

/// Page by page: rows as the driver gives them take several times the room of the records that are made of them.
async fn walk(
    tx: &mut Tx,
    tenant: &str,
    (filter, selector): (&Filter<'_>, &Selector),
    after: &str,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    const CHUNK: i64 = 500;
    let mut found = Vec::new();
    let mut after = after.to_owned();
    loop {
        let rows = sql::list(tx, tenant, filter, &after, CHUNK).await?;
        let last = (rows.len() as i64) < CHUNK;
        if let Some(row) = rows.last() {
            row.device.id.as_str().clone_into(&mut after);
        }
        for row in rows {
            if found.len() as i64 == limit {
                return Ok(found);
            }
            if matches(selector, &row) {
                found.push(row);
            }
        }
        if last {
            return Ok(found);
        }
    }
}

fn matches(selector: &Selector, row: &Record) -> bool {
    let (id, site) = (row.device.id.as_str(), row.site.as_deref());
    selector.matches(|key| device_label(id, site, &row.device.labels, key))
}

/// Reads a selector from a query.
pub fn selector(text: &str) -> Result<Selector, Refusal> {
    Selector::parse(text).map_err(|error| Refusal::invalid("malformed-selector", error.to_string()))
}

pub async fn show(state: &AppState, tenant: &str, id: &str) -> Result<Device, Refusal> {
    let record = sql::by_id(&mut state.db.read().await?, tenant, id).await?;
    record.map(|record| record.device).ok_or_else(|| no_device(id))
}

fn no_device(id: &str) -> Refusal {
    Refusal::not_found(format_args!("device `{}`", audit::printable(id)))
}

/// What an operator may do with a device's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Quarantine,
    Reinstate,
    Retire,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Quarantine => "device.quarantine",
            Self::Reinstate => "device.reinstate",
            Self::Retire => "device.retire",
        }
    }

    /// The state after it, or why it cannot be. A device that never proved itself cannot become ACTIVE here.
    fn after(self, from: DeviceState) -> Option<DeviceState> {
        match (self, from) {
            (Self::Quarantine, DeviceState::Active | DeviceState::Pending) => Some(DeviceState::Suspended),
            (Self::Reinstate, DeviceState::Suspended) => Some(DeviceState::Active),
            (Self::Retire, DeviceState::Pending | DeviceState::Active | DeviceState::Suspended) => {
                Some(DeviceState::Retired)
            }
            _ => None,
        }
    }
}

/// Changes a device's state: it holds from the device's next request on. Doing it twice changes nothing.
pub async fn change_state(
    state: &AppState,
    operator: &Operator,
    id: &str,
    change: Change,
    reason: &str,
    if_match: Option<i64>,
) -> Result<Device, Refusal> {
    let now = state.now();
    let (tenant, reason) = (operator.tenant.as_str(), audit::printable(reason));
    tx!(state.db, change.word(), |tx| {
        let record = sql::by_id(tx, tenant, id).await?.ok_or_else(|| no_device(id))?;
        let (from, version) = (record.device.state, record.device.version);
        if if_match.is_some_and(|wanted| wanted != version) {
            return Err(Refusal::precondition(version));
        }
        let Some(mut to) = change.after(from) else {
            if change == Change::Quarantine && from == DeviceState::Suspended {
                return Ok(record.device);
            }
            let text = format!("{} is not possible from {}", change.word(), sql::text_of(&from));
            return Err(Refusal::conflict("state-does-not-allow", text));
        };
        if change == Change::Reinstate && record.device.certificate_serial.is_none() {
            to = DeviceState::Pending;
        }
        if !sql::set_state(tx, tenant, id, (from, version), to, &reason, now).await? {
            return Err(Refusal::precondition(version));
        }
        if change == Change::Retire {
            ca::revoke::all_of(tx, tenant, "device", id, "retired", now).await?;
            if let Some(ek) = &record.device.ek_hash {
                let why = format!("device {id} retired: {reason}");
                authority::ops::deny_key(tx, operator, ek, &why, now).await?;
            }
        }
        let row = operator.did(change.word(), format!("device/{id}"), reason.as_str());
        audit::append(tx, &row, now).await?;
        sql::by_id(tx, tenant, id).await?.map(|record| record.device).ok_or_else(|| no_device(id))
    })
}

/// Replaces a device's labels.
pub async fn set_labels(
    state: &AppState,
    operator: &Operator,
    id: &str,
    labels: &BTreeMap<String, String>,
    if_match: Option<i64>,
) -> Result<Device, Refusal> {
    check_labels(labels)?;
    let now = state.now();
    let tenant = operator.tenant.as_str();
    tx!(state.db, "device.label", |tx| {
        let record = sql::by_id(tx, tenant, id).await?.ok_or_else(|| no_device(id))?;
        let version = record.device.version;
        if if_match.is_some_and(|wanted| wanted != version)
            || !sql::set_labels(tx, tenant, id, version, labels, now).await?
        {
            return Err(Refusal::precondition(version));
        }
        let row = operator.did("device.label", format!("device/{id}"), label_text(labels));
        audit::append(tx, &row, now).await?;
        sql::by_id(tx, tenant, id).await?.map(|record| record.device).ok_or_else(|| no_device(id))
    })
}

fn label_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Labels for an audit row's reason, where there are any: they decide what a device reads.
pub(crate) fn labels_given(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() { String::new() } else { format!(" labels {}", label_text(labels)) }
}

/// For `enroll`: a record for a device that proved itself and that an operator has approved.
pub(crate) async fn create_approved(
    tx: &mut Tx,
    tenant: &str,
    (serial, model): (&str, &str),
    labels: &BTreeMap<String, String>,
    ek_hash: Option<Digest>,
    (created_by, now): (&str, i64),
) -> Result<String, Error> {
    let id = crate::chance::id("dev", now);
    let claimed_ek_hash = ek_hash.map(|hash| hash.to_hex());
    let new =
        NewDevice { id: &id, serial, model, labels, claimed_ek_hash, claimed_ak_name: None, created_by };
    sql::insert(tx, tenant, &new, now).await?;
    Ok(id)
}

/// For `enroll`: labels given with an approval, over those of the record; true if it was still at its version.
pub(crate) async fn add_labels(
    tx: &mut Tx,
    tenant: &str,
    record: &Record,
    given: &BTreeMap<String, String>,
    now: i64,
) -> Result<bool, Error> {
    let mut labels = record.device.labels.clone();
    labels.extend(given.clone());
    sql::set_labels(tx, tenant, record.device.id.as_str(), record.device.version, &labels, now).await
}

/// For `enroll`: what was proved and issued; true if the row was still at `version`.
pub(crate) async fn set_proven(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    version: i64,
    proven: &Proven,
    now: i64,
) -> Result<bool, Error> {
    sql::set_proven(tx, tenant, id, version, proven, now).await
}

/// For `enroll`: PENDING becomes ACTIVE with M5.
pub(crate) async fn activate(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    certificate: &str,
    now: i64,
) -> Result<bool, Error> {
    sql::activate(tx, tenant, id, certificate, now).await
}

/// For check-ins: what runs, and that it was seen.
pub async fn record_running(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    (release, slot): (Option<&str>, &str),
    now: i64,
) -> Result<(), Error> {
    sql::set_running(tx, tenant, id, release, slot, now).await
}

/// For check-ins: a batch of last-seen times.
pub async fn record_seen(tx: &mut Tx, tenant: &str, seen: &[(String, i64)]) -> Result<(), Error> {
    for (id, at) in seen {
        sql::set_last_seen(tx, tenant, id, *at).await?;
    }
    Ok(())
}

/// For reports' evidence: the AK (TPM2B_PUBLIC) that the device proved; `None` without a TPM.
pub async fn ak_public(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Vec<u8>>, Error> {
    sql::ak_public(tx, tenant, id).await
}

/// For the planner: the highest assignment sequence that the device said it trusts.
pub async fn seen_assignment(tx: &mut Tx, tenant: &str, id: &str) -> Result<i64, Error> {
    sql::seen_assignment(tx, tenant, id).await
}

/// A device as the access table sees it when no connection of its own is there: with its newest certificate.
pub async fn as_actor(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<DeviceActor>, Error> {
    let Some(record) = sql::by_id(tx, tenant, id).await? else { return Ok(None) };
    let certificate = match &record.device.certificate_serial {
        Some(serial) => ca::revoke::lookup(tx, serial).await?.map(|(_, certificate)| certificate.state),
        None => None,
    };
    Ok(Some(DeviceActor {
        tenant: TenantId::new(tenant),
        id: record.device.id.as_str().to_owned(),
        site: record.site,
        labels: record.device.labels,
        tier: record.device.tier.unwrap_or(Tier::T0),
        state: record.device.state,
        certificate: match certificate {
            Some(ca::CertificateState::Revoked) => Standing::Revoked,
            // A device without a certificate is PENDING, which bars it already.
            Some(ca::CertificateState::Issued) | None => Standing::Good,
        },
    }))
}

/// The claim's form, and the hash of the endorsement key that it names.
pub(super) fn check_claim(claim: &RegisterDevice) -> Result<Option<Digest>, Refusal> {
    check_name("serial", &claim.record.serial)?;
    check_name("model", &claim.record.model)?;
    check_labels(&claim.labels)?;
    ek_hash(&claim.record)
}

fn ek_hash(record: &ManufactureRecord) -> Result<Option<Digest>, Refusal> {
    let Some(der) = &record.ek_certificate else { return Ok(record.ek_hash) };
    let malformed =
        || Refusal::invalid("malformed-certificate", "ek_certificate is no X.509 certificate in DER");
    let (_, certificate) =
        x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| malformed())?;
    let hash = Digest(sha2::Sha256::digest(certificate.public_key().raw).into());
    match record.ek_hash {
        Some(said) if said != hash => {
            let text = format!("ek_hash says {said}, the certificate's key hashes to {hash}");
            Err(Refusal::invalid("ek-hash-mismatch", text))
        }
        _ => Ok(Some(hash)),
    }
}

/// 1 to 128 bytes of printable ASCII.
pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), Refusal> {
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| (0x21..0x7f).contains(&b));
    if fits {
        return Ok(());
    }
    let text = format!("a {what} is 1 to {MAX_NAME_BYTES} printable ASCII characters without spaces");
    Err(Refusal::invalid("malformed-name", text))
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if labels.len() > MAX_LABELS {
        return Err(Refusal::invalid("too-many-labels", format!("at most {MAX_LABELS} labels")));
    }
    if labels.contains_key("id") {
        return Err(Refusal::invalid(
            "reserved-label",
            "`id` is the record's own: selectors know it without a label",
        ));
    }
    // The site is a fact of the record, and a level of the hierarchy that access is decided by.
    if let Some(site) = labels.get("site").filter(|site| !holdfast_proto::id::is_segment(site)) {
        let text = format!(
            "`{}` is no site: 1 to 128 of a to z, 0 to 9, dot, underscore, hyphen",
            audit::printable(site)
        );
        return Err(Refusal::invalid("malformed-label", text));
    }
    let bad = labels.iter().find(|(key, value)| !is_label_key(key) || !is_label_value(value));
    match bad {
        Some((key, value)) => {
            let text = format!("`{key}={value}` is no label (Kubernetes syntax)");
            Err(Refusal::invalid("malformed-label", audit::printable(&text)))
        }
        None => Ok(()),
    }
}
