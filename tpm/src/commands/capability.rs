//! TPM2_GetCapability: properties, PCR banks, handles.

use super::{Command, Tpm, TpmError};
use crate::wire::{PcrSelections, Reader, WireError, Writer};
use tpm2_protocol::data::{TpmCap, TpmCc, TpmPt};

/// What the TPM says about itself. Unsigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// TPM_PT_MANUFACTURER, four ASCII letters as a number.
    pub manufacturer: u32,
    /// TPM_PT_VENDOR_STRING_1 to 4, without padding; anything but printable ASCII becomes `?`.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 ‖ TPM_PT_FIRMWARE_VERSION_2.
    pub firmware_version: u64,
}

const MAX_ENTRIES: u32 = 256;

impl Tpm {
    /// Manufacturer, vendor string and firmware version.
    pub fn properties(&mut self) -> Result<Properties, TpmError> {
        let mut property = |id: TpmPt| self.property(id);
        let vendor = [TpmPt::VendorString1, TpmPt::VendorString2, TpmPt::VendorString3, TpmPt::VendorString4]
            .into_iter()
            .map(|part| property(part).map(|value| value.unwrap_or(0).to_be_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let high = property(TpmPt::FirmwareVersion1)?.unwrap_or(0);
        let low = property(TpmPt::FirmwareVersion2)?.unwrap_or(0);
        Ok(Properties {
            manufacturer: property(TpmPt::Manufacturer)?.unwrap_or(0),
            vendor: printable(&vendor.concat()),
            firmware_version: u64::from(high) << 32 | u64::from(low),
        })
    }

    /// TPM_CAP_PCRS: the allocated banks and their PCRs; banks without PCRs are left out.
    pub fn pcr_banks(&mut self) -> Result<PcrSelections, TpmError> {
        let mut banks = self.capability(TpmCap::Pcrs, 0, 1, |reader, _| PcrSelections::read(reader))?.0;
        banks.0.retain(|bank| !bank.pcrs().is_empty());
        Ok(banks)
    }

    /// Every existing handle from `first` on that has the same first byte.
    pub(crate) fn handles(&mut self, first: u32) -> Result<Vec<u32>, TpmError> {
        let mut handles = Vec::new();
        let mut next = first;
        loop {
            let (page, more) = self.capability(TpmCap::Handles, next, MAX_ENTRIES, |reader, count| {
                (0..count).map(|_| reader.u32("TPML_HANDLE.handle")).collect::<Result<Vec<_>, _>>()
            })?;
            handles.extend(page.iter().copied().filter(|handle| handle >> 24 == first >> 24));
            match page.last() {
                Some(last) if more && *last >= next && last >> 24 == first >> 24 => {
                    next = last.saturating_add(1);
                }
                _ => return Ok(handles),
            }
        }
    }

    pub(crate) fn property(&mut self, id: TpmPt) -> Result<Option<u32>, TpmError> {
        let (found, _) = self.capability(TpmCap::TpmProperties, id.value(), 1, |reader, count| {
            (0..count)
                .map(|_| Ok((reader.u32("property")?, reader.u32("value")?)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(found.into_iter().find(|(found, _)| *found == id.value()).map(|(_, value)| value))
    }

    /// One page: `read` gets the reader behind the list's count (before it for PCRs) and the count.
    fn capability<T>(
        &mut self,
        capability: TpmCap,
        property: u32,
        count: u32,
        read: impl FnOnce(&mut Reader<'_>, u32) -> Result<T, WireError>,
    ) -> Result<(T, bool), TpmError> {
        let parameters = Writer::default().u32(capability.value()).u32(property).u32(count);
        let response = self.call(&Command::new(TpmCc::GetCapability).parameters(parameters))?;
        Ok(response.read("TPMS_CAPABILITY_DATA", |reader| {
            let more = reader.yes_no("moreData")?;
            let kind = reader.u32("capability")?;
            if kind != capability.value() {
                return Err(WireError::Unsupported { what: "capability", value: kind.into() });
            }
            if capability == TpmCap::Pcrs {
                return Ok((read(reader, 0)?, more));
            }
            let entries = reader.u32("count")?;
            if entries > MAX_ENTRIES {
                let (limit, actual) = (MAX_ENTRIES as usize, entries as usize);
                return Err(WireError::TooLong { what: "count", limit, actual });
            }
            Ok((read(reader, entries)?, more))
        })?)
    }
}

fn printable(padded: &[u8]) -> String {
    let text = padded.iter().map(|byte| match byte {
        0 => ' ',
        0x20..=0x7e => char::from(*byte),
        _ => '?',
    });
    text.collect::<String>().trim().to_owned()
}
