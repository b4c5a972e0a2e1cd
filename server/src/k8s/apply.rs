//! The only writer to Kubernetes: Secrets, statuses, token requests.
//!
//! A Secret is created, or patched where it is ours by its ownerReference; what a patch answers is asked for as metadata
//! alone, so that no value that we did not write ever comes into this process.

use super::crd::{EdgeSecret, EdgeSecretStatus, HoldfastSite, HoldfastSiteStatus, SITE_NAME, TargetStatus};
use super::edge_secret::{Data, emptied};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Error, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Our name as a writer of fields.
pub const MANAGER: &str = "holdfast-controller";
/// Another name, under which a dry run only looks.
const PROBE: &str = "holdfast-controller-probe";
/// On every Secret that we make.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "holdfast.dev");
/// What TokenRequest is asked for, seconds; the service accepts no longer life.
const TOKEN_TTL_S: i64 = 600;

/// Why a Secret was not written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("a Secret of this name is there already and is not ours: set `adopt`, or choose another name")]
    Exists,
    #[error("the API server refuses the Secret: {0}")]
    Rejected(String),
    #[error("the API server did not take the Secret")]
    Away(#[source] Error),
}

/// The objects that are written for one EdgeSecret.
pub struct Writer<'a> {
    pub client: &'a Client,
    pub edge: &'a EdgeSecret,
}

