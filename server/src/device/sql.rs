//! Table `devices`.

use crate::ca::{Certificate, CertificateState};
use crate::db::{Error, Tx, from_json, json};
use holdfast_proto::DeviceId;
use holdfast_proto::api::device::{Device, DeviceState, RootClass, Tier};
use holdfast_proto::enroll::AttestKind;
use holdfast_trust::attest::tpm2::Clock;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A device's row.
#[derive(Debug, Clone)]
pub struct Record {
    /// What operators see.
    pub device: Device,
    pub kind: Option<AttestKind>,
    pub site: Option<String>,
    /// Expected by the claim.
    pub claimed_ek_hash: Option<holdfast_proto::Digest>,
    pub ak_name: Option<Vec<u8>>,
    /// SubjectPublicKeyInfo of the certified key.
    pub device_key: Option<Vec<u8>>,
    /// Expected by the claim.
    pub claimed_ak_name: Option<Vec<u8>>,
    /// At the last attestation.
    pub tpm_clock: Option<Clock>,
    /// The record that took its place.
    pub replaced_by: Option<DeviceId>,
    /// When the record was made, Unix seconds.
    pub created_at: i64,
}

const COLUMNS: &str = "id, serial, model, state, tier, root_class, labels, ek_hash, release_name, slot, \
     certificate_serial, certificate_not_after, last_seen, version, kind, site, claimed_ek_hash, ak_name, device_key, \
     claimed_ak_name, tpm_clock, replaced_by, created_at";

fn word<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    let Some(text) = row.try_get::<Option<String>, _>(column)? else { return Ok(None) };
    serde_json::from_value(serde_json::Value::String(text))
        .map(Some)
        .map_err(|source| sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() })
}

/// A word of the wire as the text that the column holds.
pub(crate) fn text_of<T: serde::Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

fn missing(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "unexpected null".into() }
}

fn clock(row: &AnyRow) -> Result<Option<Clock>, sqlx::Error> {
    let Some(text) = row.try_get::<Option<String>, _>("tpm_clock")? else { return Ok(None) };
    let wrong = |source: serde_json::Error| sqlx::Error::ColumnDecode {
        index: "tpm_clock".into(),
        source: source.into(),
    };
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

fn record(row: &AnyRow) -> Result<Record, sqlx::Error> {
    Ok(Record {
        device: Device {
            id: DeviceId::new(row.try_get::<String, _>("id")?),
            serial: row.try_get("serial")?,
            model: row.try_get("model")?,
            state: word(row, "state")?.ok_or_else(|| missing("state"))?,
            tier: word(row, "tier")?,
            root_class: word(row, "root_class")?,
            labels: from_json(row, 6)?,
            ek_hash: word(row, "ek_hash")?,
            release: word(row, "release_name")?,
            slot: row.try_get("slot")?,
            certificate_serial: row.try_get("certificate_serial")?,
            certificate_not_after: row.try_get("certificate_not_after")?,
            last_seen: row.try_get("last_seen")?,
            version: row.try_get("version")?,
        },
        kind: word(row, "kind")?,
        site: row.try_get("site")?,
        claimed_ek_hash: word(row, "claimed_ek_hash")?,
        ak_name: row.try_get("ak_name")?,
        device_key: row.try_get("device_key")?,
        claimed_ak_name: row.try_get("claimed_ak_name")?,
        tpm_clock: clock(row)?,
        replaced_by: row.try_get::<Option<String>, _>("replaced_by")?.map(DeviceId::new),
        created_at: row.try_get("created_at")?,
    })
}

/// Whom a certificate speaks for.
pub(super) struct Holder {
    pub(super) tenant: String,
    pub(super) id: DeviceId,
    pub(super) state: DeviceState,
    pub(super) tier: Tier,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) site: Option<String>,
}

/// The device behind a certificate, and that certificate's row: one query, since it is asked on every request.
pub(super) async fn by_certificate(
    tx: &mut Tx,
    serial: &str,
) -> Result<Option<(Holder, Certificate)>, Error> {
    let row = sqlx::query(
        "SELECT d.tenant_id, d.id, d.state, d.tier, d.site, d.labels, c.issuer, c.profile, c.not_before, \
         c.not_after, c.state AS certificate_state, c.certificate FROM certificates c \
         JOIN devices d ON d.tenant_id = c.tenant_id AND d.id = c.subject \
         WHERE c.serial = $1 AND c.profile = 'device'",
    )
    .bind(serial)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let der: Vec<u8> = row.try_get("certificate")?;
    let holder = Holder {
        tenant: row.try_get("tenant_id")?,
        id: DeviceId::new(row.try_get::<String, _>("id")?),
        state: word(&row, "state")?.ok_or_else(|| missing("state"))?,
        tier: word(&row, "tier")?.unwrap_or(Tier::T0),
        site: row.try_get("site")?,
        labels: from_json(&row, 5)?,
    };
    let issued = row.try_get::<String, _>("certificate_state")? == "issued";
    let certificate = Certificate {
        serial: serial.to_owned(),
        issuer: row.try_get("issuer")?,
        profile: row.try_get("profile")?,
        subject: holder.id.as_str().to_owned(),
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        state: if issued { CertificateState::Issued } else { CertificateState::Revoked },
        der,
    };
    Ok(Some((holder, certificate)))
}

