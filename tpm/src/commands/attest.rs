//! Certify, Quote, ActivateCredential, Sign.

use super::{Auth, Command, Loaded, Tpm, TpmError};
use crate::keys::Attestation;
use crate::wire::{AlgId, Attributes, PcrSelections, Reader, SECRET_BYTES, Signature, WireError, Writer};
use tpm2_protocol::data::{TpmCc, TpmRh, TpmSt};
use zeroize::Zeroizing;

impl Tpm {
    /// TPM2_Certify of `object` by `signer`, with the signer's own scheme.
    pub fn certify(
        &mut self,
        object: &Loaded,
        signer: &Loaded,
        qualifying: &[u8; 32],
    ) -> Result<Attestation, TpmError> {
        let command = Command::new(TpmCc::Certify)
            .authorised(object.handle, Auth::Empty)
            .authorised(signer.handle, Auth::Empty)
            .parameters(Writer::default().sized(qualifying).u16(AlgId::NULL.0));
        Ok(self.call(&command)?.read("Certify", read_attestation)?)
    }

    /// TPM2_Quote by `signer`, with the signer's own scheme.
    pub fn quote_by(
        &mut self,
        signer: &Loaded,
        qualifying: &[u8; 32],
        selection: &PcrSelections,
    ) -> Result<Attestation, TpmError> {
        let parameters = Writer::default().sized(qualifying).u16(AlgId::NULL.0).bytes(&selection.to_bytes());
        let command =
            Command::new(TpmCc::Quote).authorised(signer.handle, Auth::Empty).parameters(parameters);
        Ok(self.call(&command)?.read("Quote", read_attestation)?)
    }

    /// TPM2_ActivateCredential: the secret that was encrypted to `ek` for an object with `object`'s Name.
    /// `credential_blob` is a TPM2B_ID_OBJECT, `encrypted_secret` a TPM2B_ENCRYPTED_SECRET.
    pub fn activate_credential(
        &mut self,
        object: &Loaded,
        ek: &Loaded,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let activate = |tpm: &mut Self, auth: Auth| {
            let command = Command::new(TpmCc::ActivateCredential)
                .authorised(object.handle, Auth::Empty)
                .authorised(ek.handle, auth)
                .parameters(Writer::default().bytes(credential_blob).bytes(encrypted_secret));
            let response = tpm.call(&command)?;
            let read = |reader: &mut Reader<'_>| Ok(Zeroizing::new(reader.sized("certInfo", 64)?.to_vec()));
            Ok::<_, TpmError>(response.read("ActivateCredential", read)?)
        };
        // EK Profile, B.3 and B.4: the low range is used under PolicyA, the high range by its empty authValue.
        let secret = if ek.public.attributes().all_of(Attributes::USER_WITH_AUTH) {
            activate(self, Auth::Empty)
        } else {
            self.with_policy_a(ek.public.name_alg(), activate)
        }?;
        if secret.len() == SECRET_BYTES { Ok(secret) } else { Err(TpmError::SecretLength(secret.len())) }
    }

    /// TPM2_Sign of a SHA-256 digest with the key's own scheme.
    pub fn sign(&mut self, key: &Loaded, digest: &[u8; 32]) -> Result<Signature, TpmError> {
        // An unrestricted key needs no proof that the TPM hashed the message: the NULL ticket.
        let parameters = Writer::default()
            .sized(digest)
            .u16(AlgId::NULL.0)
            .u16(TpmSt::HashCheck.value())
            .u32(TpmRh::Null.value())
            .sized(&[]);
        let command = Command::new(TpmCc::Sign).authorised(key.handle, Auth::Empty).parameters(parameters);
        Ok(self.call(&command)?.read("Sign", Signature::read)?)
    }
}

fn read_attestation(reader: &mut Reader<'_>) -> Result<Attestation, WireError> {
    let attest = reader.sized("TPM2B_ATTEST", 1024)?.to_vec();
    let signature = reader.rest().to_vec();
    Signature::read(reader)?;
    Ok(Attestation { attest, signature })
}