impl Writer<'_> {
    /// Makes the Secret hold exactly these values. The first write is `create`; a Secret that exists is patched only
    /// where our EdgeSecret is its controlling owner, or `adopt` says so.
    pub async fn write(&self, data: &Data) -> Result<TargetStatus, ApplyError> {
        let object: Secret = serde_json::from_value(self.secret(data, None)).map_err(rejected)?;
        let params = PostParams { dry_run: false, field_manager: Some(MANAGER.to_owned()) };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace());
        match secrets.create(&params, &object).await {
            // Owned by `create` alone, a key that goes from the spec later would stay: apply takes the ownership over.
            Ok(created) => self.apply(data, &created.uid().unwrap_or_default()).await,
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => {
                let found = self.probe().await?;
                let may =
                    found.owned_by == Some(Owner::Us) || (self.edge.spec.adopt && found.owned_by.is_none());
                if !may {
                    return Err(ApplyError::Exists);
                }
                self.apply(data, &found.uid).await
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// Replaces every value that we wrote by an empty one, where the Secret is ours; how many keys there were.
    pub async fn empty(&self) -> Result<usize, ApplyError> {
        let found = self.probe().await?;
        if found.owned_by != Some(Owner::Us) || found.keys.is_empty() {
            return Ok(0);
        }
        let data = emptied(&self.edge.spec.target.kind, &found.keys);
        match self.apply(&data, &found.uid).await {
            Ok(_) => Ok(found.keys.len()),
            // Gone, or another of the same name: nothing of ours is left.
            Err(ApplyError::Away(Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Server-side apply under a precondition on the uid, forced: of what we own we are the only writer.
    async fn apply(&self, data: &Data, uid: &str) -> Result<TargetStatus, ApplyError> {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(self.secret(data, Some(uid)));
        let name = &self.edge.spec.target.name;
        let meta = self.metadata().patch_metadata(name, &params, &patch).await.map_err(refused)?;
        self.drop_create_ownership(&meta).await?;
        Ok(TargetStatus {
            name: name.clone(),
            uid: meta.uid().unwrap_or_default(),
            resource_version: meta.resource_version().unwrap_or_default(),
            keys: data.keys().cloned().collect(),
        })
    }

    /// Takes the entry that `create` left in managedFields, so that our applies own what they wrote alone.
    async fn drop_create_ownership(&self, meta: &PartialObjectMeta<Secret>) -> Result<(), ApplyError> {
        let by_create = |entry: &ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Update")
        };
        let fields = meta.managed_fields();
        if !fields.iter().any(by_create) {
            return Ok(());
        }
        let kept: Vec<_> = fields.iter().filter(|entry| !by_create(entry)).collect();
        let patch = json!({"metadata": {"uid": meta.uid(), "resourceVersion": meta.resource_version(), "managedFields": kept}});
        let name = &self.edge.spec.target.name;
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.metadata().patch_metadata(name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            // Somebody wrote between: the next apply finds the entry again.
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// What stands there now, by a dry run of an apply that changes nothing and answers with metadata: to `get` it
    /// would need a right that we must not have.
    async fn probe(&self) -> Result<Found, ApplyError> {
        let name = &self.edge.spec.target.name;
        let nothing = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        let params = PatchParams::apply(PROBE).dry_run();
        let meta =
            self.metadata().patch_metadata(name, &params, &Patch::Apply(nothing)).await.map_err(refused)?;
        let us = self.edge.uid();
        let owner = meta.owner_references().iter().find(|by| by.controller == Some(true));
        let owned_by = owner.map(|by| if Some(&by.uid) == us.as_ref() { Owner::Us } else { Owner::Another });
        let ours = meta.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
        let keys: BTreeSet<String> = ours.flat_map(data_keys).collect();
        Ok(Found { uid: meta.uid().unwrap_or_default(), owned_by, keys: keys.into_iter().collect() })
    }

    /// Only `data`, never `stringData`.
    fn secret(&self, data: &Data, uid: Option<&str>) -> Value {
        let target = &self.edge.spec.target;
        let mut labels = target.labels.clone();
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let data: serde_json::Map<String, Value> =
            data.iter().map(|(key, bytes)| (key.clone(), STANDARD.encode(&**bytes).into())).collect();
        let mut metadata = json!({
            "name": target.name,
            "namespace": self.namespace(),
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "holdfast.dev/v1alpha1", "kind": "EdgeSecret", "controller": true,
                "name": self.edge.name_any(), "uid": self.edge.uid(),
            }],
        });
        if !target.annotations.is_empty() {
            metadata["annotations"] = json!(target.annotations);
        }
        if let Some(uid) = uid {
            metadata["uid"] = uid.into();
        }
        json!({"apiVersion": "v1", "kind": "Secret", "type": target.kind, "metadata": metadata, "data": data})
    }

    fn metadata(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace())
    }

    fn namespace(&self) -> String {
        self.edge.namespace().unwrap_or_default()
    }
}

/// A Secret that exists.
struct Found {
    uid: String,
    /// By its controlling ownerReference.
    owned_by: Option<Owner>,
    /// Keys that we wrote.
    keys: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    Another,
}

/// FieldsV1: `{"f:data": {".": {}, "f:<key>": {}}}`.
fn data_keys(entry: &ManagedFieldsEntry) -> Vec<String> {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:data")?.as_object());
    let names = fields.into_iter().flat_map(serde_json::Map::keys);
    names.filter_map(|name| name.strip_prefix("f:").map(str::to_owned)).collect()
}

fn rejected(error: impl std::fmt::Display) -> ApplyError {
    ApplyError::Rejected(error.to_string())
}

/// What the server says of an invalid object names fields and their form; of a Secret's values it quotes none.
fn refused(error: Error) -> ApplyError {
    match error {
        Error::Api(status) if matches!(status.code, 400 | 422) => ApplyError::Rejected(status.message),
        error => ApplyError::Away(hushed(error)),
    }
}

/// A parser's complaint may quote what it read: a token, or a Secret.
fn hushed(error: Error) -> Error {
    match error {
        Error::SerdeError(_) => Error::Service("the API server's answer is not of the form wanted".into()),
        error => error,
    }
}

/// Writes an EdgeSecret's status.
pub async fn edge_secret_status(
    client: &Client,
    edge: &EdgeSecret,
    status: &EdgeSecretStatus,
) -> Result<(), Error> {
    let api: Api<EdgeSecret> = Api::namespaced(client.clone(), &edge.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "EdgeSecret",
        // Not of another that took its name meanwhile.
        "metadata": {"name": edge.name_any(), "uid": edge.uid()}, "status": status,
    });
    api.patch_status(&edge.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch))
        .await
        .map(drop)
}

/// Writes the HoldfastSite's status.
pub async fn site_status(client: &Client, status: &HoldfastSiteStatus) -> Result<(), Error> {
    let api: Api<HoldfastSite> = Api::all(client.clone());
    let patch = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "HoldfastSite", "metadata": {"name": SITE_NAME}, "status": status,
    });
    api.patch_status(SITE_NAME, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}

/// A fresh token of a ServiceAccount, for this audience alone, and when it ends (Unix seconds).
pub async fn service_account_token(
    client: &Client,
    namespace: &str,
    name: &str,
    audience: &str,
) -> Result<(Zeroizing<String>, i64), Error> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec {
        audiences: vec![audience.to_owned()],
        expiration_seconds: Some(TOKEN_TTL_S),
        bound_object_ref: None,
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = api.create_token_request(name, &PostParams::default(), &request).await.map_err(hushed)?;
    let none = || Error::Service("the API server gave no token".into());
    let status = answer.status.filter(|status| !status.token.is_empty()).ok_or_else(none)?;
    Ok((Zeroizing::new(status.token), status.expiration_timestamp.0.as_second()))
}
