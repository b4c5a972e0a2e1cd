//! Credential activation (TPM 2.0 Part 1, clause 24): the two blobs, and behind feature `make-credential`
//! the verifier's TPM2_MakeCredential in software.

use super::{Reader, WireError, Writer};

/// The only length that an activated secret may have.
pub const SECRET_BYTES: usize = 32;

/// TPM2B_ID_OBJECT: outer HMAC and encrypted secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdObject {
    pub integrity: Vec<u8>,
    pub encrypted: Vec<u8>,
}

/// TPM2B_ENCRYPTED_SECRET: the RSA ciphertext or the ephemeral point, as one opaque string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedSecret(pub Vec<u8>);

impl IdObject {
    /// Reads a TPM2B_ID_OBJECT that fills `bytes` exactly and holds a secret of [`SECRET_BYTES`].
    pub fn parse_tpm2b(bytes: &[u8]) -> Result<Self, WireError> {
        let mut outer = Reader::new("TPM2B_ID_OBJECT", bytes)?;
        let body = outer.sized("TPM2B_ID_OBJECT", 132)?;
        outer.finish("TPM2B_ID_OBJECT")?;
        let mut inner = Reader::new("TPMS_ID_OBJECT", body)?;
        let integrity = inner.sized("integrityHMAC", 64)?.to_vec();
        let encrypted = inner.rest().to_vec();
        if encrypted.len() != 2 + SECRET_BYTES {
            return Err(WireError::Invalid { what: "encIdentity", why: "not a secret of 32 bytes" });
        }
        Ok(Self { integrity, encrypted })
    }

    pub fn to_tpm2b(&self) -> Vec<u8> {
        let body = Writer::default().sized(&self.integrity).bytes(&self.encrypted).done();
        Writer::default().sized(&body).done()
    }
}

impl EncryptedSecret {
    /// Reads a TPM2B_ENCRYPTED_SECRET that fills `bytes` exactly.
    pub fn parse_tpm2b(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("TPM2B_ENCRYPTED_SECRET", bytes)?;
        let secret = reader.sized("TPM2B_ENCRYPTED_SECRET", 512)?.to_vec();
        reader.finish("TPM2B_ENCRYPTED_SECRET")?;
        Ok(Self(secret))
    }

    pub fn to_tpm2b(&self) -> Vec<u8> {
        Writer::default().sized(&self.0).done()
    }
}

#[cfg(feature = "make-credential")]
pub(super) mod make {
    use super::{EncryptedSecret, IdObject, SECRET_BYTES, Writer};
    use crate::wire::{AlgId, Curve, Public, Sha2, SubjectKey, WireError};
    use aes::cipher::{AsyncStreamCipher, KeyIvInit};
    use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
    use aws_lc_rs::rand::{self, SystemRandom};
    use aws_lc_rs::rsa::{
        OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey,
        PublicEncryptingKey, PublicKeyComponents,
    };
    use hmac::{Hmac, Mac};
    use zeroize::Zeroizing;

