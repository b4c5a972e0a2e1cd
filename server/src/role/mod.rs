//! Wiring: one file for each role of `holdfastd`. Nothing imports this but `main` (and its tests).

pub mod all;
#[cfg(feature = "controller")]
pub mod controller;
#[cfg(feature = "controller")]
pub mod crd;
pub mod migrate;
pub mod openapi;
pub mod router;

#[cfg(test)]
mod callers;
#[cfg(test)]
mod late;
#[cfg(test)]
mod tests;
