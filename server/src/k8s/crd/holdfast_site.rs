//! `HoldfastSite`: which service, which site. Cluster-scoped, exactly one, named `default`.
#![allow(unreachable_pub, clippy::duplicated_attributes, reason = "the derive of kube repeats both")]

use crate::k8s::condition::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ties this cluster to its site at the service. There is one, named `default`.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "HoldfastSite",
    plural = "holdfastsites",
    status = "HoldfastSiteStatus",
    doc = "Ties this cluster to its site at the service. There is one, named `default`.",
    validation = Rule::new("self.metadata.name == 'default'").message("the one HoldfastSite of a cluster is named default"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.site"),
    printcolumn(name = "Connected", type_ = "string", json_path = ".status.conditions[?(@.type==\"Connected\")].status"),
    printcolumn(name = "Fenced", type_ = "string", json_path = ".status.conditions[?(@.type==\"Fenced\")].status")
)]
#[serde(rename_all = "camelCase")]
pub struct HoldfastSiteSpec {
    /// Base URL of the service.
    #[schemars(regex(pattern = r"^https://[^/\s]+$"), length(max = 512))]
    pub server: String,
    /// The tenant, as `holdfast site register` was told.
    #[schemars(regex(pattern = r"^[a-z0-9._-]+$"), length(min = 1, max = 128))]
    pub tenant: String,
    /// The site, as `holdfast site register` was told.
    #[schemars(regex(pattern = r"^[a-z0-9._-]+$"), length(min = 1, max = 128))]
    pub site: String,
    /// What verifies the service.
    pub trust: Trust,
}

/// What verifies the service.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// CA certificates, PEM: the service's `ca.pem`.
    #[schemars(length(min = 1, max = 65_536))]
    pub ca_bundle: String,
}

/// What the controller saw. `lastSeen` is written once a minute.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldfastSiteStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Connected, Fenced, Synced.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the service last answered, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}
