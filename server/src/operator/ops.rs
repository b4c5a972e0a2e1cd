//! Tokens: the first ones, new ones, and who carries this one.

use super::sql;
use crate::audit::{self, Actor, Entry};
use crate::db::Db;
use crate::http::auth::{Operator, Role};
use crate::keyring::kek::write_private;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use holdfast_decide::access::{self, Binding, Scope, Standing};
use holdfast_proto::TenantId;
use holdfast_proto::api::operator::{CreateToken, TokenCreated, TokenInfo};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

const PREFIX: &str = "hf_";
const YEAR_S: u64 = 365 * 86_400;

/// Who carries this token; refused when there is none, it is revoked or has expired.
pub async fn by_token(state: &AppState, text: &str) -> Result<Operator, Refusal> {
    let unknown = || Refusal::unauthenticated("token-unknown", "this token is not known, or no longer valid");
    let secret = text.strip_prefix(PREFIX).filter(|hex| hex.len() == 64).ok_or_else(unknown)?;
    let row = sql::by_hash(&mut state.db.read().await?, &hash(secret)).await?.ok_or_else(unknown)?;
    if row.info.revoked_at.is_some() {
        return Err(unknown());
    }
    if row.info.expires_at <= state.now() {
        return Err(Refusal::unauthenticated("token-expired", "this token has expired: ask for a new one"));
    }
    let tenant = TenantId::new(&row.tenant);
    let scope = match (&row.info.site, row.scope.as_str()) {
        (Some(site), _) => Scope::Site { tenant: tenant.clone(), site: site.clone() },
        (None, "installation") => Scope::Installation,
        (None, _) => Scope::Tenant(tenant.clone()),
    };
    let roles = row.info.roles.iter().filter_map(|role| Role::parse(role));
    let access = access::Operator {
        principal: row.principal,
        tenant: Some(tenant),
        bindings: roles.map(|role| Binding { role, scope: scope.clone() }).collect(),
        standing: Standing::Good,
        expires_at: Some(row.info.expires_at),
    };
    Ok(Operator { tenant: row.tenant, token: row.info.id, name: row.info.name, access })
}

/// Makes a token; its roles must all be the maker's own.
pub async fn create(
    state: &AppState,
    operator: &Operator,
    request: CreateToken,
) -> Result<TokenCreated, Refusal> {
    let roles = parse_roles(&request.roles)?;
    if request.ttl_s == 0 || request.ttl_s > YEAR_S {
        return Err(Refusal::invalid(
            "ttl-out-of-range",
            format!("ttl_s is 1 to {YEAR_S}, not {}", request.ttl_s),
        ));
    }
    if request.name.trim().is_empty() || request.name.len() > 128 {
        return Err(Refusal::invalid("name-out-of-range", "a token's name has 1 to 128 bytes"));
    }
    let now = state.now();
    let expires_at = now + request.ttl_s as i64;
    let tenant = TenantId::new(&operator.tenant);
    let scope = match &request.site {
        Some(site) if holdfast_proto::id::is_segment(site) => {
            Scope::Site { tenant: tenant.clone(), site: site.clone() }
        }
        Some(_) => return Err(Refusal::invalid("malformed-site", "a site is 1 to 128 of [a-z0-9._-]")),
        None => Scope::Tenant(tenant.clone()),
    };
    let wanted: Vec<_> = roles.iter().map(|role| Binding { role: *role, scope: scope.clone() }).collect();
    let policy = access::Compiled::empty(tenant.clone());
    access::may_mint(&policy, &operator.access_actor(), &tenant, &wanted, Some(expires_at), now)
        .map_err(|error| Refusal::forbidden("may-not-mint", error.to_string()))?;
    let info = TokenInfo {
        id: crate::chance::id("tok", now),
        name: audit::printable(&request.name),
        roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        site: request.site,
        created_by: operator.token.clone(),
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    let secret = hex::encode(crate::chance::bytes::<32>());
    tx!(state.db, "token.create", |tx| {
        let owner = sql::Owner { tenant: &operator.tenant, principal: operator.principal(), scope: "tenant" };
        sql::insert(tx, &owner, &hash(&secret), &info).await?;
        let reason = format!("{} with {}", info.name, info.roles.join(", "));
        let entry = operator.did("token.create", format!("token/{}", info.id), reason);
        audit::append(tx, &entry, now).await?;
        Ok::<_, Refusal>(())
    })?;
    Ok(TokenCreated { token: format!("{PREFIX}{secret}"), info })
}

pub async fn list(
    state: &AppState,
    operator: &Operator,
    after: &str,
    limit: i64,
) -> Result<Vec<TokenInfo>, Refusal> {
    Ok(sql::list(&mut state.db.read().await?, &operator.tenant, after, limit).await?)
}

/// Revokes a token: it is refused from the next request on.
pub async fn revoke(state: &AppState, operator: &Operator, id: &str) -> Result<(), Refusal> {
    let now = state.now();
    tx!(state.db, "token.revoke", |tx| {
        if sql::by_id(tx, &operator.tenant, id).await?.is_none() {
            return Err(Refusal::not_found(format_args!("token `{}`", audit::printable(id))));
        }
        if sql::revoke(tx, &operator.tenant, id, now).await? {
            let entry = operator.did("token.revoke", format!("token/{id}"), "");
            audit::append(tx, &entry, now).await?;
        }
        Ok(())
    })
}

/// On an empty database: one token for each operator role, into `tokens.json` (0600).
pub async fn first_start(db: &Db, data_dir: &Path, tenant: &str, now: i64) -> anyhow::Result<()> {
    if sql::any(&mut db.read().await?).await? {
        return Ok(());
    }
    let mut file = BTreeMap::new();
    let mut rows = Vec::new();
    for role in Role::ALL.iter().copied() {
        let secret = hex::encode(crate::chance::bytes::<32>());
        file.insert(role.as_str(), format!("{PREFIX}{secret}"));
        let info = TokenInfo {
            id: crate::chance::id("tok", now),
            name: format!("first {}", role.as_str()),
            roles: vec![role.as_str().to_owned()],
            site: None,
            created_by: "first-start".to_owned(),
            created_at: now,
            expires_at: now + YEAR_S as i64,
            revoked_at: None,
        };
        rows.push((hash(&secret), info));
    }
    // The file first: a crash between leaves tokens that open nothing, never tokens that nobody has.
    write_private(&data_dir.join("tokens.json"), &serde_json::to_vec_pretty(&file)?)?;
    tx!(db, "token.first_start", |tx| {
        if sql::any(tx).await? {
            return Ok(());
        }
        for (hash, info) in &rows {
            // Each of the first tokens is a person of its own.
            let scope =
                if info.roles[0] == Role::InstallationAdmin.as_str() { "installation" } else { "tenant" };
            let owner = sql::Owner { tenant, principal: &info.id, scope };
            sql::insert(tx, &owner, hash, info).await?;
            let actor = Actor::Service("first-start");
            let entry = Entry::done(tenant, actor, "token.create", format!("token/{}", info.id), &info.name);
            audit::append(tx, &entry, now).await?;
        }
        Ok::<_, crate::db::Error>(())
    })?;
    Ok(())
}

fn parse_roles(names: &[String]) -> Result<Vec<Role>, Refusal> {
    let roles = names
        .iter()
        .map(|name| {
            let known = || Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
            Role::parse(name).ok_or_else(|| {
                let text = format!("there is no role `{}`; there are {}", audit::printable(name), known());
                Refusal::invalid("unknown-role", text)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if roles.is_empty() {
        return Err(Refusal::invalid("no-roles", "a token needs at least one role"));
    }
    Ok(roles)
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}
