//! Support for whole-system tests, the demo and the benchmarks: real parts, started, watched and ended.
//!
//! Lives here: software TPMs with their maker's CA, PostgreSQL, the Kubernetes API server, child processes, ports,
//! the cache of what the installers fetched. Must not live here: rules of the product, or copies of its code.
//!
//! Invariant: whatever a module of this crate starts is ended by its own process id, also when the test process is
//! killed, unless it was started with [`process::Lifetime::Outlives`].

pub mod agent;
pub mod cache;
pub mod chance;
pub mod controller;
pub mod desk;
pub mod disk;
pub mod kube;
pub mod kube_leg;
pub mod life;
pub mod plant;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod scratch;
pub mod swtpm;
