//! TPMS_ATTEST: what a TPM says under a restricted key (Part 2, 10.12.12).

use super::pcr::PcrSelection;
use super::{WireError, exact};
use tpm2_protocol::data::{TpmsAttest, TpmuAttest};

/// TPM_GENERATED_VALUE.
pub const MAGIC: u32 = 0xFF54_4347;
pub const TYPE_CERTIFY: u16 = 0x8017;
pub const TYPE_QUOTE: u16 = 0x8018;

/// TPMS_CLOCK_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds of the TPM's own clock.
    pub clock_ms: u64,
    pub reset_count: u32,
    pub restart_count: u32,
    pub safe: bool,
}

/// What is attested; other kinds than these two are told by their type alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    Certify { name: Vec<u8>, qualified_name: Vec<u8> },
    Quote { selections: Vec<PcrSelection>, digest: Vec<u8> },
    Other,
}

/// A parsed TPMS_ATTEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// TPMI_ST_ATTEST, raw.
    pub kind: u16,
    pub qualified_signer: Vec<u8>,
    pub extra_data: Vec<u8>,
    pub clock: ClockInfo,
    pub firmware_version: u64,
    pub attested: Attested,
}

impl Attest {
    /// Parses to the last byte.
    ///
    /// # Errors
    /// [`WireError::WrongMagic`] first, then any departure from the structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let magic = bytes.first_chunk::<4>().map(|magic| u32::from_be_bytes(*magic));
        match magic {
            Some(MAGIC) => {}
            Some(other) => return Err(WireError::WrongMagic(other)),
            None => return Err(WireError::Malformed { structure: "TPMS_ATTEST", why: "no magic".into() }),
        }
        let attest: TpmsAttest = exact("TPMS_ATTEST", bytes)?;
        let attested = match &attest.attested {
            TpmuAttest::Certify(info) => {
                Attested::Certify { name: info.name.to_vec(), qualified_name: info.qualified_name.to_vec() }
            }
            TpmuAttest::Quote(info) => Attested::Quote {
                selections: info.pcr_select.iter().map(PcrSelection::from_wire).collect(),
                digest: info.pcr_digest.to_vec(),
            },
            _ => Attested::Other,
        };
        Ok(Self {
            kind: attest.attest_type.value(),
            qualified_signer: attest.qualified_signer.to_vec(),
            extra_data: attest.extra_data.to_vec(),
            clock: ClockInfo {
                clock_ms: attest.clock_info.clock.value(),
                reset_count: attest.clock_info.reset_count.value(),
                restart_count: attest.clock_info.restart_count.value(),
                safe: bool::from(attest.clock_info.safe),
            },
            firmware_version: attest.firmware_version.value(),
            attested,
        })
    }
}
