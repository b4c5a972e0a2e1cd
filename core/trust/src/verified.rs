//! The proof that a value was believed on purpose.

use std::ops::Deref;

/// A value that this crate checked. It can be read and taken apart, but made only here: a function that asks for a
/// `Verified<T>` cannot be called with something merely parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// To be called after the last check, and nowhere else.
    #[cfg_attr(
        not(any(feature = "attest-verify", feature = "tuf", feature = "workload")),
        expect(dead_code, reason = "nothing to verify")
    )]
    pub(crate) fn after_all_checks(value: T) -> Self {
        Self(value)
    }

    /// Gives the value up together with the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
