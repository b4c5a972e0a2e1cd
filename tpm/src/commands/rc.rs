//! TPM response codes that somebody here decides on.

use std::fmt;
use tpm2_protocol::data::TpmRc;

/// A TPM_RC as received.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u32);

pub const SUCCESS: ResponseCode = ResponseCode(0);
/// TPM_RC_INITIALIZE: TPM2_Startup was sent to a TPM that is started, or another command to one that is not.
pub const INITIALIZE: ResponseCode = ResponseCode(0x100);
/// TPM_RC_YIELDED
pub const YIELDED: ResponseCode = ResponseCode(0x908);
/// TPM_RC_TESTING
pub const TESTING: ResponseCode = ResponseCode(0x90A);
/// TPM_RC_NV_RATE
pub const NV_RATE: ResponseCode = ResponseCode(0x920);
/// TPM_RC_LOCKOUT
pub const LOCKOUT: ResponseCode = ResponseCode(0x921);
/// TPM_RC_RETRY
pub const RETRY: ResponseCode = ResponseCode(0x922);
/// TPM_RC_HANDLE
pub const HANDLE: ResponseCode = ResponseCode(0x08B);
/// TPM_RC_INTEGRITY: a blob of another parent, another TPM, or from before a Clear.
pub const INTEGRITY: ResponseCode = ResponseCode(0x09F);

impl ResponseCode {
    /// Whether the TPM asks for the same command again.
    pub fn asks_for_retry(self) -> bool {
        matches!(self, RETRY | YIELDED | TESTING | NV_RATE)
    }

    /// The error without the parameter, handle or session that it is about (TPM 2.0 Part 2, 6.6.2).
    pub fn base(self) -> Self {
        if self.0 & 0x80 == 0 { self } else { Self(self.0 & 0xBF) }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TpmRc::try_from(self.0) {
            Ok(known) => write!(f, "{known} ({:#05x})", self.0),
            Err(_) => write!(f, "{:#05x}", self.0),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
