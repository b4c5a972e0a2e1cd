//! The list of checks as they run: every one is written down, whether it holds or not, so that an operator reads
//! all of them. The first that fails is the reason of the refusal.

use super::reason::Reason;
use crate::verified::Verified;
use holdfast_proto::api::device::{Check, CheckResult};
use std::fmt::Display;

/// A refusal: the first failed check's reason, and everything that was checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub reason: Reason,
    pub checks: Vec<Check>,
}

impl Refusal {
    /// Detail of the failed check, for the log and the operator; never for the peer.
    pub fn detail(&self) -> &str {
        let failed = |check: &&Check| check.result == CheckResult::Fail && check.rule == self.reason.code();
        self.checks.iter().find(failed).map_or("", |check| &check.detail)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    checks: Vec<Check>,
    first: Option<Reason>,
}

impl Ledger {
    /// Writes a check down; true when it holds.
    pub(crate) fn require(&mut self, rule: Reason, holds: bool, detail: impl Display) -> bool {
        self.push(rule, if holds { CheckResult::Pass } else { CheckResult::Fail }, &detail);
        holds
    }

    /// As [`Ledger::require`]; what does not hold but is waived by the named rule is noted.
    pub(crate) fn require_or_waive(
        &mut self,
        rule: Reason,
        holds: bool,
        waiver: Option<&str>,
        detail: impl Display,
    ) {
        match waiver {
            Some(waiver) if !holds => self.note(rule, format!("{detail}; waived by rule {waiver}")),
            _ => {
                self.require(rule, holds, detail);
            }
        }
    }

    /// Writes down whether a value could be had; the value, if so.
    pub(crate) fn take<T, E: Display>(
        &mut self,
        rule: Reason,
        value: Result<T, E>,
        detail: impl Display,
    ) -> Option<T> {
        match value {
            Ok(value) => {
                self.push(rule, CheckResult::Pass, &detail);
                Some(value)
            }
            Err(why) => {
                self.push(rule, CheckResult::Fail, &why);
                None
            }
        }
    }

    pub(crate) fn fail(&mut self, rule: Reason, detail: impl Display) {
        self.push(rule, CheckResult::Fail, &detail);
    }

    pub(crate) fn note(&mut self, rule: Reason, detail: impl Display) {
        self.push(rule, CheckResult::Noted, &detail);
    }

    pub(crate) fn skip(&mut self, rule: Reason, detail: impl Display) {
        self.push(rule, CheckResult::Skipped, &detail);
    }

    /// The first failure so far.
    pub(crate) fn failed(&self) -> Option<Reason> {
        self.first
    }

    /// Whether any of these rules failed.
    pub(crate) fn has_failed_any(&self, rules: &[Reason]) -> bool {
        let failed = |check: &Check| check.result == CheckResult::Fail;
        self.checks.iter().any(|check| failed(check) && rules.iter().any(|rule| rule.code() == check.rule))
    }

    /// Takes another list's checks over; `result` may turn failures into notes.
    pub(crate) fn absorb(&mut self, other: Self, failures: Failures) {
        for mut check in other.checks {
            if failures == Failures::AsNotes && check.result == CheckResult::Fail {
                check.result = CheckResult::Noted;
            }
            self.checks.push(check);
        }
        if failures == Failures::Stay {
            self.first = self.first.or(other.first);
        }
    }

    /// Ends the list. A missing value without a failed check cannot happen; it is refused all the same.
    pub(crate) fn verdict<T, U>(
        self,
        value: Option<T>,
        build: impl FnOnce(T, Vec<Check>) -> U,
    ) -> Result<Verified<U>, Refusal> {
        match (self.first, value) {
            (None, Some(value)) => Ok(Verified::after_all_checks(build(value, self.checks))),
            (reason, _) => {
                Err(Refusal { reason: reason.unwrap_or(Reason::MalformedMessage), checks: self.checks })
            }
        }
    }

    fn push(&mut self, rule: Reason, result: CheckResult, detail: &dyn Display) {
        if result == CheckResult::Fail {
            self.first.get_or_insert(rule);
        }
        self.checks.push(Check { rule: rule.code().to_owned(), result, detail: detail.to_string() });
    }
}

/// What becomes of another list's failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failures {
    Stay,
    AsNotes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(ledger: &Ledger) -> Vec<(&str, CheckResult)> {
        ledger.checks.iter().map(|check| (check.rule.as_str(), check.result)).collect()
    }

    #[test]
    fn a_refusals_detail_is_that_of_its_own_failed_check() {
        let mut ledger = Ledger::default();
        ledger.note(Reason::QuoteDigest, "a note of the same rule");
        ledger.require(Reason::QuoteSelection, true, "held");
        ledger.fail(Reason::QuoteDigest, "why");
        ledger.fail(Reason::QuoteSelection, "another failure");
        let refusal = Refusal { reason: Reason::QuoteDigest, checks: ledger.checks.clone() };
        assert_eq!(refusal.detail(), "why");
        let refusal = Refusal { reason: Reason::QuoteSelection, checks: ledger.checks.clone() };
        assert_eq!(refusal.detail(), "another failure");
        assert_eq!(Refusal { reason: Reason::TpmClock, checks: ledger.checks }.detail(), "");
    }

    #[test]
    fn a_waiver_excuses_what_fails_and_leaves_what_holds() {
        let mut ledger = Ledger::default();
        ledger.require_or_waive(Reason::EkKeyRoca, true, Some("house"), "");
        ledger.require_or_waive(Reason::EkKeyRoca, false, Some("house"), "");
        assert_eq!(ledger.failed(), None);
        ledger.require_or_waive(Reason::EkKeyRoca, false, None, "");
        let rule = Reason::EkKeyRoca.code();
        let wanted = [CheckResult::Pass, CheckResult::Noted, CheckResult::Fail].map(|result| (rule, result));
        assert_eq!(results(&ledger), wanted);
        assert_eq!(ledger.failed(), Some(Reason::EkKeyRoca));
    }

    #[test]
    fn failures_of_another_list_stay_or_become_notes_and_nothing_else_changes() {
        let other = || {
            let mut other = Ledger::default();
            other.require(Reason::EkKeyRoca, true, "");
            other.skip(Reason::TpmClock, "");
            other.fail(Reason::QuoteDigest, "");
            other
        };
        let codes = [Reason::EkKeyRoca, Reason::TpmClock, Reason::QuoteDigest].map(Reason::code);
        for (failures, last, first) in [
            (Failures::Stay, CheckResult::Fail, Some(Reason::QuoteDigest)),
            (Failures::AsNotes, CheckResult::Noted, None),
        ] {
            let mut ledger = Ledger::default();
            ledger.absorb(other(), failures);
            let wanted = [CheckResult::Pass, CheckResult::Skipped, last];
            assert_eq!(results(&ledger), codes.into_iter().zip(wanted).collect::<Vec<_>>());
            assert_eq!(ledger.failed(), first);
        }
    }
}
