//! The TPM commands that this project sends, one method each, in files by subject.
//!
//! Every object and session that a method loads is flushed before it returns, on error too: a TPM has as
//! few as three slots. Who needs an object over several commands says so with [`Tpm::with`].

mod attest;
mod capability;
mod frame;
mod nv;
mod object;
mod pcr;
pub mod rc;
mod session;
mod startup;

pub use capability::Properties;
pub use object::Loaded;
pub use pcr::PcrValue;
pub use rc::ResponseCode;

pub(crate) use frame::{Auth, Command};

use crate::transport::{self, HEADER_BYTES, Transport, TransportError};
use crate::wire::WireError;
use frame::Response;
use std::fmt;
use std::time::Duration;
use tpm2_protocol::data::TpmCc;
use zeroize::Zeroizing;

/// An open TPM.
pub struct Tpm {
    transport: Box<dyn Transport>,
    patience: Patience,
}

/// How often and at which pace a command is sent again while the TPM asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub tries: u32,
    /// Doubles with every try.
    pub first_pause: Duration,
}

/// Why a TPM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The response does not parse.
    #[error("TPM's response does not parse")]
    Wire(#[from] WireError),
    #[error("{command} refused: {code}")]
    Refused { command: TpmCc, code: ResponseCode },
    /// Dictionary attack lockout (0x921). Trying again makes it worse: only time or the owner ends it.
    #[error("{command} refused: the TPM is locked out")]
    Lockout { command: TpmCc },
    #[error("{command} still answered {code} at try {tries}")]
    Busy { command: TpmCc, code: ResponseCode, tries: u32 },
    /// The key blob is not of this TPM, or the TPM was cleared since.
    #[error("key blob was not made under this TPM's present storage root")]
    ForeignBlob,
    /// Whole PCRs or NV bytes that were asked for do not come.
    #[error("TPM returned no further {0}")]
    Incomplete(&'static str),
    /// The TPM derives no EK of the templates that it has a certificate for, nor of a default one.
    #[error("no usable endorsement key")]
    NoEndorsementKey,
    /// The activated secret has not 32 bytes.
    #[error("activated secret has {0} bytes, not 32")]
    SecretLength(usize),
}

impl Tpm {
    /// Opens the TPM that `spec` names (see [`transport::open`]) and starts it if need be.
    pub fn open(spec: &str) -> Result<Self, TpmError> {
        Self::start(transport::open(spec)?)
    }

    /// Starts the TPM behind `transport` if need be; flushes what a killed predecessor left loaded.
    pub fn start(transport: Box<dyn Transport>) -> Result<Self, TpmError> {
        let mut tpm = Self { transport, patience: Patience::default() };
        tpm.startup_clear()?;
        if tpm.transport.keeps_leftovers() {
            tpm.flush_leftovers()?;
        }
        Ok(tpm)
    }

    /// Replaces the default patience.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Lets go of the TPM until the next command, for transports that serve one client at a time.
    pub fn release(&mut self) {
        self.transport.release();
    }

    /// Sends one command; again while the TPM asks for it.
    pub(crate) fn call(&mut self, command: &Command) -> Result<Response, TpmError> {
        let bytes = command.to_bytes();
        let code = command.code;
        let mut pause = self.patience.first_pause;
        for tries in 1.. {
            // A response may carry an activated secret.
            let response = Zeroizing::new(self.transport.transact(&bytes)?);
            match response_code(&response)? {
                rc::SUCCESS => return Ok(command.read_response(&response)?),
                rc::LOCKOUT => return Err(TpmError::Lockout { command: code }),
                busy if busy.asks_for_retry() && tries >= self.patience.tries => {
                    return Err(TpmError::Busy { command: code, code: busy, tries });
                }
                busy if busy.asks_for_retry() => {
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2);
                }
                refused => return Err(TpmError::Refused { command: code, code: refused }),
            }
        }
        unreachable!("the loop counts to u32::MAX and patience ends it before")
    }
}

impl Default for Patience {
    /// Ten tries within about five seconds.
    fn default() -> Self {
        Self { tries: 10, first_pause: Duration::from_millis(10) }
    }
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").finish_non_exhaustive()
    }
}

impl TpmError {
    /// The code with which the TPM refused, if it did.
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } | Self::Busy { code, .. } => Some(*code),
            Self::Lockout { .. } => Some(rc::LOCKOUT),
            _ => None,
        }
    }
}

fn response_code(response: &[u8]) -> Result<ResponseCode, WireError> {
    match response.get(HEADER_BYTES - 4..HEADER_BYTES) {
        Some([a, b, c, d]) => Ok(ResponseCode(u32::from_be_bytes([*a, *b, *c, *d]))),
        _ => Err(WireError::Short { what: "response", needed: HEADER_BYTES, available: response.len() }),
    }
}

#[cfg(test)]
mod tests;
