//! The same checks offline, for `holdfast inspect`: no policy, no record, nothing issued.

use super::eventlog::{self, EventLog, EventLogError, Format};
use super::ledger::Refusal;
use super::tpm2::ek::{self, EkCertificate};
use super::{DenyList, Ledger};
use crate::chain::path::Search;
use crate::chain::{
    Algorithms, Anchor, Anchors, Certificate, CertificateError, CertificateFacts, Certifies, Scope,
    TimePolicy, certificates_of,
};
use holdfast_proto::Digest;
use holdfast_proto::api::device::{Check, RootClass};
use std::collections::{BTreeMap, BTreeSet};

/// How `inspect ek` judges.
#[derive(Clone)]
pub struct EkInspection<'a> {
    /// PEM or DER, each file with one or more certificates.
    pub roots: &'a [Vec<u8>],
    pub intermediates: &'a [Vec<u8>],
    /// Manufacturers that the roots may certify; empty: any, which is noted.
    pub certifies: &'a [Certifies],
    pub time: TimePolicy,
    /// SHA-256 fingerprints of issuers whose SHA-1 signatures count.
    pub sha1_issuers: &'a BTreeSet<Digest>,
    pub algorithms: Algorithms<'a>,
    /// Unix seconds.
    pub now: i64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub accepted: bool,
    /// The first failed check's code.
    pub reason: Option<super::Reason>,
    pub checks: Vec<Check>,
    /// The TPM, where the certificate was accepted.
    pub certificate: Option<EkCertificate>,
    /// What the certificate says, where it can be read.
    pub facts: Option<CertificateFacts>,
}

/// Judges an EK certificate as M1 would: raw NV bytes, DER or PEM; further certificates in it count as intermediates.
///
/// # Errors
/// When a file of roots or intermediates holds no certificate.
pub fn ek(certificate: &[u8], with: &EkInspection<'_>) -> Result<Inspection, CertificateError> {
    let mut own = match pem(certificate)? {
        Some(blocks) => blocks,
        None => vec![certificate.to_vec()],
    };
    let more = own.split_off(1.min(own.len()));
    let scope =
        if with.certifies.is_empty() { Scope::Unscoped } else { Scope::Only(with.certifies.to_vec()) };
    let mut anchors = Anchors { sha1_issuers: with.sha1_issuers.clone(), ..Anchors::default() };
    for root in with.roots {
        for certificate in certificates_of(root)? {
            // The class is not known offline and decides nothing here.
            anchors.anchors.push(Anchor {
                certificate,
                class: RootClass::Software,
                scope: scope.clone(),
                time: with.time,
            });
        }
    }
    let mut intermediates = more;
    for file in with.intermediates {
        intermediates.extend(certificates_of(file)?);
    }
    let mut ledger = Ledger::default();
    let search = Search { anchors: &anchors, algorithms: with.algorithms, now: with.now };
    let read = ek::read(own.first().map_or(&[], Vec::as_slice), &mut ledger);
    let facts = read.as_ref().map(|read| read.certificate.facts());
    let found =
        read.and_then(|read| ek::appraise(&read, &intermediates, search, &DenyList::default(), &mut ledger));
    Ok(match ledger.verdict(found, |found, checks| (found, checks)) {
        Ok(believed) => {
            let (found, checks) = believed.into_inner();
            Inspection { accepted: true, reason: None, checks, certificate: Some(found), facts }
        }
        Err(Refusal { reason, checks }) => {
            Inspection { accepted: false, reason: Some(reason), checks, certificate: None, facts }
        }
    })
}

/// What each certificate of a file says, PEM or DER.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn cert(bytes: &[u8]) -> Result<Vec<CertificateFacts>, CertificateError> {
    certificates_of(bytes)?.iter().map(|der| Ok(Certificate::parse(der)?.facts())).collect()
}

/// One event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    pub number: usize,
    pub pcr: u32,
    pub kind: u32,
    pub kind_name: &'static str,
    /// Hex by bank name.
    pub digests: BTreeMap<String, String>,
    pub data: Vec<u8>,
    /// How the data is tied to a digest; none: the data proves nothing.
    pub binding: Option<eventlog::Binding>,
}

/// What a log replays to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLogReport {
    pub format: Format,
    pub startup_locality: Option<u8>,
    pub events: Vec<EventLine>,
    /// By bank name, then PCR: hex.
    pub pcrs: BTreeMap<String, BTreeMap<u8, String>>,
    /// Banks of the log that are not computed here (SM3, SHA-3).
    pub unsupported_banks: Vec<String>,
    pub notes: Vec<String>,
}

/// Reads and replays an event log, crypto-agile or legacy.
///
/// # Errors
/// [`EventLogError`] with the offset.
pub fn event_log(bytes: &[u8]) -> Result<EventLogReport, EventLogError> {
    let log = EventLog::parse(bytes)?;
    let (mut pcrs, mut unsupported_banks) = (BTreeMap::new(), Vec::new());
    for (bank, _) in &log.banks {
        let name = eventlog::bank_name(*bank);
        match log.replay(*bank) {
            Some(values) => {
                pcrs.insert(name, values.into_iter().map(|(pcr, value)| (pcr, hex::encode(value))).collect());
            }
            None => unsupported_banks.push(name),
        }
    }
    let banks: Vec<u16> = log.banks.iter().map(|(bank, _)| *bank).collect();
    let events = log.events.iter().map(|event| EventLine {
        number: event.number,
        pcr: event.pcr,
        kind: event.kind,
        kind_name: event.kind_name(),
        digests: event
            .digests
            .iter()
            .map(|(bank, digest)| (eventlog::bank_name(*bank), hex::encode(digest)))
            .collect(),
        data: event.data.clone(),
        binding: banks.iter().find_map(|bank| event.data_bound(*bank)),
    });
    let (events, notes) = (events.collect(), log.notes.clone());
    Ok(EventLogReport {
        format: log.format,
        startup_locality: log.startup_locality,
        events,
        pcrs,
        unsupported_banks,
        notes,
    })
}

fn pem(bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>, CertificateError> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    if is_text { certificates_of(bytes).map(Some) } else { Ok(None) }
}
