//! PCR selections (Part 2, 10.6.2 and 10.9.7).

use tpm2_protocol::data::TpmsPcrSelection;

/// One bank and the PCRs chosen of it, as a bit set (bit n is PCR n; at most 32 PCRs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    pub hash: u16,
    pub pcrs: u32,
}

impl PcrSelection {
    /// The bank `hash` with these PCRs; none when an index is above 23.
    pub fn of(hash: u16, indices: &[u8]) -> Option<Self> {
        indices.iter().try_fold(0, |set, index| (*index < 24).then(|| set | 1 << index)).map(|pcrs| Self { hash, pcrs })
    }

    /// The PCRs chosen, ascending.
    pub fn indices(&self) -> Vec<u8> {
        (0..32).filter(|index| self.pcrs >> index & 1 == 1).collect()
    }

    /// TPML_PCR_SELECTION of this one bank, three bytes of bitmap.
    pub fn to_list(self) -> Vec<u8> {
        let [low, middle, high, _] = self.pcrs.to_le_bytes();
        [&[0, 0, 0, 1][..], &self.hash.to_be_bytes(), &[3, low, middle, high]].concat()
    }

    pub(super) fn from_wire(selection: &TpmsPcrSelection) -> Self {
        let bits = selection.pcr_select.iter().take(4).enumerate();
        Self {
            hash: selection.hash.value(),
            pcrs: bits.fold(0, |set, (byte, bits)| set | u32::from(*bits) << (8 * byte)),
        }
    }
}
