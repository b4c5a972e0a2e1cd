//! One command after another: framing, sessions, response codes, resending.

use super::transport::{Transport, TransportError};
use crate::wire::{PcrSelection, WireError, unwrap_2b, wrap_2b};
use tpm2_protocol::data::TpmCc;

pub(super) const RH_OWNER: u32 = 0x4000_0001;
pub(super) const RH_NULL: u32 = 0x4000_0007;
pub(super) const RH_ENDORSEMENT: u32 = 0x4000_000B;
const RH_LOCKOUT: u32 = 0x4000_000A;
const RS_PASSWORD: u32 = 0x4000_0009;

/// TPM_RC_YIELDED, TESTING, NV_RATE, RETRY: the same command may be sent again.
const RETRY_CODES: [u32; 4] = [0x908, 0x90A, 0x920, 0x922];
const RC_LOCKOUT: u32 = 0x921;
const RC_INITIALIZE: u32 = 0x100;
const RESENDS_MAX: u32 = 50;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum TpmCommandError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the TPM is in dictionary-attack lockout (0x921): wait for its recovery time or reset it with the lockout authorization")]
    Lockout,
    #[error("{command} was refused with TPM_RC {code:#05x}")]
    Refused { command: &'static str, code: u32 },
    #[error("the response to {command} is not what it should be")]
    Response { command: &'static str, source: WireError },
    #[error("{0}")]
    Unusable(String),
}

/// An open TPM.
pub struct Tpm {
    transport: Box<dyn Transport>,
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tpm")
    }
}

/// One authorization in the session area.
#[derive(Clone, Copy)]
pub(super) enum Auth {
    /// The empty password.
    Empty,
    /// A policy session.
    Session(u32),
}

/// A command as it is built: handles, authorizations, parameters.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) code: TpmCc,
    pub(super) handles: &'a [u32],
    pub(super) auths: &'a [Auth],
    pub(super) parameters: Vec<u8>,
    /// Handles in the response.
    pub(super) returns_handle: bool,
}

/// A response's handle (0 without one) and parameters.
pub(super) struct Answer {
    pub(super) name: &'static str,
    pub(super) handle: u32,
    pub(super) parameters: Vec<u8>,
}

impl Tpm {
    /// Takes over a transport and starts the TPM up where nobody has (swtpm without a kernel).
    ///
    /// # Errors
    /// When the TPM does not answer.
    pub fn new(transport: Box<dyn Transport>) -> Result<Self, TpmCommandError> {
        let mut tpm = Self { transport };
        match tpm.call(&Call::new("TPM2_Startup", TpmCc::Startup).with(&[0, 0])) {
            Ok(_) | Err(TpmCommandError::Refused { code: RC_INITIALIZE, .. }) => Ok(tpm),
            Err(error) => Err(error),
        }
    }

    /// Opens by a transport's name ([`super::open`]).
    ///
    /// # Errors
    /// When there is no such transport, or the TPM does not answer.
    pub fn open(spec: &str) -> Result<Self, TpmCommandError> {
        Self::new(super::open(spec)?)
    }

    /// TPM2_PCR_Read of every PCR selected, in as many commands as it takes: (index, value) ascending.
    ///
    /// # Errors
    /// When the bank is not allocated: the TPM then returns nothing.
    pub fn pcr_read(&mut self, selection: PcrSelection) -> Result<Vec<(u8, Vec<u8>)>, TpmCommandError> {
        let mut values = Vec::new();
        let mut left = selection;
        while left.pcrs != 0 {
            let answer = self.call(&Call::new("TPM2_PCR_Read", TpmCc::PcrRead).with(&left.to_list()))?;
            let mut reader = answer.reader();
            reader.u32()?; // pcrUpdateCounter
            let read = reader.selections()?;
            let mut got = 0;
            let count = reader.u32()?;
            let indices: Vec<u8> = read.iter().flat_map(PcrSelection::indices).collect();
            for index in indices.iter().take(count as usize) {
                values.push((*index, reader.bytes_2b()?.to_vec()));
                got |= 1 << index;
            }
            if got & left.pcrs == 0 {
                return Err(TpmCommandError::Unusable(format!("the PCR bank {:#06x} is not allocated", selection.hash)));
            }
            left.pcrs &= !got;
        }
        values.sort();
        Ok(values)
    }

