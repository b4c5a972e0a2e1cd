//! A report's quote: what really booted after an update (docs/concepts/updates.md, confirmed at level *booted*).

use super::appraise::{Clock, Reboot};
use super::quote::{self, Asked, Expect, QuoteFacts};
use super::verify;
use crate::attest::binding::report_quote;
use crate::attest::reason::Reason;
use crate::attest::{Ledger, Policy, Refusal};
use crate::chain::ManufacturerId;
use crate::verified::Verified;
use holdfast_proto::api::device::Check;
use holdfast_proto::report::Evidence;
use holdfast_tpm::wire::{Hierarchy, Public};

/// What the record and the assignment say.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// TPM2B_PUBLIC of the record's AK.
    pub ak_public: &'a [u8],
    pub manufacturer: Option<ManufacturerId>,
    /// The nonce that the service gave out.
    pub nonce: &'a [u8],
    pub pcr_bank: u16,
    pub pcr_selection: &'a [u8],
    /// The record's last attestation.
    pub last: Option<Clock>,
    /// What must have booted; none for a report that only arms or heartbeats.
    pub booted: Option<BootedExpectation<'a>>,
}

/// What must be true for the level *booted*.
#[derive(Debug, Clone, Copy)]
pub struct BootedExpectation<'a> {
    /// resetCount of the Armed report.
    pub reset_count_at_arming: u32,
    /// Digest that the boot log must show: the slot's, the kernel's or the UKI's.
    pub digest: &'a [u8],
}

/// What the report's quote proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    pub quote: QuoteFacts,
    pub reboot: Option<Reboot>,
    /// The PCR that the expected digest was measured into.
    pub measured_in: Option<u8>,
    pub checks: Vec<Check>,
}

/// Verifies a report's evidence under the record's AK.
///
/// # Errors
/// [`Refusal`] with every check that ran: then the report's level is *claimed* at most.
pub fn verify_report(
    evidence: &Evidence,
    expected: &Expected<'_>,
    policy: &Policy<'_>,
) -> Result<Verified<Booted>, Refusal> {
    let mut ledger = Ledger::default();
    let booted = verify_within(evidence, expected, policy, &mut ledger);
    ledger.verdict(booted, |booted, checks| Booted { checks, ..booted })
}

fn verify_within(
    evidence: &Evidence,
    expected: &Expected<'_>,
    policy: &Policy<'_>,
    ledger: &mut Ledger,
) -> Option<Booted> {
    let ak =
        ledger.take(Reason::AkPublicMalformed, Public::parse_tpm2b(expected.ak_public), "the record's AK")?;
    let Some(attestation) = &evidence.quote else {
        ledger.fail(Reason::QuoteMalformed, "no quote was sent");
        return None;
    };
    ledger.require(
        Reason::QuoteBinding,
        evidence.nonce.0 == expected.nonce,
        "the nonce is the one given out",
    );
    let log = evidence.event_log.as_ref().map(|log| log.0.as_slice());
    let asked =
        Asked { bank: expected.pcr_bank, pcrs: expected.pcr_selection, values: &evidence.pcr_values, log };
    let binding = report_quote(expected.nonce, log);
    let expect = Expect { ak: &ak, hierarchy: policy.ak_hierarchy, algorithms: policy.algorithms, binding };
    let quote = quote::quoted(attestation, asked, expect, ledger)?;
    verify::check_firmware(expected.manufacturer, &quote, policy, ledger);
    let reboot = verify::check_clock(&quote.clock, expected.last.as_ref(), ledger);
    let measured_in = expected.booted.and_then(|booted| check_booted(&quote, booted, ledger));
    Some(Booted { quote, reboot, measured_in, checks: Vec::new() })
}

fn check_booted(quote: &QuoteFacts, expected: BootedExpectation<'_>, ledger: &mut Ledger) -> Option<u8> {
    let (then, now) = (expected.reset_count_at_arming, quote.clock.reset_count);
    // Under the owner's hierarchy the counter is obfuscated: it proves no reboot.
    let rebooted = now > then && quote.hierarchy == Hierarchy::Endorsement;
    ledger.require(Reason::RebootMissing, rebooted, format!("resetCount {then} at Arming, {now} now"));
    let measured = quote.log.as_ref().and_then(|log| log.measured(expected.digest));
    let detail = format!("{} measured in PCR {measured:?}", hex::encode(expected.digest));
    ledger.require(Reason::MeasurementMissing, measured.is_some(), detail);
    measured
}
