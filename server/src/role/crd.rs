//! `holdfastd crd`: what a cluster needs to know before the controller comes.

use crate::k8s::crd;

/// The kinds, or the controller's roles, as one List in JSON.
pub fn text(roles: bool) -> String {
    crd::text(&if roles { crd::roles::roles() } else { crd::definitions() })
}
