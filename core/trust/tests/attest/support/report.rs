//! A report with its quote, right in everything until a test changes it.

use super::cert::Ca;
use super::key::Key;
use super::log::Log;
use super::tpm::{self, Area, Attest};
use super::{Change, House, SLOT, apply};
use holdfast_proto::Bytes;
use holdfast_proto::enroll::PcrValue;
use holdfast_proto::report::Evidence;
use holdfast_tpm::wire::Public;
use holdfast_trust::Verified;
use holdfast_trust::attest::Refusal;
use holdfast_trust::attest::binding::{report_quote, sha256};
use holdfast_trust::attest::tpm2::{Booted, BootedExpectation, Clock, Expected, verify_report};

const PCRS: [u8; 2] = [0, 9];
const NONCE: &[u8] = b"a nonce of the service";

/// Every field is a knob; the defaults pass every check.
pub struct Report {
    pub house: House,
    pub key: Key,
    pub ak: Vec<u8>,
    pub log: Option<Log>,
    pub reset_count_at_arming: u32,
    pub last: Option<Clock>,
    pub digest: Vec<u8>,
    pub nonce_of_device: Vec<u8>,
    pub change_quote: Change<Attest>,
    pub change_evidence: Change<Evidence>,
}

impl Report {
    pub fn new() -> Self {
        let key = Key::p256();
        let ak = Area::new(tpm::AK, &key).public(&key);
        let log = Log::new(&[0x0B]).event(0, 8, b"firmware").digest(9, 13, &SLOT, b"slot b");
        let house = House::trusting(&Ca::new("Root", Key::p256(), None, |_| {}));
        Self {
            house,
            key,
            ak,
            log: Some(log),
            reset_count_at_arming: 6,
            last: None,
            digest: SLOT.to_vec(),
            nonce_of_device: NONCE.to_vec(),
            change_quote: None,
            change_evidence: None,
        }
    }

    fn evidence(&self) -> Evidence {
        let values: Vec<Vec<u8>> = PCRS
            .iter()
            .map(|pcr| self.log.as_ref().map_or(vec![0; 32], |log| log.value(0x0B, *pcr)))
            .collect();
        let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let log = self.log.as_ref().map(|log| log.bytes.clone());
        let ak = Public::parse_tpm2b(&Area::new(tpm::AK, &self.key).public(&self.key)).unwrap();
        let binding = report_quote(&self.nonce_of_device, log.as_deref());
        let mut quote = Attest::quote(&ak, &tpm::selection(0x0B, &PCRS), &sha256(&parts), binding);
        apply(self.change_quote.as_deref(), &mut quote);
        let pcr_values = PCRS.iter().zip(values).map(|(index, value)| PcrValue {
            alg: 0x0B,
            index: *index,
            value: Bytes(value),
        });
        let mut evidence = Evidence {
            nonce: Bytes(self.nonce_of_device.clone()),
            quote: Some(quote.sign(&self.key)),
            pcr_values: pcr_values.collect(),
            event_log: log.map(Bytes),
        };
        apply(self.change_evidence.as_deref(), &mut evidence);
        evidence
    }

    pub fn verify(&self) -> Result<Verified<Booted>, Refusal> {
        let booted =
            BootedExpectation { reset_count_at_arming: self.reset_count_at_arming, digest: &self.digest };
        let expected = Expected {
            ak_public: &self.ak,
            manufacturer: Some("IBM".parse().unwrap()),
            nonce: NONCE,
            pcr_bank: 0x0B,
            pcr_selection: &PCRS,
            last: self.last,
            booted: Some(booted),
        };
        verify_report(&self.evidence(), &expected, &self.house.policy())
    }
}
