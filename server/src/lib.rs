//! `holdfastd`: the service. One folder a noun (`http.rs` -> `ops.rs` -> `sql.rs`), on what `http`, `db`,
//! `audit`, `ca` and `keyring` give them; `role` wires it up and is named by nobody but `main`.
//!
//! Arrows: role -> {noun/http, noun/work} -> {http, work, noun/ops} -> {noun/sql, audit, ca, repo} -> {db, core}.

pub mod audit;
pub mod authority;
pub mod ca;
pub mod chance;
pub mod checkin;
pub mod clock;
pub mod config;
pub mod db;
pub mod device;
pub mod enroll;
pub mod grant;
pub mod http;
#[cfg(feature = "controller")]
pub mod k8s;
pub mod keyring;
pub mod operator;
pub mod refusal;
pub mod release;
pub mod repo;
pub mod role;
pub mod rollout;
pub mod secret;
pub mod site;
pub mod state;
pub mod work;

#[cfg(test)]
mod testing;