async fn one(tx: &mut Tx, tenant: &str, column: &str, value: &str) -> Result<Option<Record>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM devices WHERE tenant_id = $1 AND {column} = $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(value);
    Ok(query.fetch_optional(tx.conn()).await?.map(|row| record(&row)).transpose()?)
}

pub(super) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Record>, Error> {
    one(tx, tenant, "id", id).await
}

pub(super) async fn by_serial(tx: &mut Tx, tenant: &str, serial: &str) -> Result<Option<Record>, Error> {
    one(tx, tenant, "serial", serial).await
}

/// The rows of an EK, and of claims that expect it; whoever has proved it first. A union of looks, each with its own
/// index: SQLite answers an OR of these columns by reading every row of the tenant.
fn of_ek(or: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM devices WHERE id IN (SELECT id FROM devices WHERE tenant_id = $1 AND ek_hash = $2 \
         UNION ALL SELECT id FROM devices WHERE tenant_id = $1 AND claimed_ek_hash = $2{or}) \
         ORDER BY CASE WHEN ek_hash = $2 THEN 0 ELSE 1 END, id"
    )
}

const OR_OF_SERIAL: &str = " UNION ALL SELECT id FROM devices WHERE tenant_id = $1 AND serial = $3";

pub(super) async fn by_ek(tx: &mut Tx, tenant: &str, ek_hash: &str) -> Result<Option<Record>, Error> {
    let query = sqlx::query(sqlx::AssertSqlSafe(of_ek(""))).bind(tenant).bind(ek_hash);
    Ok(query.fetch_optional(tx.conn()).await?.map(|row| record(&row)).transpose()?)
}

/// The rows of this serial, of this EK, and of claims that expect it; whoever has proved the EK first.
pub(super) async fn by_serial_or_ek(
    tx: &mut Tx,
    tenant: &str,
    serial: &str,
    ek_hash: &str,
) -> Result<Vec<Record>, Error> {
    let sql = of_ek(OR_OF_SERIAL);
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(ek_hash).bind(serial);
    Ok(query.fetch_all(tx.conn()).await?.iter().map(record).collect::<Result<_, _>>()?)
}

/// Which devices; empty text matches all.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub state: &'a str,
    pub serial: &'a str,
    pub model: &'a str,
}

/// In the order of ids, after `after`.
pub(super) async fn list(
    tx: &mut Tx,
    tenant: &str,
    filter: &Filter<'_>,
    after: &str,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    // A serial has its index, and one row.
    let serial = if filter.serial.is_empty() { "$4 = ''" } else { "serial = $4" };
    let sql = format!(
        "SELECT {COLUMNS} FROM devices WHERE tenant_id = $1 AND id > $2 AND ($3 = '' OR state = $3) \
         AND {serial} AND ($5 = '' OR model = $5) ORDER BY id LIMIT $6"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(after)
        .bind(filter.state)
        .bind(filter.serial)
        .bind(filter.model)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
}

/// The label that is the record's site.
const SITE: &str = "site";

/// A claim to be.
pub(super) struct NewDevice<'a> {
    pub(super) id: &'a str,
    pub(super) serial: &'a str,
    pub(super) model: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) claimed_ek_hash: Option<String>,
    pub(super) claimed_ak_name: Option<&'a [u8]>,
    pub(super) created_by: &'a str,
}

pub(super) async fn insert(tx: &mut Tx, tenant: &str, new: &NewDevice<'_>, now: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO devices (tenant_id, id, serial, model, state, labels, claimed_ek_hash, created_by, \
         created_at, updated_at, version, claimed_ak_name, site) \
         VALUES ($1, $2, $3, $4, 'PENDING', $5, $6, $7, $8, $8, 1, $9, $10)",
    )
    .bind(tenant)
    .bind(new.id)
    .bind(new.serial)
    .bind(new.model)
    .bind(json(new.labels))
    .bind(new.claimed_ek_hash.as_deref())
    .bind(new.created_by)
    .bind(now)
    .bind(new.claimed_ak_name)
    .bind(new.labels.get(SITE).map(String::as_str))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Compare-and-set of the state: true if the row was in `from` at `version`.
