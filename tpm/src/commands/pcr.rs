//! Reading and extending PCRs.

use super::{Auth, Command, Tpm, TpmError};
use crate::wire::{AlgId, PcrSelection, PcrSelections, Sha2, Writer, read_digest_list};
use tpm2_protocol::data::TpmCc;

/// One PCR's value in one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValue {
    pub bank: AlgId,
    pub index: u8,
    pub value: Vec<u8>,
}

impl Tpm {
    /// TPM2_PCR_Read, page by page (a TPM returns 8 at a time), of everything selected; in the order of
    /// the selection. The values need not be of one instant: a quote says which instant counts.
    pub fn pcr_read(&mut self, selection: &PcrSelections) -> Result<Vec<PcrValue>, TpmError> {
        let mut values = Vec::new();
        for bank in &selection.0 {
            let mut missing = bank.pcrs();
            while !missing.is_empty() {
                let page = self.pcr_read_page(bank.bank, missing.iter().copied())?;
                let before = missing.len();
                for value in page {
                    if missing.remove(&value.index) {
                        values.push(value);
                    }
                }
                if missing.len() == before {
                    return Err(TpmError::Incomplete("PCR values"));
                }
            }
        }
        Ok(values)
    }

    /// TPM2_PCR_Extend of one bank.
    pub fn pcr_extend(&mut self, index: u8, hash: Sha2, digest: &[u8]) -> Result<(), TpmError> {
        let command = Command::new(TpmCc::PcrExtend)
            .authorised(index.into(), Auth::Empty)
            .parameters(Writer::default().u32(1).u16(hash.alg().0).bytes(digest));
        self.call(&command).map(drop)
    }

    fn pcr_read_page(
        &mut self,
        bank: AlgId,
        pcrs: impl Iterator<Item = u8>,
    ) -> Result<Vec<PcrValue>, TpmError> {
        let wanted = PcrSelections(vec![PcrSelection::new(bank, pcrs)?]);
        let command = Command::new(TpmCc::PcrRead).parameters(Writer::default().bytes(&wanted.to_bytes()));
        let (selected, digests) = self.call(&command)?.read("PCR_Read", |reader| {
            reader.u32("pcrUpdateCounter")?;
            Ok((PcrSelections::read(reader)?, read_digest_list(reader)?))
        })?;
        let selected = selected.0.iter().filter(|page| page.bank == bank).flat_map(PcrSelection::pcrs);
        Ok(selected.zip(digests).map(|(index, value)| PcrValue { bank, index, value }).collect())
    }
}
