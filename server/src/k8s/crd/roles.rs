//! What the controller may do. `tests/tests/kubernetes.rs` runs it with these and nothing more.

use serde_json::{Value, json};

/// Cluster-wide: our own kinds. It holds no word about Secrets.
pub const CLUSTER_ROLE: &str = "holdfast-controller";
/// Bound by a RoleBinding in each namespace that has EdgeSecrets: writing Secrets, asking for tokens.
pub const NAMESPACE_ROLE: &str = "holdfast-controller-namespace";

/// Both roles as one List. None may get, list or watch Secrets. `patch` is answered with the whole object: the
/// controller asks for metadata alone, whoever stole its account need not (threat model, Kubernetes).
pub fn roles() -> Value {
    let role = |name: &str, rules: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules,
        })
    };
    let cluster = role(
        CLUSTER_ROLE,
        json!([
            {"apiGroups": ["holdfast.dev"], "resources": ["edgesecrets", "holdfastsites"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["holdfast.dev"], "resources": ["edgesecrets/status", "holdfastsites/status"], "verbs": ["patch"]},
        ]),
    );
    let namespace = role(
        NAMESPACE_ROLE,
        json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        ]),
    );
    json!({"apiVersion": "v1", "kind": "List", "items": [cluster, namespace]})
}
