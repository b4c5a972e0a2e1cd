//! Into Kubernetes: the controller of one site's cluster.
//!
//! `crd/` is what people write; `edge_secret.rs` turns what was observed into what should be (pure);
//! `apply.rs` is the only writer to Kubernetes; `service.rs` is the way to the service.
//! Invariants: the controller holds no permission to get, list or watch Secrets and stops when it finds that it could
//! (`fence.rs`); what a ServiceAccount may read is decided by the service alone.

pub mod apply;
pub mod condition;
pub mod controller;
pub mod crd;
pub mod edge_secret;
pub mod fence;
pub mod identity;
pub mod reconcile;
pub mod service;
pub mod site;
pub mod token;
