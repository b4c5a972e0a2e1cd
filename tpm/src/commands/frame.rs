//! Command and response frames (TPM 2.0 Part 1, clause 18).

use crate::transport::MAX_FRAME_BYTES;
use crate::wire::{Reader, WireError, Writer};
use tpm2_protocol::data::{TpmCc, TpmRh, TpmSt};
use zeroize::Zeroizing;

/// One command on its way.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) code: TpmCc,
    handles: Vec<u32>,
    auths: Vec<Auth>,
    parameters: Vec<u8>,
}

/// How one handle is authorised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth {
    /// A password session with the empty password.
    Empty,
    /// A policy session without session key and without authValue, hence with an empty HMAC.
    Policy(u32),
}

/// A successful response.
pub(crate) struct Response {
    pub(crate) handle: Option<u32>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

impl Command {
    pub(crate) fn new(code: TpmCc) -> Self {
        Self { code, handles: Vec::new(), auths: Vec::new(), parameters: Vec::new() }
    }

    /// A handle that needs no authorisation.
    pub(crate) fn handle(mut self, handle: u32) -> Self {
        self.handles.push(handle);
        self
    }

    /// A handle with its authorisation.
    pub(crate) fn authorised(mut self, handle: u32, auth: Auth) -> Self {
        self.handles.push(handle);
        self.auths.push(auth);
        self
    }

    pub(crate) fn parameters(mut self, parameters: Writer) -> Self {
        self.parameters = parameters.done();
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = Writer::default();
        for handle in &self.handles {
            body = body.u32(*handle);
        }
        if !self.auths.is_empty() {
            let area = self.auths.iter().fold(Writer::default(), |area, auth| auth.write(area)).done();
            body = body.u32(area.len() as u32).bytes(&area);
        }
        let body = body.bytes(&self.parameters).done();
        let tag = if self.auths.is_empty() { TpmSt::NoSessions } else { TpmSt::Sessions };
        Writer::default()
            .u16(tag.value())
            .u32((crate::transport::HEADER_BYTES + body.len()) as u32)
            .u32(self.code.value())
            .bytes(&body)
            .done()
    }

    /// Whether the response carries a handle.
    fn returns_handle(&self) -> bool {
        matches!(
            self.code,
            TpmCc::CreatePrimary | TpmCc::Load | TpmCc::LoadExternal | TpmCc::StartAuthSession
        )
    }

    /// Splits a response whose code is success.
    pub(crate) fn read_response(&self, bytes: &[u8]) -> Result<Response, WireError> {
        let mut reader = Reader::with_limit("response", bytes, MAX_FRAME_BYTES)?;
        let tag = reader.u16("response.tag")?;
        reader.u32("response.size")?;
        reader.u32("response.code")?;
        let handle = if self.returns_handle() { Some(reader.u32("response.handle")?) } else { None };
        let parameters = if tag == TpmSt::Sessions.value() {
            let size = reader.u32("response.parameterSize")? as usize;
            // What follows the parameters are session acknowledgements, empty for the sessions in use.
            reader.take("response.parameters", size)?
        } else {
            reader.rest()
        };
        Ok(Response { handle, parameters: Zeroizing::new(parameters.to_vec()) })
    }
}

impl Auth {
    /// TPMS_AUTH_COMMAND: session, empty nonce, attributes, empty HMAC or password.
    fn write(self, area: Writer) -> Writer {
        const CONTINUE_SESSION: u8 = 1;
        match self {
            Self::Empty => area.u32(TpmRh::Pw.value()).sized(&[]).u8(CONTINUE_SESSION).sized(&[]),
            Self::Policy(session) => area.u32(session).sized(&[]).u8(CONTINUE_SESSION).sized(&[]),
        }
    }
}

impl Response {
    /// Reads the parameters with `read`, to their last byte.
    pub(crate) fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let mut reader = Reader::with_limit(what, &self.parameters, MAX_FRAME_BYTES)?;
        let value = read(&mut reader)?;
        reader.finish(what)?;
        Ok(value)
    }

    /// The returned handle.
    pub(crate) fn handle(&self) -> Result<u32, WireError> {
        self.handle.ok_or(WireError::Short { what: "response.handle", needed: 4, available: 0 })
    }
}
