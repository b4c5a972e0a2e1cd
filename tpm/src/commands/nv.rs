//! NV indices: listing and reading whole.

use super::{Auth, Command, Tpm, TpmError, rc};
use crate::wire::{Reader, Writer};
use tpm2_protocol::data::{TpmCc, TpmPt, TpmRh, TpmaNv};

/// What NV_ReadPublic says about an index.
struct NvPublic {
    attributes: u32,
    size: u16,
}

const SMALLEST_BUFFER: u16 = 512;

impl Tpm {
    /// Every defined NV index, ascending.
    pub fn nv_indices(&mut self) -> Result<Vec<u32>, TpmError> {
        self.handles(0x0100_0000)
    }

    /// The whole of an NV index, or `None` when it is not defined or not written.
    ///
    /// Read under the index's own empty authorisation where it allows that, else under the owner's.
    pub fn nv_read(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(public) = self.nv_read_public(index)? else { return Ok(None) };
        if public.attributes & TpmaNv::WRITTEN.bits() == 0 {
            return Ok(None);
        }
        let by_index = public.attributes & TpmaNv::AUTHREAD.bits() != 0;
        let reader = if by_index { index } else { TpmRh::Owner.value() };
        let chunk = self.property(TpmPt::NvBufferMax)?.unwrap_or(0).clamp(64, SMALLEST_BUFFER.into()) as u16;
        let mut bytes = Vec::with_capacity(public.size.into());
        while bytes.len() < usize::from(public.size) {
            let offset = bytes.len() as u16;
            let wanted = chunk.min(public.size - offset);
            let command = Command::new(TpmCc::NvRead)
                .authorised(reader, Auth::Empty)
                .handle(index)
                .parameters(Writer::default().u16(wanted).u16(offset));
            let part = self
                .call(&command)?
                .read("NV_Read", |reader| Ok(reader.sized("data", wanted.into())?.to_vec()))?;
            if part.is_empty() {
                return Err(TpmError::Incomplete("NV bytes"));
            }
            bytes.extend(part);
        }
        Ok(Some(bytes))
    }

    fn nv_read_public(&mut self, index: u32) -> Result<Option<NvPublic>, TpmError> {
        let response = match self.call(&Command::new(TpmCc::NvReadPublic).handle(index)) {
            Ok(response) => response,
            Err(TpmError::Refused { code, .. }) if code.base() == rc::HANDLE => return Ok(None),
            Err(error) => return Err(error),
        };
        let public = response.read("NV_ReadPublic", |reader| {
            let area = reader.sized("TPM2B_NV_PUBLIC", 256)?;
            reader.sized("nvName", 66)?;
            let mut area = Reader::new("TPMS_NV_PUBLIC", area)?;
            area.u32("nvIndex")?;
            area.u16("nameAlg")?;
            let attributes = area.u32("attributes")?;
            area.sized("authPolicy", 64)?;
            let size = area.u16("dataSize")?;
            area.finish("TPMS_NV_PUBLIC")?;
            Ok(NvPublic { attributes, size })
        })?;
        Ok(Some(public))
    }
}
