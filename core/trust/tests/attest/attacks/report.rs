//! A report's quote: what really booted, and what a device cannot make us believe.

use crate::support::assert_refused;
use crate::support::key::Key;
use crate::support::report::Report;
use crate::support::tpm::{self, Area};
use holdfast_tpm::wire::{Hierarchy, Public};
use holdfast_trust::attest::policy::AkHierarchy;
use holdfast_trust::attest::tpm2::{Clock, Reboot};
use holdfast_trust::attest::{FirmwareRange, Reason};

macro_rules! attacks {
    ($($name:ident: $reason:ident $([$($also:ident),*])? = $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let mut report = Report::new();
            let change: fn(&mut Report) = $change;
            change(&mut report);
            assert_refused(report.verify(), Reason::$reason, &[$($(Reason::$also),*)?]);
        }
    )+};
}

attacks! {
    no_reset_since_arming: RebootMissing = |r| r.reset_count_at_arming = 7;
    the_counter_of_an_owners_primary_proves_no_reboot: RebootMissing = |r| {
        let ak = Public::parse_tpm2b(&r.ak).unwrap();
        r.house.ak_hierarchy = AkHierarchy::EndorsementOrOwner;
        r.change_quote = Some(Box::new(move |quote| quote.qualified_signer = ak.qualified_name(Hierarchy::Owner)));
    };
    another_slot_booted: MeasurementMissing = |r| r.digest[0] ^= 1;
    no_log_shows_nothing: MeasurementMissing = |r| r.log = None;
    a_quote_of_another_nonce: QuoteBinding = |r| r.nonce_of_device.push(0);
    a_report_without_a_quote: QuoteMalformed = |r| r.change_evidence = Some(Box::new(|evidence| evidence.quote = None));
    a_record_whose_ak_is_no_key: AkPublicMalformed = |r| r.ak.push(0);
    a_quote_by_another_ak: QuoteSignature [QuoteSigner] = |r| {
        let other = Key::p256();
        r.ak = Area::new(tpm::AK, &other).public(&other);
    };
    firmware_that_is_denied_today: FirmwareDenied = |r| {
        let manufacturer = "IBM".parse().unwrap();
        r.house.deny.firmware.push(FirmwareRange { manufacturer, from: tpm::FIRMWARE, to: tpm::FIRMWARE });
    };
    a_clock_that_went_back: TpmClock = |r| {
        r.last = Some(Clock { clock_ms: 50_001, reset_count: 7, restart_count: 0, safe: true, firmware_version: 1 });
    };
    a_log_cut_after_the_quote: QuoteBinding [EventLogMalformed] = |r| {
        r.change_evidence = Some(Box::new(|evidence| { evidence.event_log.as_mut().unwrap().0.pop(); }));
    };
    a_value_that_was_not_quoted: QuoteDigest [EventLogReplay] = |r| {
        r.change_evidence = Some(Box::new(|evidence| evidence.pcr_values[0].value.0[0] ^= 1));
    };
}

#[test]
fn what_booted_is_believed_with_its_pcr() {
    let mut report = Report::new();
    report.last =
        Some(Clock { clock_ms: 1, reset_count: 5, restart_count: 0, safe: true, firmware_version: 1 });
    let booted = report.verify().unwrap();
    assert_eq!((booted.measured_in, booted.reboot), (Some(9), Some(Reboot::Reset(2))));
    assert_eq!(booted.quote.clock.reset_count, 7);
    assert!(booted.checks.iter().any(|check| check.rule == "measurement-missing"));
}

#[test]
fn firmware_ranges_hold_for_their_maker_and_to_both_ends() {
    let denied = |manufacturer: &str, from, to| {
        let mut report = Report::new();
        report.house.deny.firmware.push(FirmwareRange {
            manufacturer: manufacturer.parse().unwrap(),
            from,
            to,
        });
        report.verify().is_err()
    };
    let version = tpm::FIRMWARE;
    assert!(
        denied("IBM", version - 1, version)
            && denied("IBM", version, version + 1)
            && denied("IBM", 0, u64::MAX)
    );
    assert!(!denied("IBM", 0, version - 1) && !denied("IBM", version + 1, u64::MAX));
    assert!(!denied("IFX", 0, u64::MAX));
}

#[test]
fn a_reports_digest_is_that_of_its_message() {
    use holdfast_trust::attest::binding::{report_digest, report_message, sha256};
    let message = report_message(b"{}");
    assert!(message.ends_with(b"{}") && message.len() > 2);
    assert_eq!(report_digest(b"{}"), sha256(&[&message]));
}
