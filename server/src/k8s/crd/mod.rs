//! The kinds of the group `holdfast.dev`, and the roles that the controller runs with, as `holdfastd crd` prints them.

pub mod edge_secret;
pub mod holdfast_site;
pub mod roles;

pub use edge_secret::{
    EdgeSecret, EdgeSecretSpec, EdgeSecretStatus, Item, Refresh, SourceStatus, SourceVersion, Target,
    TargetStatus,
};
pub use holdfast_site::{HoldfastSite, HoldfastSiteSpec, HoldfastSiteStatus, Trust};

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

/// The one HoldfastSite.
pub const SITE_NAME: &str = "default";

/// Both definitions as one List, for `kubectl apply --server-side -f -`.
pub fn definitions() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [EdgeSecret::crd(), HoldfastSite::crd()]})
}

/// A list as people read it.
pub fn text(list: &Value) -> String {
    // Unwrap safety: our own definitions have string keys and no failing serializers.
    serde_json::to_string_pretty(list).expect("a definition is JSON") + "\n"
}

#[cfg(test)]
mod tests {
    use super::{definitions, roles, text};

    /// `UPDATE_GOLDEN=1 cargo test -p holdfast-server golden` writes them anew.
    #[test]
    fn what_holdfastd_crd_prints_is_the_golden_files() {
        for (name, list) in [("crd.json", definitions()), ("controller-roles.json", roles::roles())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
            let now = text(&list);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a golden file is rewritten by hand and read by git"
                )]
                std::fs::write(&path, &now).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(golden == now, "{name} differs: look at the change, then run with UPDATE_GOLDEN=1");
        }
    }
}
