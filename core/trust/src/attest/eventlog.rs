//! TCG event logs as firmware and boot loaders write them: read to the last byte, replayed bank by bank.
//!
//! Both formats of the PC Client Platform Firmware Profile: crypto-agile (`Spec ID Event03`, TCG_PCR_EVENT2) and the
//! legacy SHA-1 log (TCG_PCR_EVENT). Event *types* are not authenticated by anything; data counts only where its
//! hash equals the digest that was extended ([`Event::data_bound`]).

use crate::limits::{EVENT_LOG_MAX_BANKS, EVENT_LOG_MAX_BYTES, EVENT_LOG_MAX_EVENTS};
use std::collections::BTreeMap;

/// TPM_ALG_SHA1, the one bank of a legacy log.
pub const SHA1: u16 = 0x0004;
pub const SHA256: u16 = 0x000B;
pub const SHA384: u16 = 0x000C;
pub const SHA512: u16 = 0x000D;

/// EV_NO_ACTION: never extended.
pub const EV_NO_ACTION: u32 = 3;
/// EV_SEPARATOR.
pub const EV_SEPARATOR: u32 = 4;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CryptoAgile,
    /// SHA-1 alone; never believed, only shown.
    LegacySha1,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// From 0, the header included.
    pub number: usize,
    pub pcr: u32,
    /// TCG_EVENTTYPE, unauthenticated.
    pub kind: u32,
    /// (TPM_ALG_ID, digest), in the log's order.
    pub digests: Vec<(u16, Vec<u8>)>,
    pub data: Vec<u8>,
    /// Where it starts, bytes.
    pub offset: usize,
}

/// How an event's data is tied to its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The digest is the hash of the data.
    Whole,
    /// Of the data without its closing NUL.
    WithoutNul,
    /// Of what follows a boot loader's prefix such as `grub_cmd: ` or `kernel_cmdline: `.
    AfterPrefix,
}

/// Which side of the PCR's separator an event stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Firmware,
    /// After the separator: boot loader and system.
    Boot,
}

/// A log that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    pub format: Format,
    /// Banks in the header's order, with digest sizes.
    pub banks: Vec<(u16, usize)>,
    pub events: Vec<Event>,
    /// Locality of TPM2_Startup, where the log says so.
    pub startup_locality: Option<u8>,
    /// What was odd without being wrong.
    pub notes: Vec<String>,
}

/// Why a log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    #[error("{actual} bytes are above the cap of {EVENT_LOG_MAX_BYTES}")]
    TooLong { actual: usize },
    #[error("more than {EVENT_LOG_MAX_EVENTS} events")]
    TooMany,
    #[error("at byte {offset}: {what} needs {needed} bytes, {left} are left")]
    Truncated { offset: usize, what: &'static str, needed: usize, left: usize },
    #[error("at byte {offset}: {why}")]
    Malformed { offset: usize, why: String },
}

