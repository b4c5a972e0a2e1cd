//! Secrets: written by operators, read by devices and workloads whom a grant allows.

use super::seal::{EPOCH, Place, SealError, Sealer};
use super::sql::{self, SecretRow, VersionRow};
use crate::audit::{self, Actor, Entry};
use crate::db::Tx;
use crate::grant;
use crate::http::auth::Operator;
use crate::keyring;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::{self, Request, SecretPath, Target, Verb};
use holdfast_proto::api::secret::{PutSecret, Secret, SecretValue};

/// Kubernetes' own cap of a Secret, less room for the rest of the object.
pub const VALUE_MAX_BYTES: usize = 1 << 20;
const CONTENT_TYPE_MAX_BYTES: usize = 128;
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// Writes a new version and moves the pointer to it.
pub async fn put(
    state: &AppState,
    operator: &Operator,
    path: &str,
    body: &PutSecret,
) -> Result<Secret, Refusal> {
    let path = parse_path(path)?;
    let content_type = body.content_type.as_deref().unwrap_or(CONTENT_TYPE_DEFAULT);
    check_value(body, content_type)?;
    let now = state.now();
    let sealer = sealer(state).await?;
    tx!(state.db, "secret.put", |tx| {
        let before = sql::secret_row(tx, &operator.tenant, path.as_str()).await?;
        if let Some(before) = &before {
            check_pointer(&sealer, &operator.tenant, before)?;
        }
        let row = SecretRow {
            path: path.as_str().to_owned(),
            id: before.as_ref().map_or_else(|| crate::chance::id("sec", now), |row| row.id.clone()),
            current_version: before.as_ref().map_or(1, |row| row.current_version + 1),
            content_type: content_type.to_owned(),
            created_at: before.as_ref().map_or(now, |row| row.created_at),
            updated_at: now,
            mac: Vec::new(),
        };
        let row = SecretRow {
            mac: with_pointer(&operator.tenant, &row, |parts| sealer.mac(POINTER, parts)),
            ..row
        };
        let place = place(&operator.tenant, &row, row.current_version, EPOCH);
        let version = VersionRow {
            version: row.current_version,
            epoch: EPOCH,
            content_type: row.content_type.clone(),
            length: body.value.len() as u64,
            sealed: sealer.seal(&place, &body.value)?,
        };
        sql::version_put(tx, &operator.tenant, &row.id, &version, now).await?;
        sql::secret_put(tx, &operator.tenant, &row).await?;
        let reason = format!("version {}, {} bytes", row.current_version, version.length);
        audit::append(tx, &operator.did("secret.put", format!("secret/{}", row.path), reason), now).await?;
        Ok::<_, Refusal>(to_api(&row, version.length))
    })
}

/// Paths, versions and sizes; never values.
pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<Secret>, Refusal> {
    let mut tx = state.db.read().await?;
    let mut items = Vec::new();
    for row in sql::secret_list(&mut tx, &operator.tenant, after, limit).await? {
        let version = sql::version_row(&mut tx, &operator.tenant, &row.id, row.current_version).await?;
        items.push(to_api(&row, version.map_or(0, |version| version.length)));
    }
    Ok(items)
}

/// Who reads: as the access table and as the audit trail know him.
pub struct Reader<'a> {
    pub tenant: &'a str,
    pub actor: access::Actor,
    pub audit: Actor<'a>,
}

/// Reads a secret for a device or a workload. Both the answer and the denial are audited.
pub async fn read(
    state: &AppState,
    reader: &Reader<'_>,
    path: &str,
    version: Option<u64>,
) -> Result<SecretValue, Refusal> {
    let path = parse_path(path)?;
    let now = state.now();
    let sealer = sealer(state).await?;
    let resource = format!("secret/{}", path.as_str());
    let read = tx!(state.db.grouped(), "secret.read", |tx| {
        let policy = grant::ops::compiled(tx, reader.tenant, &sealer).await?;
        let row = sql::secret_row(tx, reader.tenant, path.as_str()).await?;
        if let Some(row) = &row {
            check_pointer(&sealer, reader.tenant, row)?;
        }
        let wanted = version.or(row.as_ref().map(|row| row.current_version));
        let target = Target::Value { path: &path, verb: Verb::Read, version: wanted };
        let question = Request { actor: &reader.actor, tenant: policy.tenant(), target };
        let decision = access::allow(&policy, &question, now);
        if !decision.allow {
            let entry = Entry::done(
                reader.tenant,
                reader.audit.clone(),
                "secret.read",
                &resource,
                decision.reason.to_string(),
            );
            audit::append(tx, &entry.denied(), now).await?;
            return Ok(Err(decision.reason.to_string()));
        }
        let Some(row) = row else { return Ok(Err("absent".to_owned())) };
        let value = open(tx, &sealer, reader.tenant, &row, wanted.unwrap_or(row.current_version)).await?;
        let reason = format!("version {}", value.version);
        audit::append(
            tx,
            &Entry::done(reader.tenant, reader.audit.clone(), "secret.read", &resource, reason),
            now,
        )
        .await?;
        Ok::<_, Refusal>(Ok(SecretValue {
            max_ttl_s: decision.obligations.max_ttl_s,
            max_offline_s: decision.obligations.max_offline_s,
            ..value
        }))
    })?;
    read.map_err(|reason| match reason.as_str() {
        "absent" => Refusal::not_found(format_args!("secret `{}`", path.as_str())),
        _ => Refusal::forbidden("not-granted", format!("no grant opens this secret for you: {reason}")),
    })
}

