//! Signing metadata with the service's online keys: snapshot, timestamp, deltas, assignments.
//!
//! The only file of the service that signs metadata: canonical JSON (TUF 4.2) under Ed25519; what is stored and
//! served are the bytes made here, once. `tough` is the desk's: with its dependencies in this crate's graph the code
//! that utoipa derives no longer compiles (typed-path adds a second `AsRef` to `Cow<str>`), and four documents of our
//! own need no editor.

use super::{Repo, Stored};
use crate::keyring::{self, Keyring};
use crate::refusal::Refusal;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use holdfast_proto::api::tuf::OnlineKey;
use holdfast_proto::assignment::{ASSIGNMENT_FIELD, AssignmentBody, ISSUED_AT_FIELD};
use holdfast_proto::manifest::DeltaCustom;
use holdfast_proto::{Digest, ReleaseName};
use serde::Serialize as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

pub(crate) const SPEC_VERSION: &str = "1.0.0";
/// Key epoch of the assignment keys: one until they can be rotated.
pub(crate) const ASSIGNMENT_EPOCH: u64 = 1;
const DAY_S: i64 = 86_400;

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

    fn life_s(self) -> i64 {
        match self {
            Self::Snapshot | Self::Deltas => 30 * DAY_S,
            Self::Timestamp | Self::Assignment => 7 * DAY_S,
        }
    }
}

/// The online keys, open: a service whose key-encryption key goes away later goes on signing.
pub struct OnlineKeySet([Ed25519KeyPair; 4]);

impl OnlineKeySet {
    /// Opens them; on first use each is made and sealed.
    ///
    /// # Errors
    /// When the keyring does not open.
    pub async fn open_or_make(keyring: &Keyring, now: i64) -> Result<Self, keyring::Error> {
        let make = || Zeroizing::new(crate::chance::bytes::<32>().to_vec());
        let mut pairs = Vec::with_capacity(OnlineRole::ALL.len());
        for role in OnlineRole::ALL {
            let seed = keyring.open_or_make(&format!("tuf/{}", role.name()), now, make).await?;
            pairs.push(Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| keyring::Error::Crypto)?);
        }
        pairs.try_into().map(Self).map_err(|_| keyring::Error::Crypto)
    }

    fn pair(&self, role: OnlineRole) -> &Ed25519KeyPair {
        // Unwrap safety: one pair for each role, in the order of the variants.
        &self.0[role as usize]
    }
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
    /// The public half of an online key.
    pub(crate) fn online_key(&self, role: OnlineRole) -> Result<OnlineKey, Refusal> {
        let key = public_key(self.keys.pair(role));
        Ok(OnlineKey { key_id: key_id(&key)?, key })
    }

    /// Snapshot over every role's current version (TUF 4.4); `roles` without snapshot, timestamp and root.
    pub(crate) fn sign_snapshot(
        &self,
        version: u64,
        roles: &[(String, u64)],
        now: i64,
    ) -> Result<Stored, Refusal> {
        let meta: Map<String, Value> = roles
            .iter()
            .map(|(role, version)| (format!("{role}.json"), json!({"version": version})))
            .collect();
        self.sign_role(OnlineRole::Snapshot, "snapshot", version, json!({"meta": meta}), now)
    }

    /// Timestamp over one snapshot, with the signed time (TUF 4.6).
    pub(crate) fn sign_timestamp(
        &self,
        version: u64,
        snapshot: &Stored,
        now: i64,
    ) -> Result<Stored, Refusal> {
        let digest = crate::repo::publish::sha256(&snapshot.bytes);
        let meta = json!({"snapshot.json": {
            "version": snapshot.version, "length": snapshot.bytes.len(), "hashes": {"sha256": digest.to_hex()},
        }});
        let body = json!({"meta": meta, ISSUED_AT_FIELD: now});
        self.sign_role(OnlineRole::Timestamp, "timestamp", version, body, now)
    }

    /// The deltas role: every delta that is offered.
    pub(crate) fn sign_deltas(
        &self,
        version: u64,
        deltas: &[DeltaTarget],
        now: i64,
    ) -> Result<Stored, Refusal> {
        let mut targets = Map::new();
        for delta in deltas {
            let custom = serde_json::to_value(&delta.custom).map_err(Refusal::internal)?;
            targets.insert(
                format!("delta/{}-{}", delta.custom.base, delta.custom.output),
                json!({"length": delta.length, "hashes": {"sha256": delta.patch.to_hex()}, "custom": custom}),
            );
        }
        self.sign_role(OnlineRole::Deltas, "targets", version, json!({"targets": targets}), now)
    }

    /// An assignment's envelope; signed when it is served, stored nowhere.
    pub(crate) fn sign_assignment(
        &self,
        body: &AssignmentBody,
        manifest: &AssignedManifest<'_>,
        now: i64,
    ) -> Result<Vec<u8>, Refusal> {
        let path = format!("products/{}/{}.json", manifest.hardware, manifest.release);
        let target = json!({"length": manifest.length, "hashes": {"sha256": manifest.sha256.to_hex()}});
        let document = json!({
            "targets": {path: target},
            ASSIGNMENT_FIELD: serde_json::to_value(body).map_err(Refusal::internal)?,
        });
        Ok(self.sign_role(OnlineRole::Assignment, "targets", body.sequence, document, now)?.bytes)
    }

    fn sign_role(
        &self,
        role: OnlineRole,
        kind: &str,
        version: u64,
        mut document: Value,
        now: i64,
    ) -> Result<Stored, Refusal> {
        let expires_at = now + role.life_s();
        document["_type"] = json!(kind);
        document["spec_version"] = json!(SPEC_VERSION);
        document["version"] = json!(version);
        document["expires"] = json!(time_text(expires_at)?);
        let pair = self.keys.pair(role);
        let signature = pair.sign(&canonical(&document)?);
        let keyid = key_id(&public_key(pair))?;
        let envelope =
            json!({"signatures": [{"keyid": keyid, "sig": hex::encode(signature)}], "signed": document});
        let bytes = serde_json::to_vec(&envelope).map_err(Refusal::internal)?;
        Ok(Stored { role: role.name().to_owned(), version, bytes, expires_at, published_at: now })
    }
}

/// A key object (TUF 4.2).
fn public_key(pair: &Ed25519KeyPair) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(pair.public_key())}})
}

/// SHA-256 over the key object's canonical JSON (TUF 4.2).
fn key_id(key: &Value) -> Result<String, Refusal> {
    Ok(super::publish::sha256(&canonical(key)?).to_hex())
}

fn canonical(document: &Value) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, olpc_cjson::CanonicalFormatter::new());
    document.serialize(&mut serializer).map_err(Refusal::internal)?;
    Ok(bytes)
}

/// `expires` as TUF 4.2.1 writes it.
fn time_text(unix_s: i64) -> Result<String, Refusal> {
    let form = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let at = time::OffsetDateTime::from_unix_timestamp(unix_s).map_err(Refusal::internal)?;
    at.format(form).map_err(Refusal::internal)
}