impl EventLog {
    /// Reads a log.
    ///
    /// # Errors
    /// When it is larger than the caps, ends within an event, or contradicts its header.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > EVENT_LOG_MAX_BYTES {
            return Err(EventLogError::TooLong { actual: bytes.len() });
        }
        let mut reader = Reader { bytes, at: 0 };
        let first = reader.legacy_event(0)?;
        let mut log = match SpecId::read(&first)? {
            Some(header) => Self::empty(Format::CryptoAgile, header.banks),
            None => Self::empty(Format::LegacySha1, vec![(SHA1, 20)]),
        };
        log.take(first)?;
        let padding = padding_start(bytes);
        while reader.at < bytes.len() {
            if log.events.len() >= EVENT_LOG_MAX_EVENTS {
                return Err(EventLogError::TooMany);
            }
            if reader.at >= padding {
                log.notes.push(format!("{} bytes of padding after the last event", bytes.len() - reader.at));
                break;
            }
            let number = log.events.len();
            let event = match log.format {
                Format::CryptoAgile => reader.event(number, &log.banks)?,
                Format::LegacySha1 => reader.legacy_event(number)?,
            };
            log.take(event)?;
        }
        Ok(log)
    }

    fn empty(format: Format, banks: Vec<(u16, usize)>) -> Self {
        Self { format, banks, events: Vec::new(), startup_locality: None, notes: Vec::new() }
    }

    /// Adds an event, reading StartupLocality where it may stand: once, before anything went into PCR 0.
    fn take(&mut self, event: Event) -> Result<(), EventLogError> {
        if event.kind == EV_NO_ACTION
            && event.pcr == 0
            && let Some(rest) = event.data.strip_prefix(b"StartupLocality\0")
        {
            let malformed = |why: &str| EventLogError::Malformed { offset: event.offset, why: why.into() };
            let [locality] = *rest else { return Err(malformed("StartupLocality is not one byte")) };
            if self.startup_locality.is_some() {
                return Err(malformed("a second StartupLocality"));
            }
            if self.events.iter().any(|event| event.pcr == 0 && event.kind != EV_NO_ACTION) {
                return Err(malformed("StartupLocality after PCR 0 was extended"));
            }
            if !matches!(locality, 0 | 3 | 4) {
                return Err(malformed("StartupLocality is none of 0, 3 and 4"));
            }
            self.startup_locality = Some(locality);
        }
        self.events.push(event);
        Ok(())
    }

    /// The PCRs that the log extends, for one bank; none when the bank is not in the log or not one that we compute.
    pub fn replay(&self, bank: u16) -> Option<BTreeMap<u8, Vec<u8>>> {
        let (_, size) = *self.banks.iter().find(|(alg, _)| *alg == bank)?;
        hash(bank, &[])?;
        let mut pcrs: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.kind != EV_NO_ACTION) {
            let (Ok(pcr), Some(digest)) = (u8::try_from(event.pcr), event.digest(bank)) else { continue };
            let value = pcrs.entry(pcr).or_insert_with(|| self.start(pcr, size));
            *value = hash(bank, &[value, digest])?;
        }
        Some(pcrs)
    }

    /// A PCR's value before the first event: zeros, and in PCR 0 the locality of TPM2_Startup.
    pub fn start(&self, pcr: u8, size: usize) -> Vec<u8> {
        let mut value = vec![0; size];
        if let (0, Some(last)) = (pcr, value.last_mut()) {
            *last = self.startup_locality.unwrap_or(0);
        }
        value
    }

    /// Events that were extended, with their phase. A separator counts only where its digest is that of a separator.
    pub fn extended(&self, bank: u16) -> Vec<(Phase, &Event)> {
        let mut closed = [false; 256];
        let extended = self.events.iter().filter(|event| event.kind != EV_NO_ACTION);
        extended
            .map(|event| {
                // Unwrap safety: a u8 indexes 256 places; read() bounds PCRs to below 24.
                let closed = &mut closed[usize::from(event.pcr as u8)];
                let phase = if *closed { Phase::Boot } else { Phase::Firmware };
                *closed |= event.is_separator(bank);
                (phase, event)
            })
            .collect()
    }

    /// The PCRs (ascending) into which `digest` itself, or data that is bound and contains it, was extended.
    pub fn measured(&self, bank: u16, digest: &[u8]) -> Vec<u8> {
        let in_hex = hex::encode(digest);
        let found = self.events.iter().filter(|event| event.kind != EV_NO_ACTION).filter(|event| {
            let named = || event.data_bound(bank).is_some() && contains(&event.data, in_hex.as_bytes());
            event.digest(bank) == Some(digest) || named()
        });
        let mut pcrs: Vec<u8> = found.filter_map(|event| event.pcr.try_into().ok()).collect();
        pcrs.sort_unstable();
        pcrs.dedup();
        pcrs
    }
}

impl Event {
    /// The digest for a bank.
    pub fn digest(&self, bank: u16) -> Option<&[u8]> {
        self.digests.iter().find(|(alg, _)| *alg == bank).map(|(_, digest)| digest.as_slice())
    }

    /// How the data is tied to the digest of `bank`; none when it is not, so that it proves nothing.
    pub fn data_bound(&self, bank: u16) -> Option<Binding> {
        let digest = self.digest(bank)?;
        let is = |data: &[u8]| hash(bank, &[data]).is_some_and(|hashed| hashed == digest);
        let (data, trimmed) = (self.data.as_slice(), self.data.strip_suffix(b"\0"));
        if is(data) {
            return Some(Binding::Whole);
        }
        if trimmed.is_some_and(is) {
            return Some(Binding::WithoutNul);
        }
        let text = trimmed.unwrap_or(data);
        let after = PREFIXES.iter().find_map(|prefix| text.strip_prefix(*prefix));
        after.is_some_and(is).then_some(Binding::AfterPrefix)
    }

