//! Enrolment, renewal and recovery: M1 to M5, attempts, evidence.

pub mod session;
