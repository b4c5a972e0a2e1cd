//! Signing metadata with the service's online keys: snapshot, timestamp, deltas, assignments.
//!
//! The only file of the service that names `tough`: its schema, key ids and canonical JSON; never its editors.
//! What is signed is canonical JSON (TUF 4.2); what is stored and served are the bytes made here, once.

use super::Repo;
use crate::keyring;
use crate::refusal::Refusal;
use aws_lc_rs::signature::Ed25519KeyPair;
use holdfast_proto::api::tuf::OnlineKey;
use holdfast_proto::assignment::{ASSIGNMENT_FIELD, AssignmentBody, ISSUED_AT_FIELD};
use holdfast_proto::manifest::DeltaCustom;
use holdfast_proto::{Digest, ReleaseName};
use serde::Serialize as _;
use serde_json::{Map, Value, json};
use tough::sign::Sign as _;
use zeroize::Zeroizing;

pub(crate) const SPEC_VERSION: &str = "1.0.0";
/// Key epoch of the assignment keys: one until they can be rotated.
pub(crate) const ASSIGNMENT_EPOCH: u64 = 1;
const DAY_S: i64 = 86_400;
const SNAPSHOT_LIFE_S: i64 = 30 * DAY_S;
const TIMESTAMP_LIFE_S: i64 = 7 * DAY_S;
const DELTAS_LIFE_S: i64 = 30 * DAY_S;
const ASSIGNMENT_LIFE_S: i64 = 7 * DAY_S;

/// A role that the service signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlineRole {
    Snapshot,
    Timestamp,
    Deltas,
    Assignment,
}

impl OnlineRole {
    pub(crate) const ALL: [Self; 4] = [Self::Snapshot, Self::Timestamp, Self::Deltas, Self::Assignment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Deltas => "deltas",
            Self::Assignment => "assignment",
        }
    }
}

/// Signed bytes and what was fixed in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) role: String,
    pub(crate) version: u64,
    pub(crate) expires_at: i64,
    pub(crate) bytes: Vec<u8>,
}

/// One delta as the deltas role lists it.
#[derive(Debug, Clone)]
pub(crate) struct DeltaTarget {
    pub(crate) custom: DeltaCustom,
    pub(crate) patch: Digest,
    pub(crate) length: u64,
}

/// What an assignment names.
#[derive(Debug, Clone)]
pub(crate) struct AssignedManifest<'a> {
    pub(crate) hardware: &'a str,
    pub(crate) release: &'a ReleaseName,
    pub(crate) sha256: Digest,
    pub(crate) length: u64,
}

impl Repo {
    /// The public half of an online key; made and sealed on first use.
    pub(crate) async fn online_key(&self, role: OnlineRole, now: i64) -> Result<OnlineKey, Refusal> {
        let pair = self.pair(role, now).await?;
        let key = pair.tuf_key();
        Ok(OnlineKey { key_id: key_id(&key)?, key: serde_json::to_value(&key).map_err(Refusal::internal)? })
    }

    /// Snapshot over every role's current version (TUF 4.4); `roles` without snapshot, timestamp and root.
    pub(crate) async fn sign_snapshot(&self, version: u64, roles: &[(String, u64)], now: i64) -> Result<Signed, Refusal> {
        let meta: Map<String, Value> =
            roles.iter().map(|(role, version)| (format!("{role}.json"), json!({"version": version}))).collect();
        self.sign_role(OnlineRole::Snapshot, "snapshot", version, now + SNAPSHOT_LIFE_S, json!({"meta": meta}), now).await
    }

    /// Timestamp over one snapshot, with the signed time (TUF 4.6).
    pub(crate) async fn sign_timestamp(&self, version: u64, snapshot: &Signed, now: i64) -> Result<Signed, Refusal> {
        let digest = crate::repo::publish::sha256(&snapshot.bytes);
        let meta = json!({"snapshot.json": {
            "version": snapshot.version, "length": snapshot.bytes.len(), "hashes": {"sha256": digest.to_hex()},
        }});
        let body = json!({"meta": meta, ISSUED_AT_FIELD: now});
        self.sign_role(OnlineRole::Timestamp, "timestamp", version, now + TIMESTAMP_LIFE_S, body, now).await
    }

    /// The deltas role: every delta that is offered.
    pub(crate) async fn sign_deltas(&self, version: u64, deltas: &[DeltaTarget], now: i64) -> Result<Signed, Refusal> {
        let mut targets = Map::new();
        for delta in deltas {
            let custom = serde_json::to_value(&delta.custom).map_err(Refusal::internal)?;
            targets.insert(
                format!("delta/{}-{}", delta.custom.base, delta.custom.output),
                json!({"length": delta.length, "hashes": {"sha256": delta.patch.to_hex()}, "custom": custom}),
            );
        }
        self.sign_role(OnlineRole::Deltas, "targets", version, now + DELTAS_LIFE_S, json!({"targets": targets}), now).await
    }

    /// An assignment's envelope; signed when it is served, stored nowhere.
    pub(crate) async fn sign_assignment(&self, body: &AssignmentBody, manifest: &AssignedManifest<'_>, now: i64) -> Result<Vec<u8>, Refusal> {
        let path = format!("products/{}/{}.json", manifest.hardware, manifest.release);
        let target = json!({"length": manifest.length, "hashes": {"sha256": manifest.sha256.to_hex()}});
        let document = json!({
            "targets": {path: target},
            ASSIGNMENT_FIELD: serde_json::to_value(body).map_err(Refusal::internal)?,
        });
        let expires_at = now + ASSIGNMENT_LIFE_S;
        let signed =
            self.sign_role(OnlineRole::Assignment, "targets", body.sequence, expires_at, document, now).await?;
        Ok(signed.bytes)
    }

    async fn sign_role(
        &self,
        role: OnlineRole,
        kind: &str,
        version: u64,
        expires_at: i64,
        mut document: Value,
        now: i64,
    ) -> Result<Signed, Refusal> {
        document["_type"] = json!(kind);
        document["spec_version"] = json!(SPEC_VERSION);
        document["version"] = json!(version);
        document["expires"] = json!(time_text(expires_at)?);
        let pair = self.pair(role, now).await?;
        let mut message = Vec::new();
        let mut canonical =
            serde_json::Serializer::with_formatter(&mut message, olpc_cjson::CanonicalFormatter::new());
        document.serialize(&mut canonical).map_err(Refusal::internal)?;
        let signature = Ed25519KeyPair::sign(&pair, &message);
        let keyid = key_id(&pair.tuf_key())?;
        let envelope = json!({"signatures": [{"keyid": keyid, "sig": hex::encode(signature)}], "signed": document});
        let bytes = serde_json::to_vec(&envelope).map_err(Refusal::internal)?;
        Ok(Signed { role: role.name().to_owned(), version, expires_at, bytes })
    }

    async fn pair(&self, role: OnlineRole, now: i64) -> Result<Ed25519KeyPair, Refusal> {
        let make = || Zeroizing::new(crate::chance::bytes::<32>().to_vec());
        let seed = self.keyring.open_or_make(&format!("tuf/{}", role.name()), now, make).await?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Refusal::internal(keyring::Error::Crypto))
    }
}

fn key_id(key: &tough::schema::key::Key) -> Result<String, Refusal> {
    key.key_id().map(hex::encode).map_err(Refusal::internal)
}

/// `expires` as TUF 4.2.1 writes it.
fn time_text(unix_s: i64) -> Result<String, Refusal> {
    let form = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let at = time::OffsetDateTime::from_unix_timestamp(unix_s).map_err(Refusal::internal)?;
    at.format(form).map_err(Refusal::internal)
}