    /// Whether this is a separator by its digest (of 00000000 or FFFFFFFF), whatever its type says.
    pub fn is_separator(&self, bank: u16) -> bool {
        let digest = self.digest(bank);
        [[0; 4], [0xFF; 4]].iter().any(|data| hash(bank, &[data]).as_deref() == digest && digest.is_some())
    }

    /// The type's name.
    pub fn kind_name(&self) -> &'static str {
        kind_name(self.kind)
    }
}

/// Hashes by TPM_ALG_ID; SHA-1 only so that legacy logs can be shown.
pub fn hash(alg: u16, parts: &[&[u8]]) -> Option<Vec<u8>> {
    fn over<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().fold(D::new(), sha2::Digest::chain_update).finalize().to_vec()
    }
    match alg {
        SHA1 => Some(over::<sha1::Sha1>(parts)),
        SHA256 => Some(over::<sha2::Sha256>(parts)),
        SHA384 => Some(over::<sha2::Sha384>(parts)),
        SHA512 => Some(over::<sha2::Sha512>(parts)),
        _ => None,
    }
}

/// A bank's name as tpm2-tools writes it.
pub fn bank_name(alg: u16) -> String {
    match alg {
        SHA1 => "sha1".into(),
        SHA256 => "sha256".into(),
        SHA384 => "sha384".into(),
        SHA512 => "sha512".into(),
        0x0012 => "sm3_256".into(),
        0x0027 => "sha3_256".into(),
        other => format!("{other:#06x}"),
    }
}

/// Where the run of equal bytes (0x00 or 0xFF) that ends the log starts; the length when there is none.
fn padding_start(bytes: &[u8]) -> usize {
    match bytes.last() {
        Some(last @ (0 | 0xFF)) => bytes.iter().rposition(|byte| byte != last).map_or(0, |at| at + 1),
        _ => bytes.len(),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, needed: usize) -> Result<&'a [u8], EventLogError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..needed) else {
            return Err(EventLogError::Truncated { offset: self.at, what, needed, left: rest.len() });
        };
        self.at += needed;
        Ok(taken)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, EventLogError> {
        // Unwrap safety: take() gives exactly so many bytes.
        Ok(u16::from_le_bytes(self.take(what, 2)?.try_into().unwrap()))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, EventLogError> {
        // Unwrap safety: as above.
        Ok(u32::from_le_bytes(self.take(what, 4)?.try_into().unwrap()))
    }

    fn head(&mut self) -> Result<(usize, u32, u32), EventLogError> {
        let offset = self.at;
        let (pcr, kind) = (self.u32("pcrIndex")?, self.u32("eventType")?);
        // Some firmware writes EV_NO_ACTION with an index of all ones.
        if pcr > 23 && !(kind == EV_NO_ACTION && pcr == u32::MAX) {
            return Err(EventLogError::Malformed { offset, why: format!("PCR {pcr} does not exist") });
        }
        Ok((offset, pcr, kind))
    }

    /// TCG_PCR_EVENT: pcrIndex, eventType, SHA-1 digest, eventSize, event.
    fn legacy_event(&mut self, number: usize) -> Result<Event, EventLogError> {
        let (offset, pcr, kind) = self.head()?;
        let digest = self.take("digest", 20)?.to_vec();
        let size = self.u32("eventSize")? as usize;
        let data = self.take("event", size)?.to_vec();
        Ok(Event { number, pcr, kind, digests: vec![(SHA1, digest)], data, offset })
    }

    /// TCG_PCR_EVENT2: pcrIndex, eventType, TPML_DIGEST_VALUES, eventSize, event.
    fn event(&mut self, number: usize, banks: &[(u16, usize)]) -> Result<Event, EventLogError> {
        let (offset, pcr, kind) = self.head()?;
        let count = self.u32("digests.count")? as usize;
        let malformed = |why: String| EventLogError::Malformed { offset, why };
        if count > banks.len() {
            return Err(malformed(format!("{count} digests, {} banks in the header", banks.len())));
        }
        let mut digests: Vec<(u16, Vec<u8>)> = Vec::with_capacity(count);
        for _ in 0..count {
            let alg = self.u16("hashAlg")?;
            let Some((_, size)) = banks.iter().find(|(bank, _)| *bank == alg) else {
                return Err(malformed(format!("a digest of {}, which is not in the header", bank_name(alg))));
            };
            if digests.iter().any(|(seen, _)| *seen == alg) {
                return Err(malformed(format!("two digests of {}", bank_name(alg))));
            }
            digests.push((alg, self.take("digest", *size)?.to_vec()));
        }
        // An event that leaves a bank out would let that bank's replay say less than the TPM holds.
        if kind != EV_NO_ACTION && count != banks.len() {
            return Err(malformed(format!("{count} digests, {} banks in the header", banks.len())));
        }
        let size = self.u32("eventSize")? as usize;
        let data = self.take("event", size)?.to_vec();
        Ok(Event { number, pcr, kind, digests, data, offset })
    }
}

