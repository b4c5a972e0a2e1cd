//! Event logs written and extended.

use holdfast_trust::attest::eventlog::{EV_NO_ACTION, EV_SEPARATOR, hash};
use std::collections::BTreeMap;

pub const SHA256: u16 = 0x0B;
pub const SHA1: u16 = 4;

/// A crypto-agile log in the making, with the PCRs that a TPM would hold.
#[derive(Clone)]
pub struct Log {
    pub bytes: Vec<u8>,
    pub banks: Vec<u16>,
    pub pcrs: BTreeMap<(u16, u8), Vec<u8>>,
}

impl Log {
    pub fn new(banks: &[u16]) -> Self {
        let mut spec = b"Spec ID Event03\0".to_vec();
        spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        spec.extend((banks.len() as u32).to_le_bytes());
        for bank in banks {
            spec.extend(bank.to_le_bytes());
            spec.extend((hash(*bank, &[]).map_or(32, |digest| digest.len()) as u16).to_le_bytes());
        }
        spec.push(0);
        Self {
            bytes: legacy_event(0, EV_NO_ACTION, &[0; 20], &spec),
            banks: banks.to_vec(),
            pcrs: BTreeMap::new(),
        }
    }

    pub fn locality(mut self, locality: u8) -> Self {
        let data = [&b"StartupLocality\0"[..], &[locality]].concat();
        let digests: Vec<_> = self.banks.iter().map(|bank| (*bank, vec![0; size(*bank)])).collect();
        self.write(0, EV_NO_ACTION, &digests, &data);
        for bank in self.banks.clone() {
            let mut value = vec![0; size(bank)];
            *value.last_mut().unwrap() = locality;
            self.pcrs.insert((bank, 0), value);
        }
        self
    }

    /// An event whose digest is the hash of its data.
    pub fn event(self, pcr: u8, kind: u32, data: &[u8]) -> Self {
        self.measured(pcr, kind, data, data)
    }

    /// An event over `hashed` that shows `data`.
    pub fn measured(mut self, pcr: u8, kind: u32, hashed: &[u8], data: &[u8]) -> Self {
        let digests: Vec<_> =
            self.banks.iter().map(|bank| (*bank, hash(*bank, &[hashed]).unwrap())).collect();
        self.extend(pcr, &digests);
        self.write(pcr, kind, &digests, data);
        self
    }

    /// An event with a digest of its own (SHA-256 bank alone).
    pub fn digest(mut self, pcr: u8, kind: u32, digest: &[u8], data: &[u8]) -> Self {
        let digests = vec![(SHA256, digest.to_vec())];
        self.extend(pcr, &digests);
        self.write(pcr, kind, &digests, data);
        self
    }

    pub fn separators(self) -> Self {
        (0..8).fold(self, |log, pcr| log.event(pcr, EV_SEPARATOR, &[0; 4]))
    }

    pub fn extend(&mut self, pcr: u8, digests: &[(u16, Vec<u8>)]) {
        for (bank, digest) in digests {
            let value = self.pcrs.entry((*bank, pcr)).or_insert_with(|| vec![0; size(*bank)]);
            *value = hash(*bank, &[value, digest]).unwrap();
        }
    }

    pub fn write(&mut self, pcr: u8, kind: u32, digests: &[(u16, Vec<u8>)], data: &[u8]) {
        let bytes = &mut self.bytes;
        bytes.extend(u32::from(pcr).to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((digests.len() as u32).to_le_bytes());
        for (bank, digest) in digests {
            bytes.extend(bank.to_le_bytes());
            bytes.extend(digest);
        }
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
    }

    pub fn value(&self, bank: u16, pcr: u8) -> Vec<u8> {
        self.pcrs.get(&(bank, pcr)).cloned().unwrap_or_else(|| vec![0; size(bank)])
    }
}

/// TCG_PCR_EVENT.
pub fn legacy_event(pcr: u32, kind: u32, digest: &[u8; 20], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_le_bytes();
    [&pcr.to_le_bytes()[..], &kind.to_le_bytes(), digest, &length, data].concat()
}

fn size(bank: u16) -> usize {
    hash(bank, &[]).map_or(32, |digest| digest.len())
}
