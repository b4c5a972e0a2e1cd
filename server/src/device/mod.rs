//! Devices: claims, records, states, labels, join tokens, and what a device carries.
//!
//! A row is a claim until its device has proved itself (`enroll`); its state says who may speak for it.

pub mod blob;
pub mod http;
pub mod ops;
mod sql;
pub mod token;

pub use sql::Record;