/// TCG_EfiSpecIDEvent of the crypto-agile format.
struct SpecId {
    banks: Vec<(u16, usize)>,
}

impl SpecId {
    fn read(first: &Event) -> Result<Option<Self>, EventLogError> {
        if first.kind != EV_NO_ACTION || !first.data.starts_with(b"Spec ID Event03\0") {
            return Ok(None);
        }
        let malformed = |why: String| EventLogError::Malformed { offset: 0, why };
        let mut reader = Reader { bytes: &first.data, at: 16 };
        reader.take("platformClass and versions", 4 + 1 + 1 + 1 + 1)?;
        let count = reader.u32("numberOfAlgorithms")? as usize;
        if count == 0 || count > EVENT_LOG_MAX_BANKS {
            return Err(malformed(format!("{count} banks in the header")));
        }
        let mut banks = Vec::with_capacity(count);
        for _ in 0..count {
            let (alg, size) = (reader.u16("algorithmId")?, usize::from(reader.u16("digestSize")?));
            let known = hash(alg, &[]).map(|digest| digest.len());
            if known.is_some_and(|known| known != size) || size == 0 || size > 64 {
                return Err(malformed(format!("{} with digests of {size} bytes", bank_name(alg))));
            }
            if banks.iter().any(|(seen, _)| *seen == alg) {
                return Err(malformed(format!("{} twice in the header", bank_name(alg))));
            }
            banks.push((alg, size));
        }
        let vendor = usize::from(*reader.take("vendorInfoSize", 1)?.first().unwrap_or(&0));
        reader.take("vendorInfo", vendor)?;
        Ok(Some(Self { banks }))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

/// Prefixes that GRUB puts before what it measured.
const PREFIXES: [&[u8]; 4] =
    [b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ", b"grub_kernel_cmdline "];

fn kind_name(kind: u32) -> &'static str {
    match kind {
        0x0000_0000 => "EV_PREBOOT_CERT",
        0x0000_0001 => "EV_POST_CODE",
        0x0000_0002 => "EV_UNUSED",
        EV_NO_ACTION => "EV_NO_ACTION",
        EV_SEPARATOR => "EV_SEPARATOR",
        0x0000_0005 => "EV_ACTION",
        0x0000_0006 => "EV_EVENT_TAG",
        0x0000_0007 => "EV_S_CRTM_CONTENTS",
        0x0000_0008 => "EV_S_CRTM_VERSION",
        0x0000_0009 => "EV_CPU_MICROCODE",
        0x0000_000A => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000B => "EV_TABLE_OF_DEVICES",
        0x0000_000C => "EV_COMPACT_HASH",
        0x0000_000D => "EV_IPL",
        0x0000_000E => "EV_IPL_PARTITION_DATA",
        0x0000_000F => "EV_NONHOST_CODE",
        0x0000_0010 => "EV_NONHOST_CONFIG",
        0x0000_0011 => "EV_NONHOST_INFO",
        0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        0x0000_0013 => "EV_POST_CODE2",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000A => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000B => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000C => "EV_EFI_VARIABLE_BOOT2",
        0x8000_000D => "EV_EFI_GPT_EVENT2",
        0x8000_0010 => "EV_EFI_HCRTM_EVENT",
        0x8000_00E0 => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00E1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        0x8000_00E2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
        _ => "unknown type",
    }
}
