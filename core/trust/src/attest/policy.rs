//! What the operator decided beforehand. Data, passed in; the evidence record keeps its version.

use crate::chain::{Algorithms, Anchors, ManufacturerId};
use holdfast_proto::Digest;
use std::collections::BTreeSet;

/// Everything that M1 and M3 are judged by.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// Signature algorithms of the caller's crypto provider.
    pub algorithms: Algorithms<'a>,
    pub anchors: &'a Anchors,
    pub deny: &'a DenyList,
    /// EK hashes from makers' lists, station records and claims: tier T3 without a certificate.
    pub listed_eks: &'a BTreeSet<Digest>,
    pub unlisted: Unlisted,
    pub ak_hierarchy: AkHierarchy,
    pub event_log: EventLogPolicy,
    /// PCRs that a quote must cover, ascending; 16 and 23 are never trusted.
    pub pcr_selection: &'a [u8],
    /// Recovery of tier T0; none: not allowed.
    pub recovery: Option<Recovery<'a>>,
}

/// What becomes of an EK without a certificate that is on no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    Refuse,
    /// An operator decides: the attempt goes on to PENDING as tier T3 ([`super::tpm2::EkBasis::Unlisted`]).
    Await,
}

/// Hierarchies in which an AK may be a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AkHierarchy {
    Endorsement,
    /// The owner's too: recorded, without reboot detection, since the TPM obfuscates its counters there.
    EndorsementOrOwner,
}

/// Whether an event log is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLogPolicy {
    Optional,
    Required,
}

/// Recovery of a T0 device by its expired certificate.
#[derive(Debug, Clone, Copy)]
pub struct Recovery<'a> {
    /// Our issuing CAs, DER: the expired certificate must be signed by one of them.
    pub issuers: &'a [Vec<u8>],
    /// How long after its end a certificate may still be used for this, seconds.
    pub window_s: i64,
}

/// What is refused whatever else it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DenyList {
    pub ek_hashes: BTreeSet<Digest>,
    /// Serial numbers of EK certificates and of their issuers, lower-case hex without leading zeros.
    pub certificate_serials: BTreeSet<String>,
    pub firmware: Vec<FirmwareRange>,
}

/// Firmware versions of one manufacturer, both ends included (TPM_PT_FIRMWARE_VERSION_1 ‖ _2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareRange {
    pub manufacturer: ManufacturerId,
    pub from: u64,
    pub to: u64,
}

impl DenyList {
    pub(crate) fn has_serial(&self, serial: &str) -> bool {
        let serial = serial.trim_start_matches('0').to_ascii_lowercase();
        self.certificate_serials
            .iter()
            .any(|denied| denied.trim_start_matches('0').eq_ignore_ascii_case(&serial))
    }
}