    /// TPM2_PCR_Extend of one bank.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn pcr_extend(&mut self, index: u8, alg: u16, digest: &[u8]) -> Result<(), TpmCommandError> {
        let parameters = [&1u32.to_be_bytes()[..], &alg.to_be_bytes(), digest].concat();
        let handles = [u32::from(index)];
        let call = Call::new("TPM2_PCR_Extend", TpmCc::PcrExtend).on(&handles, &[Auth::Empty]).with(&parameters);
        self.call(&call).map(|_| ())
    }

    /// TPM2_Clear by the lockout hierarchy with empty authorization.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn clear(&mut self) -> Result<(), TpmCommandError> {
        let call = Call::new("TPM2_Clear", TpmCc::Clear).on(&[RH_LOCKOUT], &[Auth::Empty]);
        self.call(&call).map(|_| ())
    }

    /// TPM2_FlushContext; a handle that is gone already is fine.
    pub(super) fn flush(&mut self, handle: u32) {
        let call = Call::new("TPM2_FlushContext", TpmCc::FlushContext).with(&handle.to_be_bytes());
        if let Err(error) = self.call(&call) {
            tracing::debug!(tpm.handle = handle, %error, "flushing a TPM handle failed");
        }
    }

    /// Starts a policy session (SHA-256, no salt, no bind).
    pub(super) fn start_policy_session(&mut self) -> Result<u32, TpmCommandError> {
        let parameters = [&wrap_2b(&[0; 16])[..], &wrap_2b(&[]), &[1], &0x0010u16.to_be_bytes(), &0x000Bu16.to_be_bytes()];
        let call = Call {
            returns_handle: true,
            ..Call::new("TPM2_StartAuthSession", TpmCc::StartAuthSession).on(&[RH_NULL, RH_NULL], &[]).with(&parameters.concat())
        };
        Ok(self.call(&call)?.handle)
    }

    /// Sends a call; the same bytes again while the TPM says so.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<Answer, TpmCommandError> {
        let bytes = call.frame();
        for _ in 0..RESENDS_MAX {
            let response = self.transport.transact(&bytes)?;
            // Unwrap safety: every transport gives at least the ten bytes of a header.
            let code = u32::from_be_bytes(response[6..10].try_into().unwrap());
            match code {
                0 => return call.answer(&response),
                RC_LOCKOUT => return Err(TpmCommandError::Lockout),
                code if RETRY_CODES.contains(&code) => std::thread::sleep(std::time::Duration::from_millis(20)),
                code => return Err(TpmCommandError::Refused { command: call.name, code }),
            }
        }
        Err(TpmCommandError::Unusable(format!("{} was put off {RESENDS_MAX} times", call.name)))
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(name: &'static str, code: TpmCc) -> Self {
        Self { name, code, handles: &[], auths: &[], parameters: Vec::new(), returns_handle: false }
    }

    pub(super) fn on(self, handles: &'a [u32], auths: &'a [Auth]) -> Self {
        Self { handles, auths, ..self }
    }

    pub(super) fn with(self, parameters: &[u8]) -> Self {
        Self { parameters: parameters.to_vec(), ..self }
    }

    pub(super) fn returning_handle(self) -> Self {
        Self { returns_handle: true, ..self }
    }

    /// Part 1, 18.4: tag, size, code, handles, authorizations, parameters.
    fn frame(&self) -> Vec<u8> {
        let mut body: Vec<u8> = self.handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        if !self.auths.is_empty() {
            let sessions: Vec<u8> = self.auths.iter().flat_map(|auth| auth.wire()).collect();
            body.extend((sessions.len() as u32).to_be_bytes());
            body.extend(sessions);
        }
        body.extend(&self.parameters);
        let tag: u16 = if self.auths.is_empty() { 0x8001 } else { 0x8002 };
        let length = body.len() as u32 + 10;
        [&tag.to_be_bytes()[..], &length.to_be_bytes(), &self.code.value().to_be_bytes(), &body].concat()
    }

    fn answer(&self, response: &[u8]) -> Result<Answer, TpmCommandError> {
        let mut reader = Reader { name: self.name, bytes: &response[10..] };
        let handle = if self.returns_handle { reader.u32()? } else { 0 };
        let parameters = if self.auths.is_empty() {
            reader.bytes
        } else {
            let length = reader.u32()? as usize;
            reader.take(length)?
        };
        Ok(Answer { name: self.name, handle, parameters: parameters.to_vec() })
    }
}

impl Auth {
    fn wire(self) -> Vec<u8> {
        let handle = match self {
            Self::Empty => RS_PASSWORD,
            Self::Session(handle) => handle,
        };
        [&handle.to_be_bytes()[..], &wrap_2b(&[]), &[1], &wrap_2b(&[])].concat()
    }
}

impl Answer {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { name: self.name, bytes: &self.parameters }
    }
}

/// Reads a response front to back.
pub(super) struct Reader<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TpmCommandError> {
        let (head, tail) = self.bytes.split_at_checked(length).ok_or_else(|| TpmCommandError::Response {
            command: self.name,
            source: WireError::Malformed {
                structure: "response",
                why: format!("{length} bytes wanted, {} left", self.bytes.len()),
            },
        })?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmCommandError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmCommandError> {
        // Unwrap safety: take() gives exactly two bytes.
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmCommandError> {
        // Unwrap safety: take() gives exactly four bytes.
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    pub(super) fn bytes_2b(&mut self) -> Result<&'a [u8], TpmCommandError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    pub(super) fn selections(&mut self) -> Result<Vec<PcrSelection>, TpmCommandError> {
        let count = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..count.min(16) {
            let hash = self.u16()?;
            let size = usize::from(self.u8()?);
            let bits = self.take(size)?.iter().take(4).enumerate();
            all.push(PcrSelection { hash, pcrs: bits.fold(0, |set, (byte, bits)| set | u32::from(*bits) << (8 * byte)) });
        }
        Ok(all)
    }
}

/// The content of a TPM2B_PUBLIC in a response.
pub(super) fn public_of(name: &'static str, bytes_2b: &[u8]) -> Result<crate::wire::Public, TpmCommandError> {
    let response = |source| TpmCommandError::Response { command: name, source };
    crate::wire::Public::parse(unwrap_2b("TPM2B_PUBLIC", bytes_2b).map_err(response)?).map_err(response)
}