async fn open(
    tx: &mut Tx,
    sealer: &Sealer,
    tenant: &str,
    row: &SecretRow,
    version: u64,
) -> Result<SecretValue, Refusal> {
    let stored = sql::version_row(tx, tenant, &row.id, version)
        .await?
        .ok_or_else(|| Refusal::not_found(format_args!("version {version} of secret `{}`", row.path)))?;
    let place = Place {
        tenant,
        secret: &row.id,
        version: stored.version,
        epoch: stored.epoch,
        content_type: &stored.content_type,
    };
    let value = sealer.open_record(&place, &stored.sealed)?;
    Ok(SecretValue {
        path: row.path.clone(),
        version: stored.version,
        content_type: stored.content_type.clone(),
        value: value.to_vec().into(),
        max_ttl_s: None,
        max_offline_s: None,
    })
}

/// Opens the seed and the root; a keyring that does not open makes secrets `sealed`, and nothing else.
pub async fn sealer(state: &AppState) -> Result<Sealer, Refusal> {
    Sealer::open(&state.keyring, state.now()).await.map_err(|error| match error {
        keyring::Error::Db(error) => error.into(),
        error => {
            Refusal::new(Kind::Sealed, "sealed", "the keyring does not open: secrets are not served now")
                .because(error)
        }
    })
}

pub(crate) fn parse_path(text: &str) -> Result<SecretPath, Refusal> {
    SecretPath::parse(text).map_err(|error| Refusal::invalid("malformed-path", error.to_string()))
}

fn check_value(body: &PutSecret, content_type: &str) -> Result<(), Refusal> {
    if body.value.len() > VALUE_MAX_BYTES {
        let detail = format!("a secret has at most {VALUE_MAX_BYTES} bytes, this one {}", body.value.len());
        return Err(Refusal::new(Kind::TooLarge, "value-too-large", detail));
    }
    let printable = content_type.bytes().all(|byte| byte.is_ascii_graphic());
    if content_type.is_empty() || content_type.len() > CONTENT_TYPE_MAX_BYTES || !printable {
        return Err(Refusal::invalid(
            "malformed-content-type",
            "a content type is 1 to 128 printable ASCII characters",
        ));
    }
    Ok(())
}

const POINTER: &str = "pointer";

/// What the pointer's MAC covers: everything that says which value the path means.
fn with_pointer<T>(tenant: &str, row: &SecretRow, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let version = row.current_version.to_be_bytes();
    then(&[tenant.as_bytes(), row.path.as_bytes(), row.id.as_bytes(), row.content_type.as_bytes(), &version])
}

fn check_pointer(sealer: &Sealer, tenant: &str, row: &SecretRow) -> Result<(), SealError> {
    with_pointer(tenant, row, |parts| sealer.check_mac(POINTER, parts, &row.mac))
}

fn place<'a>(tenant: &'a str, row: &'a SecretRow, version: u64, epoch: u32) -> Place<'a> {
    Place { tenant, secret: &row.id, version, epoch, content_type: &row.content_type }
}

fn to_api(row: &SecretRow, length: u64) -> Secret {
    Secret {
        path: row.path.clone(),
        current_version: row.current_version,
        content_type: row.content_type.clone(),
        length,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Keyring(error) => error.into(),
            other => Self::new(Kind::Internal, "secret-tampered", "this secret's row does not verify: the service's log says which; restore it or write a new version").because(other),
        }
    }
}

/// The version that the path means now.
pub async fn current_version(tx: &mut Tx, tenant: &str, path: &SecretPath) -> Result<Option<u64>, Refusal> {
    Ok(sql::secret_row(tx, tenant, path.as_str()).await?.map(|row| row.current_version))
}
