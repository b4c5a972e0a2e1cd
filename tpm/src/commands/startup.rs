//! Startup, shutdown, self test, clear.

use super::{Auth, Command, Tpm, TpmError, rc};
use crate::wire::Writer;
use tpm2_protocol::data::{TpmCc, TpmRh, TpmSu};

impl Tpm {
    /// TPM2_Startup(CLEAR); a TPM that is started already (firmware, swtpm's `startup-clear`) is fine.
    pub fn startup_clear(&mut self) -> Result<(), TpmError> {
        let command = Command::new(TpmCc::Startup).parameters(Writer::default().u16(TpmSu::Clear.value()));
        match self.call(&command) {
            Ok(_) | Err(TpmError::Refused { code: rc::INITIALIZE, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// TPM2_Shutdown(CLEAR): an orderly end; without it the TPM counts a power cut.
    pub fn shutdown_clear(&mut self) -> Result<(), TpmError> {
        let command = Command::new(TpmCc::Shutdown).parameters(Writer::default().u16(TpmSu::Clear.value()));
        self.call(&command).map(drop)
    }

    /// TPM2_SelfTest of what has not been tested.
    pub fn self_test(&mut self) -> Result<(), TpmError> {
        self.call(&Command::new(TpmCc::SelfTest).parameters(Writer::default().u8(0))).map(drop)
    }

    /// TPM2_Clear by lockout authorisation (empty): a new storage seed, every key of the owner is gone.
    pub fn clear(&mut self) -> Result<(), TpmError> {
        self.call(&Command::new(TpmCc::Clear).authorised(TpmRh::Lockout.value(), Auth::Empty)).map(drop)
    }
}
