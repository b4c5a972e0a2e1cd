//! Rollouts and assignments: rows for the planner, and what it decides carried out by compare-and-set.
//!
//! `decide::fleet` decides everything; here its rows are read and its actions stored, each with its audit or event
//! row. `work.rs` runs it on a timer and whenever a report or an order comes in.

pub mod http;
mod lease;
pub mod ops;
mod plan;
mod rows;
mod served;
mod sql;
#[cfg(test)]
mod tests;
pub mod work;
