//! DECIDED. What to do next, and who may do what.
//!
//! Pure: no I/O, no clock, no randomness. Time and chance are arguments, so that every decision here can be
//! replayed from what it was decided from.

pub mod access;
pub mod device;
pub mod fleet;
pub mod identity;
pub mod limits;
