//! Join tokens: 32 random bytes, single-use, for one serial; sealed here, shown once.

use super::{ops, sql};
use crate::audit;
use crate::db::{Error, Tx};
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use holdfast_proto::Bytes;
use holdfast_proto::DeviceId;
use holdfast_proto::api::device::{CreateJoinToken, DeviceState, JoinTokenCreated, RegisterDevice};
use holdfast_proto::blob::{JoinTokenSecret, ManufactureRecord};
use sqlx::Row as _;
use zeroize::Zeroizing;

const MAX_TTL_S: u64 = 90 * 86_400;

/// A join token that was found.
pub struct JoinToken {
    pub id: String,
    pub device: String,
    pub secret: Zeroizing<[u8; 32]>,
    pub expires_at: i64,
    pub spent: bool,
}

/// Makes a token, and the claim that it is for where there is none.
pub async fn create(
    state: &AppState,
    operator: &Operator,
    request: CreateJoinToken,
) -> Result<JoinTokenCreated, Refusal> {
    if request.ttl_s == 0 || request.ttl_s > MAX_TTL_S {
        let text = format!("ttl_s is 1 to {MAX_TTL_S}, not {}", request.ttl_s);
        return Err(Refusal::invalid("ttl-out-of-range", text));
    }
    let record = ManufactureRecord {
        serial: request.serial,
        model: request.model,
        ek_certificate: None,
        ek_hash: None,
        ak_name: None,
    };
    let claim = RegisterDevice { record, labels: request.labels };
    ops::check_claim(&claim)?;
    let now = state.now();
    let expires_at = now + request.ttl_s as i64;
    let id = crate::chance::id("jt", now);
    let secret = Zeroizing::new(crate::chance::bytes::<32>());
    let sealed = state.sessions.seal_bytes(id.as_bytes(), &*secret)?;
    let device = tx!(state.db, "device.join_token", |tx| {
        let tenant = operator.tenant.as_str();
        let device = match sql::by_serial(tx, tenant, &claim.record.serial).await? {
            None => ops::claim_device(tx, operator, &claim, None, now).await?,
            Some(known) => usable(known, &claim)?,
        };
        insert(tx, tenant, &id, device.id.as_str(), &sealed, (now, expires_at)).await?;
        let row = operator.did("device.join-token", format!("device/{}", device.id), id.as_str());
        audit::append(tx, &row, now).await?;
        Ok::<_, Refusal>(device)
    })?;
    let join_token = JoinTokenSecret { id, secret: Bytes(secret.to_vec()) };
    Ok(JoinTokenCreated { join_token, device: DeviceId::new(device.id.as_str()), expires_at })
}

/// A known record may get a token if it is of the same model, has no TPM, and has not ended.
fn usable(
    known: super::Record,
    claim: &RegisterDevice,
) -> Result<holdfast_proto::api::device::Device, Refusal> {
    let device = known.device;
    if device.model != claim.record.model {
        let text = format!("the serial {} is claimed with model {}", device.serial, device.model);
        return Err(Refusal::conflict("model-differs", text).on_record(device.id.as_str()));
    }
    // A tier is never lowered by a token.
    if device.ek_hash.is_some() || known.claimed_ek_hash.is_some() {
        let text = "this device has a TPM: it enrols by attestation";
        return Err(Refusal::conflict("device-has-tpm", text).on_record(device.id.as_str()));
    }
    if !matches!(device.state, DeviceState::Pending | DeviceState::Active) {
        let text = "this device's record is suspended or has ended";
        return Err(Refusal::conflict("state-does-not-allow", text).on_record(device.id.as_str()));
    }
    Ok(device)
}

async fn insert(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    device: &str,
    sealed: &[u8],
    (now, expires_at): (i64, i64),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO join_tokens (tenant_id, id, device_id, sealed, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tenant)
    .bind(id)
    .bind(device)
    .bind(sealed)
    .bind(now)
    .bind(expires_at)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The token of that id, opened.
pub async fn open(
    state: &AppState,
    tx: &mut Tx,
    tenant: &str,
    id: &str,
) -> Result<Option<JoinToken>, Refusal> {
    let row = sqlx::query(
        "SELECT device_id, sealed, expires_at, spent_at FROM join_tokens WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let sealed: Vec<u8> = row.try_get(1)?;
    let opened = state.sessions.open_bytes(id.as_bytes(), &sealed)?;
    let secret =
        opened.as_slice().try_into().map_err(|_| Refusal::internal("a join token of a wrong length"))?;
    Ok(Some(JoinToken {
        id: id.to_owned(),
        device: row.try_get(0)?,
        secret: Zeroizing::new(secret),
        expires_at: row.try_get(2)?,
        spent: row.try_get::<Option<i64>, _>(3)?.is_some(),
    }))
}

/// A token's row, its secret left sealed.
#[derive(Debug, Clone)]
pub struct TokenFacts {
    pub device: String,
    pub expires_at: i64,
    pub spent: bool,
}

/// What is known of the token of that id.
pub async fn facts(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<TokenFacts>, Error> {
    let query = sqlx::query(
        "SELECT device_id, expires_at, spent_at FROM join_tokens WHERE tenant_id = $1 AND id = $2",
    );
    let Some(row) = query.bind(tenant).bind(id).fetch_optional(tx.conn()).await? else { return Ok(None) };
    let spent = row.try_get::<Option<i64>, _>(2)?.is_some();
    Ok(Some(TokenFacts { device: row.try_get(0)?, expires_at: row.try_get(1)?, spent }))
}

/// Spends it; false: it was spent already.
pub async fn spend(tx: &mut Tx, tenant: &str, id: &str, now: i64) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE join_tokens SET spent_at = $3 WHERE tenant_id = $1 AND id = $2 AND spent_at IS NULL",
    )
    .bind(tenant)
    .bind(id)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
