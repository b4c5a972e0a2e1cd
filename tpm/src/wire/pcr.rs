//! PCR selections and digest lists.

use super::{AlgId, Reader, WireError, Writer};
use std::collections::BTreeSet;

const MAX_BANKS: usize = 16;
const MAX_SELECT_BYTES: usize = 4;
/// PC Client and server platforms have 24 PCRs; TPMs refuse shorter bitmaps.
const SELECT_BYTES: usize = 3;

/// TPML_PCR_SELECTION, in the order received: a quote's digest follows that order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrSelections(pub Vec<PcrSelection>);

/// TPMS_PCR_SELECTION: one bank and its bitmap, PCR 0 in the lowest bit of the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelection {
    pub bank: AlgId,
    pub bitmap: Vec<u8>,
}

impl PcrSelection {
    /// Selects `pcrs` of `bank`; refuses indices above 23.
    pub fn new(bank: AlgId, pcrs: impl IntoIterator<Item = u8>) -> Result<Self, WireError> {
        let mut bitmap = vec![0_u8; SELECT_BYTES];
        for pcr in pcrs {
            let limit = SELECT_BYTES * 8 - 1;
            let byte = bitmap.get_mut(usize::from(pcr / 8)).ok_or(WireError::TooLong {
                what: "pcrSelect",
                limit,
                actual: pcr.into(),
            })?;
            *byte |= 1 << (pcr % 8);
        }
        Ok(Self { bank, bitmap })
    }

    /// The selected PCRs.
    pub fn pcrs(&self) -> BTreeSet<u8> {
        (0..).zip(&self.bitmap).flat_map(|(index, byte)| bits_of(index, *byte)).collect()
    }
}

impl PcrSelections {
    /// One bank.
    pub fn single(bank: AlgId, pcrs: impl IntoIterator<Item = u8>) -> Result<Self, WireError> {
        Ok(Self(vec![PcrSelection::new(bank, pcrs)?]))
    }

    /// Reads a TPML_PCR_SELECTION that fills `bytes` exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPML_PCR_SELECTION", bytes)?;
        let selections = Self::read(&mut reader)?;
        reader.finish("TPML_PCR_SELECTION")?;
        Ok(selections)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = reader.u32("TPML_PCR_SELECTION.count")? as usize;
        if count > MAX_BANKS {
            return Err(WireError::TooLong {
                what: "TPML_PCR_SELECTION.count",
                limit: MAX_BANKS,
                actual: count,
            });
        }
        let mut selections = Vec::with_capacity(count);
        for _ in 0..count {
            let bank = AlgId(reader.u16("pcrSelection.hash")?);
            let size = usize::from(reader.u8("pcrSelection.sizeofSelect")?);
            if size > MAX_SELECT_BYTES {
                let what = "pcrSelection.sizeofSelect";
                return Err(WireError::TooLong { what, limit: MAX_SELECT_BYTES, actual: size });
            }
            selections
                .push(PcrSelection { bank, bitmap: reader.take("pcrSelection.pcrSelect", size)?.to_vec() });
        }
        Ok(Self(selections))
    }

    /// The TPML_PCR_SELECTION.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default().u32(self.0.len() as u32);
        for selection in &self.0 {
            writer = writer.u16(selection.bank.0).u8(selection.bitmap.len() as u8).bytes(&selection.bitmap);
        }
        writer.done()
    }

    /// The bank and its PCRs, when exactly one bank is listed and at least one PCR of it is selected.
    pub fn single_bank(&self) -> Option<(AlgId, BTreeSet<u8>)> {
        match self.0.as_slice() {
            [only] => Some((only.bank, only.pcrs())).filter(|(_, pcrs)| !pcrs.is_empty()),
            _ => None,
        }
    }

    /// Whether no PCR is selected in any bank.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|selection| selection.bitmap.iter().all(|byte| *byte == 0))
    }
}

fn bits_of(index: u8, byte: u8) -> impl Iterator<Item = u8> {
    (0..8)
        .filter(move |bit| byte & (1 << bit) != 0)
        .map(move |bit| index.saturating_mul(8).saturating_add(bit))
}

/// Reads a TPML_DIGEST that fills `bytes` exactly (at most 8 digests).
pub fn parse_digest_list(bytes: &[u8]) -> Result<Vec<Vec<u8>>, WireError> {
    let mut reader = Reader::new("TPML_DIGEST", bytes)?;
    let digests = read_digest_list(&mut reader)?;
    reader.finish("TPML_DIGEST")?;
    Ok(digests)
}

pub(crate) fn read_digest_list(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, WireError> {
    let count = reader.u32("TPML_DIGEST.count")? as usize;
    if count > 8 {
        return Err(WireError::TooLong { what: "TPML_DIGEST.count", limit: 8, actual: count });
    }
    (0..count).map(|_| reader.sized("TPML_DIGEST.digest", 64).map(<[u8]>::to_vec)).collect()
}
