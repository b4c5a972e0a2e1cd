//! `EdgeSecret`: items of the service's secrets, read as a ServiceAccount of its own namespace, into one Secret.
#![allow(unreachable_pub, clippy::duplicated_attributes, reason = "the derive of kube repeats both")]

use crate::k8s::condition::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Secrets of the service that a ServiceAccount of this namespace may read, as one Secret of this namespace.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "EdgeSecret",
    plural = "edgesecrets",
    namespaced,
    status = "EdgeSecretStatus",
    doc = "Secrets of the service that a ServiceAccount of this namespace may read, as one Secret of this namespace.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeSecretSpec {
    /// Who reads: a ServiceAccount of this namespace.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), length(max = 128))]
    pub service_account_name: String,
    /// What goes into the Secret.
    #[schemars(length(min = 1, max = 64))]
    pub items: Vec<Item>,
    /// When the service is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
    /// The Secret.
    #[x_kube(
        validation = Rule::new("self.name == oldSelf.name && self.type == oldSelf.type").message("a target's name and type stay: delete the EdgeSecret and make another"),
        // Kubernetes fills the one with a token of any ServiceAccount and takes the other for one who may join.
        validation = Rule::new("!(self.type in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token'])").message("a Secret of this type is a credential of the cluster itself")
    )]
    pub target: Target,
    /// Take over a Secret of the target's name that exists already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
}

/// One secret of the service, or a part of it.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its path at the service.
    #[schemars(regex(pattern = r"^[a-z0-9._-]+(/[a-z0-9._-]+)*$"), length(max = 512))]
    pub path: String,
    /// Key in the Secret. Without it every property of a JSON object becomes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub key: Option<String>,
    /// Of a JSON object, this property alone. Needs a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub property: Option<String>,
    /// Stay at this version; the current one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<i64>,
}

/// When the service is asked again.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// Seconds; 60 without. A change of the annotation `holdfast.dev/refresh` asks at once.
    #[schemars(range(min = 1, max = 86_400))]
    pub interval_seconds: i64,
}

/// The Secret that is made.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name, in this namespace.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), length(max = 253))]
    pub name: String,
    /// Its type, as Kubernetes names them.
    #[serde(rename = "type", default = "opaque")]
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn opaque() -> String {
    "Opaque".to_owned()
}

/// How far the controller has come. Written on transitions only.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeSecretStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Authorized, Synced, Ready.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the Secret was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// The Secret that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
}

/// What the Secret was made from.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    pub versions: Vec<SourceVersion>,
    /// The least of what its grants say about keeping values while the service is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_offline_seconds: Option<i64>,
    /// While the service is away: when the values are removed, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<i64>,
}

/// One secret's version in use.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceVersion {
    pub path: String,
    pub version: i64,
}

/// The Secret that was made.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// Its keys: what is emptied when the values must go.
    pub keys: Vec<String>,
}
