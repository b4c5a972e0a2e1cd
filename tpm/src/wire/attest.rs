//! TPMS_ATTEST (TPM 2.0 Part 2, clause 10.12): what a TPM says under an attestation key.
//!
//! Magic and type are handed on as received: whether they are right is the verifier's check, and its
//! refusal has to name them.

use super::{PcrSelections, Reader, WireError};
use tpm2_protocol::{constant::TPM_GENERATED_VALUE, data::TpmSt};

/// TPM_GENERATED_VALUE, 0xFF544347.
pub const MAGIC: u32 = TPM_GENERATED_VALUE;
pub const ST_ATTEST_CERTIFY: u16 = TpmSt::AttestCertify.value();
pub const ST_ATTEST_QUOTE: u16 = TpmSt::AttestQuote.value();

const MAX_NAME: usize = 66;

/// A parsed TPMS_ATTEST with the bytes as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    bytes: Vec<u8>,
    pub magic: u32,
    /// TPMI_ST_ATTEST; decides how [`Attest::attested`] was read.
    pub kind: u16,
    pub qualified_signer: Vec<u8>,
    pub extra_data: Vec<u8>,
    pub clock: ClockInfo,
    pub firmware_version: u64,
    pub attested: Attested,
}

/// TPMS_CLOCK_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds of powered time.
    pub clock_ms: u64,
    pub reset_count: u32,
    pub restart_count: u32,
    /// False: the clock may go back after this.
    pub safe: bool,
}

/// TPMU_ATTEST, for the two types in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    Certify {
        name: Vec<u8>,
        qualified_name: Vec<u8>,
    },
    Quote {
        selection: PcrSelections,
        digest: Vec<u8>,
    },
    /// Any other type: the rest of the structure, unread.
    Other(Vec<u8>),
}

impl Attest {
    /// Reads a TPMS_ATTEST (without the TPM2B size) to its last byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes)?;
        let magic = reader.u32("magic")?;
        let kind = reader.u16("type")?;
        let qualified_signer = reader.sized("qualifiedSigner", MAX_NAME)?.to_vec();
        let extra_data = reader.sized("extraData", MAX_NAME)?.to_vec();
        let clock = ClockInfo {
            clock_ms: reader.u64("clockInfo.clock")?,
            reset_count: reader.u32("clockInfo.resetCount")?,
            restart_count: reader.u32("clockInfo.restartCount")?,
            safe: reader.yes_no("clockInfo.safe")?,
        };
        let firmware_version = reader.u64("firmwareVersion")?;
        let attested = match kind {
            ST_ATTEST_CERTIFY => Attested::Certify {
                name: reader.sized("attested.name", MAX_NAME)?.to_vec(),
                qualified_name: reader.sized("attested.qualifiedName", MAX_NAME)?.to_vec(),
            },
            ST_ATTEST_QUOTE => Attested::Quote {
                selection: PcrSelections::read(&mut reader)?,
                digest: reader.sized("attested.pcrDigest", 64)?.to_vec(),
            },
            _ => {
                let rest = reader.rest();
                Attested::Other(reader.take("attested", rest.len())?.to_vec())
            }
        };
        reader.finish("TPMS_ATTEST")?;
        Ok(Self {
            bytes: bytes.to_vec(),
            magic,
            kind,
            qualified_signer,
            extra_data,
            clock,
            firmware_version,
            attested,
        })
    }

    /// The TPMS_ATTEST as received: what the signature covers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
