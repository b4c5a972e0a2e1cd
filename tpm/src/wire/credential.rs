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
    use hmac::{Hmac, Mac};
    use rand_core::CryptoRng;
    use rsa::{BigUint, RsaPublicKey, hazmat::rsa_encrypt};
    use zeroize::Zeroizing;

    /// Why no credential could be made; each is a property of the EK.
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
    }

    /// TPM2_MakeCredential in software: encrypts `secret` so that only the TPM that holds both the EK and
    /// an object of that Name can read it. Returns TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    ///
    /// Source: TPM 2.0 Part 1, clause 24; B.10.4 (RSA seed), C.6.1 (ECDH seed), 11.4.10 (KDFa, KDFe).
    pub fn make_credential(
        ek: &Public,
        ak_name: &[u8],
        secret: &[u8; SECRET_BYTES],
        rng: &mut dyn CryptoRng,
    ) -> Result<(IdObject, EncryptedSecret), CredentialError> {
        if ![34, 50, 66].contains(&ak_name.len()) {
            return Err(CredentialError::NotAName(ak_name.len()));
        }
        let hash = ek.name_alg();
        let (seed, encrypted_seed) = match ek.subject_key()? {
            SubjectKey::Rsa { modulus, exponent } => rsa_seed(hash, &modulus, exponent, rng)?,
            SubjectKey::Ecc { curve: Curve::P256, x, y } => p256_seed(hash, &x, &y, rng)?,
            SubjectKey::Ecc { curve: Curve::P384, x, y } => p384_seed(hash, &x, &y, rng)?,
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
    fn rsa_seed(
        hash: Sha2,
        modulus: &[u8],
        exponent: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Seed, Vec<u8>), CredentialError> {
        let mut seed = Zeroizing::new(vec![0; hash.len_bytes()]);
        rng.fill_bytes(&mut seed);
        let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into())
            .map_err(|_| CredentialError::InvalidEk)?;
        let padded =
            oaep(hash, &seed, b"IDENTITY\0", modulus.len(), rng).ok_or(CredentialError::InvalidEk)?;
        let cipher =
            rsa_encrypt(&key, &BigUint::from_bytes_be(&padded)).map_err(|_| CredentialError::InvalidEk)?;
        let cipher = crate::wire::public::left_pad(&cipher.to_bytes_be(), modulus.len());
        Ok((seed, cipher))
    }

    /// RFC 8017, 7.1.1: EME-OAEP with MGF1 over the same hash.
    fn oaep(
        hash: Sha2,
        message: &[u8],
        label: &[u8],
        size: usize,
        rng: &mut dyn CryptoRng,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let h = hash.len_bytes();
        let zeros = size.checked_sub(2 * h + 2 + message.len())?;
        let mut block = Zeroizing::new(hash.digest(&[label]));
        block.resize(h + zeros, 0);
        block.push(1);
        block.extend_from_slice(message);
        let mut seed = Zeroizing::new(vec![0; h]);
        rng.fill_bytes(&mut seed);
        mask(hash, &seed, &mut block);
        mask(hash, &block, &mut seed);
        Some(Zeroizing::new([&[0], seed.as_slice(), block.as_slice()].concat()))
    }

    /// RFC 8017, B.2.1: XORs MGF1(seed) onto `target`.
    fn mask(hash: Sha2, seed: &[u8], target: &mut [u8]) {
        for (counter, chunk) in (0_u32..).zip(target.chunks_mut(hash.len_bytes())) {
            let stream = Zeroizing::new(hash.digest(&[seed, &counter.to_be_bytes()]));
            chunk.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
        }
    }

    /// C.6.1 for one curve: ephemeral ECDH, then KDFe over both x coordinates.
    macro_rules! ecdh_seed {
        ($name:ident, $curve:ident, $size:literal) => {
            fn $name(
                hash: Sha2,
                x: &[u8],
                y: &[u8],
                rng: &mut dyn CryptoRng,
            ) -> Result<(Seed, Vec<u8>), CredentialError> {
                use $curve::elliptic_curve::sec1::ToEncodedPoint as _;
                let point = [&[4], x, y].concat();
                let ek =
                    $curve::PublicKey::from_sec1_bytes(&point).map_err(|_| CredentialError::InvalidEk)?;
                let ephemeral = loop {
                    let mut scalar = Zeroizing::new([0; $size]);
                    rng.fill_bytes(scalar.as_mut());
                    // Refused only for zero and for values above the order.
                    if let Ok(key) = $curve::SecretKey::from_slice(scalar.as_ref()) {
                        break key;
                    }
                };
                let shared = $curve::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), ek.as_affine());
                let own = ephemeral.public_key().to_encoded_point(false);
                // Unwrap safety: an uncompressed point of a valid key has both coordinates.
                let (own_x, own_y) = (own.x().unwrap(), own.y().unwrap());
                let seed = kdfe(hash, shared.raw_secret_bytes(), b"IDENTITY", own_x, x);
                Ok((Zeroizing::new(seed), Writer::default().sized(own_x).sized(own_y).done()))
            }
        };
    }
    ecdh_seed!(p256_seed, p256, 32);
    ecdh_seed!(p384_seed, p384, 48);

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
