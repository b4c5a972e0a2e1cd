//! The endorsement key and its certificates in NV.

use crate::commands::{Loaded, Tpm, TpmError};
use crate::wire::{EkTemplate, Hierarchy, Public, Unique, WireError, Writer, nv};
use zeroize::Zeroizing;

/// An endorsement key of this TPM: how to derive it, and what came of it.
#[derive(Debug, Clone)]
pub struct Ek {
    pub template: EkTemplate,
    pub public: Public,
    /// The EK nonce NV index, where there is one.
    pub nonce: Option<Vec<u8>>,
    /// The EK template NV index, where there is one.
    pub nv_template: Option<Vec<u8>>,
}

/// Elliptic keys first: RSA primaries take up to minutes on real parts. P-521 is missing: no service
/// makes a credential for it.
const PREFERENCE: [EkTemplate; 7] = [
    EkTemplate::L2P256,
    EkTemplate::H2P256,
    EkTemplate::H3P384,
    EkTemplate::L1Rsa2048,
    EkTemplate::H1Rsa2048,
    EkTemplate::H6Rsa3072,
    EkTemplate::H7Rsa4096,
];

impl Tpm {
    /// Raw contents of every EK certificate index that exists, with its index.
    pub fn ek_certificates(&mut self) -> Result<Vec<(u32, Vec<u8>)>, TpmError> {
        self.nv_read_all(|index| EkTemplate::of_certificate_index(index).is_some())
    }

    /// Raw contents of the EK chain indices in order.
    pub fn ek_chain(&mut self) -> Result<Vec<(u32, Vec<u8>)>, TpmError> {
        self.nv_read_all(|index| (nv::EK_CHAIN_FIRST..=nv::EK_CHAIN_LAST).contains(&index))
    }

    fn nv_read_all(&mut self, wanted: impl Fn(u32) -> bool) -> Result<Vec<(u32, Vec<u8>)>, TpmError> {
        let mut found = Vec::new();
        for index in self.nv_indices()?.into_iter().filter(|index| wanted(*index)) {
            if let Some(bytes) = self.nv_read(index)? {
                found.push((index, bytes));
            }
        }
        Ok(found)
    }
}

impl Ek {
    /// The endorsement key to enrol with: of the preferred template among those with a certificate in NV;
    /// without any certificate, of the first template of the low range that the TPM can derive.
    pub fn find(tpm: &mut Tpm, certificates: &[(u32, Vec<u8>)]) -> Result<Self, TpmError> {
        let candidates = match Self::choose(certificates) {
            Some(template) => vec![template],
            None => vec![EkTemplate::L2P256, EkTemplate::L1Rsa2048],
        };
        for template in candidates {
            match Self::derive(tpm, template) {
                // The TPM lacks the curve, the key size or the cipher.
                Err(TpmError::Refused { .. }) => {}
                other => return other,
            }
        }
        Err(TpmError::NoEndorsementKey)
    }

    /// The preferred template among those with a certificate.
    pub fn choose(certificates: &[(u32, Vec<u8>)]) -> Option<EkTemplate> {
        let has = |template: &EkTemplate| {
            certificates.iter().any(|(index, _)| *index == template.certificate_index())
        };
        PREFERENCE.into_iter().find(has)
    }

    /// Derives the endorsement key of `template`, with the TPM's own nonce and template where it has them.
    pub fn derive(tpm: &mut Tpm, template: EkTemplate) -> Result<Self, TpmError> {
        let (nonce, nv_template) = match template.nonce_and_template_index() {
            Some((nonce, template)) => (tpm.nv_read(nonce)?, tpm.nv_read(template)?),
            None => (None, None),
        };
        let in_public = in_public(template, nonce.as_deref(), nv_template.as_deref())?;
        let public = tpm.with(
            |tpm| tpm.create_primary(Hierarchy::Endorsement, &in_public),
            |_, ek| Ok(ek.public.clone()),
        )?;
        Ok(Self { template, public, nonce, nv_template })
    }

    /// Loads the endorsement key for the time of `work`.
    pub fn with<T>(
        &self,
        tpm: &mut Tpm,
        work: impl FnOnce(&mut Tpm, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let in_public = in_public(self.template, self.nonce.as_deref(), self.nv_template.as_deref())?;
        tpm.with(|tpm| tpm.create_primary(Hierarchy::Endorsement, &in_public), work)
    }

    /// Opens the challenge: the 32-byte secret encrypted to this EK for our attestation key.
    pub fn activate(
        &self,
        tpm: &mut Tpm,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.with(tpm, |tpm, ek| {
            tpm.with_ak(|tpm, ak| tpm.activate_credential(ak, ek, credential_blob, encrypted_secret))
        })
    }
}

/// EK Profile, 2.2.1.4 and 2.2.1.5: the template index replaces the default template, the nonce index
/// goes into `unique`, zero-padded.
fn in_public(
    template: EkTemplate,
    nonce: Option<&[u8]>,
    nv_template: Option<&[u8]>,
) -> Result<Vec<u8>, TpmError> {
    let default = template.in_public();
    let chosen = nv_template.unwrap_or(&default);
    let Some(nonce) = nonce else { return Ok(chosen.to_vec()) };
    let public = Public::parse_tpmt(chosen)?;
    let (tail, size, second) = match public.unique() {
        Unique::Rsa { bits, modulus, .. } => (2 + modulus.len(), usize::from(*bits) / 8, None),
        Unique::Ecc { curve, x, y, .. } => {
            let size = curve.coordinate_bytes();
            (4 + x.len() + y.len(), size, Some(vec![0; size]))
        }
    };
    if nonce.len() > size {
        return Err(WireError::TooLong { what: "EK nonce", limit: size, actual: nonce.len() }.into());
    }
    let mut first = nonce.to_vec();
    first.resize(size, 0);
    // Unwrap safety: `unique` is the last field of what was just parsed, `tail` bytes long.
    let head = Writer::default().bytes(&chosen[..chosen.len() - tail]).sized(&first);
    Ok(second.iter().fold(head, |writer, second| writer.sized(second)).done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_fills_unique_and_nothing_else() {
        for template in [EkTemplate::L1Rsa2048, EkTemplate::L2P256] {
            let plain = in_public(template, None, None).unwrap();
            let with_nonce = in_public(template, Some(&[7; 32]), Some(&plain)).unwrap();
            assert_eq!(plain.len(), with_nonce.len());
            match Public::parse_tpmt(&with_nonce).unwrap().unique() {
                Unique::Rsa { modulus, .. } => {
                    assert_eq!((&modulus[..32], &modulus[32..]), (&[7; 32][..], &[0; 224][..]));
                }
                Unique::Ecc { x, y, .. } => {
                    assert_eq!((x.as_slice(), y.as_slice()), (&[7; 32][..], &[0; 32][..]));
                }
            }
            assert!(in_public(template, Some(&[7; 300]), None).is_err());
        }
    }

    #[test]
    fn elliptic_certificates_are_preferred() {
        let nv = |indices: &[u32]| indices.iter().map(|index| (*index, Vec::new())).collect::<Vec<_>>();
        assert_eq!(Ek::choose(&nv(&[0x01C0_0002, 0x01C0_0016])), Some(EkTemplate::H3P384));
        assert_eq!(Ek::choose(&nv(&[0x01C0_0002])), Some(EkTemplate::L1Rsa2048));
        assert_eq!(Ek::choose(&nv(&[])), None);
    }
}