    /// Why no credential could be made; all but the last are properties of the EK or the Name.
    #[derive(Debug, thiserror::Error)]
    pub enum CredentialError {
        #[error(transparent)]
        Wire(#[from] WireError),
        /// Neither RSA nor P-256 nor P-384, or its symmetric part is not AES-CFB of 128 or 256 bits.
        #[error("EK is of an unsupported kind: {0}")]
        UnsupportedEk(&'static str),
        /// The point is not on its curve, or the RSA key is not usable.
        #[error("EK's key is invalid")]
        InvalidEk,
        /// The Name is not nameAlg ‖ digest.
        #[error("AK's Name has {0} bytes")]
        NotAName(usize),
        #[error("this machine gave no randomness")]
        Randomness,
    }

    /// TPM2_MakeCredential in software: encrypts `secret` so that only the TPM that holds both the EK and
    /// an object of that Name can read it. Returns TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    ///
    /// Source: TPM 2.0 Part 1, clause 24; B.10.4 (RSA seed), C.6.1 (ECDH seed), 11.4.10 (KDFa, KDFe).
    pub fn make_credential(
        ek: &Public,
        ak_name: &[u8],
        secret: &[u8; SECRET_BYTES],
    ) -> Result<(IdObject, EncryptedSecret), CredentialError> {
        if ![34, 50, 66].contains(&ak_name.len()) {
            return Err(CredentialError::NotAName(ak_name.len()));
        }
        let hash = ek.name_alg();
        let (seed, encrypted_seed) = match ek.subject_key()? {
            SubjectKey::Rsa { modulus, exponent } => rsa_seed(hash, &modulus, exponent)?,
            SubjectKey::Ecc { curve: Curve::P256, x, y } => ecdh_seed(hash, &agreement::ECDH_P256, &x, &y)?,
            SubjectKey::Ecc { curve: Curve::P384, x, y } => ecdh_seed(hash, &agreement::ECDH_P384, &x, &y)?,
            SubjectKey::Ecc { curve: Curve::P521, .. } => {
                return Err(CredentialError::UnsupportedEk("P-521"));
            }
        };
        let key_bits = ek
            .symmetric()
            .filter(|symmetric| symmetric.alg == AlgId::AES && symmetric.mode == AlgId::CFB)
            .ok_or(CredentialError::UnsupportedEk("symmetric algorithm is not AES-CFB"))?
            .key_bits;

        let key = Zeroizing::new(kdfa(hash, &seed, b"STORAGE", ak_name, key_bits.into()));
        let mut identity = Writer::default().sized(secret).done();
        aes_cfb(&key, &mut identity)?;
        let mac_key = Zeroizing::new(kdfa(hash, &seed, b"INTEGRITY", &[], hash.len_bytes() * 8));
        let integrity = hmac(hash, &mac_key, &[&identity, ak_name]);
        Ok((IdObject { integrity, encrypted: identity }, EncryptedSecret(encrypted_seed)))
    }

    type Seed = Zeroizing<Vec<u8>>;

    /// B.10.4: a random seed of nameAlg's size, OAEP with nameAlg and label "IDENTITY".
    fn rsa_seed(hash: Sha2, modulus: &[u8], exponent: u32) -> Result<(Seed, Vec<u8>), CredentialError> {
        let padding = match hash {
            Sha2::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Sha2::Sha384 => &OAEP_SHA384_MGF1SHA384,
            Sha2::Sha512 => &OAEP_SHA512_MGF1SHA512,
        };
        let mut seed = Zeroizing::new(vec![0; hash.len_bytes()]);
        rand::fill(&mut seed).map_err(|_| CredentialError::Randomness)?;
        let exponent = exponent.to_be_bytes();
        let key = PublicKeyComponents { n: modulus, e: crate::wire::public::strip_zeros(&exponent) };
        let key: Result<PublicEncryptingKey, _> = key.try_into();
        let key = key.and_then(OaepPublicEncryptingKey::new).map_err(|_| CredentialError::InvalidEk)?;
        let mut cipher = vec![0; key.ciphertext_size()];
        key.encrypt(padding, &seed, &mut cipher, Some(b"IDENTITY\0"))
            .map_err(|_| CredentialError::InvalidEk)?;
        Ok((seed, cipher))
    }

    /// C.6.1: ephemeral ECDH, then KDFe over both x coordinates.
    fn ecdh_seed(
        hash: Sha2,
        curve: &'static agreement::Algorithm,
        x: &[u8],
        y: &[u8],
    ) -> Result<(Seed, Vec<u8>), CredentialError> {
        let ephemeral = EphemeralPrivateKey::generate(curve, &SystemRandom::new())
            .map_err(|_| CredentialError::Randomness)?;
        let own = ephemeral.compute_public_key().map_err(|_| CredentialError::InvalidEk)?;
        // SEC 1, 2.3.3: 04, then both coordinates.
        let (own_x, own_y) = own.as_ref()[1..].split_at(x.len());
        let ek = UnparsedPublicKey::new(curve, [&[4], x, y].concat());
        let seed = agree_ephemeral(ephemeral, ek, CredentialError::InvalidEk, |shared| {
            Ok(Zeroizing::new(kdfe(hash, shared, b"IDENTITY", own_x, x)))
        })?;
        Ok((seed, Writer::default().sized(own_x).sized(own_y).done()))
    }

    /// 11.4.10.3: one hash block, as many bits as the hash has.
    fn kdfe(hash: Sha2, z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
        hash.digest(&[&1_u32.to_be_bytes(), z, label, &[0], party_u, party_v])
    }

    /// 11.4.10.2: SP 800-108 in counter mode over HMAC; here contextV is always empty.
    fn kdfa(hash: Sha2, key: &[u8], label: &[u8], context: &[u8], bits: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for counter in 1_u32.. {
            if out.len() * 8 >= bits {
                break;
            }
            let length = (bits as u32).to_be_bytes();
            out.extend(hmac(hash, key, &[&counter.to_be_bytes(), label, &[0], context, &length]));
        }
        out.truncate(bits / 8);
        out
    }

    fn hmac(hash: Sha2, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        macro_rules! over {
            ($digest:ty) => {{
                // Unwrap safety: HMAC takes a key of any length.
                let mut mac = Hmac::<$digest>::new_from_slice(key).unwrap();
                for part in parts {
                    mac.update(part);
                }
                mac.finalize().into_bytes().to_vec()
            }};
        }
        match hash {
            Sha2::Sha256 => over!(sha2::Sha256),
            Sha2::Sha384 => over!(sha2::Sha384),
            Sha2::Sha512 => over!(sha2::Sha512),
        }
    }

    fn aes_cfb(key: &[u8], data: &mut [u8]) -> Result<(), CredentialError> {
        let iv = [0; 16].into();
        match key.len() {
            16 => cfb_mode::Encryptor::<aes::Aes128>::new(key.into(), &iv).encrypt(data),
            32 => cfb_mode::Encryptor::<aes::Aes256>::new(key.into(), &iv).encrypt(data),
            _ => return Err(CredentialError::UnsupportedEk("AES key of neither 128 nor 256 bits")),
        }
        Ok(())
    }
}