pub(super) async fn set_state(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    (from, version): (DeviceState, i64),
    to: DeviceState,
    reason: &str,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE devices SET state = $5, state_reason = $6, updated_at = $7, version = version + 1 \
         WHERE tenant_id = $1 AND id = $2 AND state = $3 AND version = $4",
    )
    .bind(tenant)
    .bind(id)
    .bind(text_of(&from))
    .bind(version)
    .bind(text_of(&to))
    .bind(reason)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// PENDING becomes ACTIVE, if `certificate` is the newest of the record.
pub(super) async fn activate(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    certificate: &str,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE devices SET state = 'ACTIVE', state_reason = 'acknowledged', updated_at = $4, version = version + 1 \
         WHERE tenant_id = $1 AND id = $2 AND state = 'PENDING' AND certificate_serial = $3",
    )
    .bind(tenant)
    .bind(id)
    .bind(certificate)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn set_labels(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    version: i64,
    labels: &BTreeMap<String, String>,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE devices SET labels = $4, updated_at = $5, site = $6, version = version + 1 \
         WHERE tenant_id = $1 AND id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(id)
    .bind(version)
    .bind(json(labels))
    .bind(now)
    .bind(labels.get(SITE).map(String::as_str))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What an enrolment proved.
#[derive(Debug, Clone)]
pub struct Proven {
    pub kind: AttestKind,
    pub tier: Tier,
    pub root_class: Option<RootClass>,
    pub ek_hash: Option<holdfast_proto::Digest>,
    pub ak_name: Option<Vec<u8>>,
    /// TPM2B_PUBLIC.
    pub ak_public: Option<Vec<u8>>,
    /// SubjectPublicKeyInfo, DER.
    pub device_key: Vec<u8>,
    /// What the TPM's counters said.
    pub tpm_clock: Option<Clock>,
    pub certificate_serial: String,
    pub certificate_not_after: i64,
}

/// Writes what was proved and issued; true if the row was at `version`.
pub(super) async fn set_proven(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    version: i64,
    proven: &Proven,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE devices SET kind = $4, tier = $5, root_class = $6, ek_hash = $7, ak_name = $8, device_key = $9, \
         certificate_serial = $10, certificate_not_after = $11, updated_at = $12, ak_public = $13, tpm_clock = $14, \
         version = version + 1 WHERE tenant_id = $1 AND id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(id)
    .bind(version)
    .bind(text_of(&proven.kind))
    .bind(text_of(&proven.tier))
    .bind(proven.root_class.map(|class| text_of(&class)))
    .bind(proven.ek_hash.map(|hash| hash.to_hex()))
    .bind(proven.ak_name.as_deref())
    .bind(proven.device_key.as_slice())
    .bind(proven.certificate_serial.as_str())
    .bind(proven.certificate_not_after)
    .bind(now)
    .bind(proven.ak_public.as_deref())
    .bind(proven.tpm_clock.map(|clock| json(&clock)))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What the device last said it runs, and when; no new version: it is no operator's edit.
pub(super) async fn set_running(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    release: Option<&str>,
    slot: &str,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET release_name = $3, slot = $4, last_seen = $5 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(release)
    .bind(slot)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn set_last_seen(tx: &mut Tx, tenant: &str, id: &str, at: i64) -> Result<(), Error> {
    sqlx::query(
        "UPDATE devices SET last_seen = $3 WHERE tenant_id = $1 AND id = $2 \
         AND (last_seen IS NULL OR last_seen < $3)",
    )
    .bind(tenant)
    .bind(id)
    .bind(at)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// TPM2B_PUBLIC of the AK that the device last proved; `None` without a TPM.
pub(super) async fn ak_public(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Vec<u8>>, Error> {
    let query =
        sqlx::query("SELECT ak_public FROM devices WHERE tenant_id = $1 AND id = $2").bind(tenant).bind(id);
    Ok(query.fetch_optional(tx.conn()).await?.map(|row| row.try_get(0)).transpose()?.flatten())
}

/// The highest assignment sequence that the device said it trusts; 0 before its first report.
pub(super) async fn seen_assignment(tx: &mut Tx, tenant: &str, id: &str) -> Result<i64, Error> {
    let query = sqlx::query("SELECT assignment FROM device_report WHERE tenant_id = $1 AND device_id = $2");
    let row = query.bind(tenant).bind(id).fetch_optional(tx.conn()).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_for_one_device_reads_no_other() {
        let (db, _folder) = crate::testing::sqlite().await;
        for sql in [of_ek(""), of_ek(OR_OF_SERIAL)] {
            crate::testing::assert_reads_few_rows(&db, &sql).await;
        }
    }
}
