//! Objects: making, loading and flushing them.

use super::{Auth, Command, Tpm, TpmError, rc};
use crate::wire::{Hierarchy, Public, Reader, WireError, Writer};
use tpm2_protocol::data::TpmCc;

const MAX_PRIVATE: usize = 1600;
const MAX_PUBLIC: usize = 1024;

/// An object in one of the TPM's slots; [`Tpm::with`] empties the slot.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub handle: u32,
    pub public: Public,
}

impl Tpm {
    /// Loads an object, uses it, flushes it whatever came of the use.
    pub fn with<T>(
        &mut self,
        load: impl FnOnce(&mut Self) -> Result<Loaded, TpmError>,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let loaded = load(self)?;
        let result = work(self, &loaded);
        let flushed = self.flush(loaded.handle);
        // The work's own failure tells more than a failing flush after it.
        let value = result?;
        flushed.map(|()| value)
    }

    /// TPM2_CreatePrimary with empty authorisations; `template` is a TPMT_PUBLIC.
    pub fn create_primary(&mut self, hierarchy: Hierarchy, template: &[u8]) -> Result<Loaded, TpmError> {
        let command = Command::new(TpmCc::CreatePrimary)
            .authorised(hierarchy.handle(), Auth::Empty)
            .parameters(creation(template));
        let response = self.call(&command)?;
        let handle = response.handle()?;
        let public = response.read("CreatePrimary", |reader| {
            let public = read_public(reader)?;
            read_creation(reader)?;
            reader.sized("name", 66)?;
            Ok(public)
        });
        self.keep(handle, public)
    }

    /// TPM2_Create: an ordinary key under `parent`. Returns TPM2B_PRIVATE and TPM2B_PUBLIC.
    pub(crate) fn create(
        &mut self,
        parent: &Loaded,
        template: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let command =
            Command::new(TpmCc::Create).authorised(parent.handle, Auth::Empty).parameters(creation(template));
        let (private, public) = self.call(&command)?.read("Create", |reader| {
            let private = Writer::default().sized(reader.sized("outPrivate", MAX_PRIVATE)?).done();
            let public = read_public(reader)?;
            read_creation(reader)?;
            Ok((private, public))
        })?;
        Ok((private, public.to_tpm2b()))
    }

    /// TPM2_Load of TPM2B_PRIVATE and TPM2B_PUBLIC under `parent`.
    pub(crate) fn load(
        &mut self,
        parent: &Loaded,
        private: &[u8],
        public: &[u8],
    ) -> Result<Loaded, TpmError> {
        let parsed = Public::parse_tpm2b(public)?;
        let command = Command::new(TpmCc::Load)
            .authorised(parent.handle, Auth::Empty)
            .parameters(Writer::default().bytes(private).bytes(public));
        let response = self.call(&command).map_err(|error| match error {
            TpmError::Refused { code, .. } if code.base() == rc::INTEGRITY => TpmError::ForeignBlob,
            other => other,
        })?;
        Ok(Loaded { handle: response.handle()?, public: parsed })
    }

    /// TPM2_ReadPublic: public area and the Name that the TPM itself gives it.
    pub fn read_public(&mut self, handle: u32) -> Result<(Public, Vec<u8>), TpmError> {
        let response = self.call(&Command::new(TpmCc::ReadPublic).handle(handle))?;
        Ok(response.read("ReadPublic", |reader| {
            let public = read_public(reader)?;
            let name = reader.sized("name", 66)?.to_vec();
            reader.sized("qualifiedName", 66)?;
            Ok((public, name))
        })?)
    }

    /// TPM2_Import of an unwrapped key under `parent`. Returns TPM2B_PRIVATE.
    #[cfg(feature = "insecure-impostor")]
    pub(crate) fn import(
        &mut self,
        parent: &Loaded,
        sensitive: &[u8],
        public: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        use crate::wire::AlgId;
        // No wrapping: the TPM2B_PRIVATE holds the TPM2B_SENSITIVE in clear.
        let parameters =
            Writer::default().sized(&[]).sized(public).sized(sensitive).sized(&[]).u16(AlgId::NULL.0);
        let command =
            Command::new(TpmCc::Import).authorised(parent.handle, Auth::Empty).parameters(parameters);
        Ok(self.call(&command)?.read("Import", |reader| {
            Ok(Writer::default().sized(reader.sized("outPrivate", MAX_PRIVATE)?).done())
        })?)
    }

    /// TPM2_FlushContext.
    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        self.call(&Command::new(TpmCc::FlushContext).handle(handle)).map(drop)
    }

    /// Flushes every transient object and every loaded session.
    pub(crate) fn flush_leftovers(&mut self) -> Result<(), TpmError> {
        const TRANSIENT: u32 = 0x8000_0000;
        const LOADED_SESSION: u32 = 0x0200_0000;
        for first in [TRANSIENT, LOADED_SESSION] {
            for handle in self.handles(first)? {
                self.flush(handle)?;
            }
        }
        Ok(())
    }

    /// The loaded object; when its response does not parse, flushes it.
    fn keep(&mut self, handle: u32, public: Result<Public, WireError>) -> Result<Loaded, TpmError> {
        match public {
            Ok(public) => Ok(Loaded { handle, public }),
            Err(error) => {
                self.flush(handle)?;
                Err(error.into())
            }
        }
    }
}

/// Empty TPM2B_SENSITIVE_CREATE, the template, no outside info, no creation PCRs.
fn creation(template: &[u8]) -> Writer {
    Writer::default().sized(&[0; 4]).sized(template).sized(&[]).u32(0)
}

fn read_public(reader: &mut Reader<'_>) -> Result<Public, WireError> {
    Public::parse_tpmt(reader.sized("outPublic", MAX_PUBLIC)?)
}

/// creationData, creationHash, creationTicket: not used.
fn read_creation(reader: &mut Reader<'_>) -> Result<(), WireError> {
    reader.sized("creationData", 1024)?;
    reader.sized("creationHash", 64)?;
    reader.u16("creationTicket.tag")?;
    reader.u32("creationTicket.hierarchy")?;
    reader.sized("creationTicket.digest", 64).map(drop)
}
