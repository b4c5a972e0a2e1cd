//! DECIDED. What to do next, and who may do what.
//!
//! Pure: no I/O, no clock, no randomness. Time and chance are arguments, so that every decision here can be
//! replayed from what it was decided from.

pub mod access;
pub mod device;
pub mod fleet;
pub mod identity;
pub mod limits;

/// A property's settings: so many cases, or fewer where `PROPTEST_CASES` asks for fewer, as `make mutants` does.
#[cfg(test)]
pub(crate) fn cases(most: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.map_or(most, |asked: u32| asked.min(most));
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
