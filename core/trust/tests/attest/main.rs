//! Enrolment's evidence as the service judges it: every check by a vector that differs from a good one in one place.

#![allow(
    clippy::field_reassign_with_default,
    reason = "a good vector, then the one thing that is wrong with it"
)]

mod attacks;
mod conformance;
mod csr;
mod ek_certificates;
mod eventlogs;
mod reasons;
mod support;
