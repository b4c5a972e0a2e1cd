//! TPM2_MakeCredential in software (Part 1, clause 24; annexes B.10.4 and C.6.1): what only the TPM that holds
//! both the EK and the AK can open.

use super::hash::digest;
use super::public::{Curve, Key, Public, left_padded};
use super::{WireError, wrap_2b};
use hmac::Mac as _;
use num_bigint::BigUint;
use zeroize::Zeroizing;

/// Length of the secret in a credential.
pub const SECRET_BYTES: usize = 32;

/// What ActivateCredential takes: a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub blob: Vec<u8>,
    pub encrypted_secret: Vec<u8>,
}

/// Seals `secret` to the EK, bound to the AK's Name.
///
/// # Errors
/// When the EK is not RSA, P-256 or P-384 with AES-CFB, or its point is not on the curve.
pub fn make_credential(
    ek: &Public,
    ak_name: &[u8],
    secret: &[u8; SECRET_BYTES],
    rng: &mut dyn rand_core::RngCore,
) -> Result<Credential, WireError> {
    let unsupported = |what: &str| WireError::Unsupported { structure: "EK", what: what.into() };
    let Some((_, aes_bits @ (128 | 256), _)) = ek.symmetric else {
        return Err(unsupported("no AES"));
    };
    let hash = ek.name_alg;
    let digest_length = digest(hash, &[]).ok_or_else(|| unsupported("the name algorithm"))?.len();
    let (seed, encrypted_secret) = match &ek.key {
        Key::Rsa { exponent, modulus, .. } => {
            let mut seed = Zeroizing::new(vec![0; digest_length]);
            rng.fill_bytes(&mut seed);
            let sealed = oaep(hash, modulus, *exponent, &seed, rng).ok_or_else(|| unsupported("the RSA key"))?;
            (seed, wrap_2b(&sealed))
        }
        Key::Ecc { curve, x, y } => {
            let (shared, px, py) = ecdh(*curve, x, y, rng).ok_or_else(|| unsupported("the curve or the point"))?;
            let party_v = left_padded(x, curve.bytes());
            let seed = kdf_e(hash, &shared, "IDENTITY", &px, &party_v, digest_length);
            (Zeroizing::new(seed), wrap_2b(&[wrap_2b(&px), wrap_2b(&py)].concat()))
        }
    };
    let sym_key = Zeroizing::new(kdf_a(hash, &seed, "STORAGE", ak_name, usize::from(aes_bits) / 8));
    let hmac_key = Zeroizing::new(kdf_a(hash, &seed, "INTEGRITY", &[], digest_length));
    let mut encrypted = wrap_2b(secret);
    aes_cfb(&sym_key, &mut encrypted);
    let integrity = hmac(hash, &hmac_key, &[&encrypted, ak_name]);
    let blob = wrap_2b(&[wrap_2b(&integrity), encrypted].concat());
    Ok(Credential { blob, encrypted_secret })
}


/// OAEP with MGF1, hash = nameAlg, label "IDENTITY\0" (B.10.4; RFC 8017 7.1.1).
fn oaep(hash: u16, modulus: &[u8], exponent: u32, message: &[u8], rng: &mut dyn rand_core::RngCore) -> Option<Vec<u8>> {
    let (k, label) = (super::public::stripped(modulus).len(), digest(hash, &[b"IDENTITY\0"])?);
    let h = label.len();
    let padding = k.checked_sub(message.len() + 2 * h + 2)?;
    let mut block = Zeroizing::new([&label[..], &vec![0; padding], &[1], message].concat());
    let mut seed = vec![0; h];
    rng.fill_bytes(&mut seed);
    xor(&mut block, &mgf1(hash, &seed, k - h - 1)?);
    xor(&mut seed, &mgf1(hash, &block, h)?);
    let padded = Zeroizing::new([&[0][..], &seed, &block].concat());
    let sealed = BigUint::from_bytes_be(&padded).modpow(&BigUint::from(exponent), &BigUint::from_bytes_be(modulus));
    Some(left_padded(&sealed.to_bytes_be(), k))
}

fn mgf1(hash: u16, seed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for counter in 0u32.. {
        if mask.len() >= length {
            break;
        }
        mask.extend(digest(hash, &[seed, &counter.to_be_bytes()])?);
    }
    mask.truncate(length);
    Some(mask)
}

fn xor(into: &mut [u8], mask: &[u8]) {
    into.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// An ephemeral key's shared x-coordinate with the EK, and the ephemeral point (C.6.1).
fn ecdh(curve: Curve, x: &[u8], y: &[u8], rng: &mut dyn rand_core::RngCore) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>, Vec<u8>)> {
    macro_rules! on {
        ($curve:ident) => {{
            use $curve::elliptic_curve::sec1::ToEncodedPoint as _;
            let size = curve.bytes();
            let point = [&[4][..], &left_padded(x, size), &left_padded(y, size)].concat();
            let peer = $curve::PublicKey::from_sec1_bytes(&point).ok()?;
            let mut bytes = Zeroizing::new(vec![0; size]);
            let ephemeral = (0..64).find_map(|_| {
                rng.fill_bytes(&mut bytes);
                $curve::SecretKey::from_slice(&bytes).ok()
            })?;
            let shared = $curve::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), peer.as_affine());
            let own = ephemeral.public_key().to_encoded_point(false);
            Some((Zeroizing::new(shared.raw_secret_bytes().to_vec()), own.x()?.to_vec(), own.y()?.to_vec()))
        }};
    }
    match curve {
        Curve::P256 => on!(p256),
        Curve::P384 => on!(p384),
        Curve::P521 => None,
    }
}

/// KDFe (Part 1, 11.4.10.3).
fn kdf_e(hash: u16, z: &[u8], label: &str, party_u: &[u8], party_v: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for counter in 1u32.. {
        if out.len() >= length {
            break;
        }
        let parts: [&[u8]; 6] = [&counter.to_be_bytes(), z, label.as_bytes(), &[0], party_u, party_v];
        let Some(block) = digest(hash, &parts) else { break };
        out.extend(block);
    }
    out.truncate(length);
    out
}

/// KDFa (Part 1, 11.4.10.2): SP800-108 counter mode.
fn kdf_a(hash: u16, key: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let bits = (length as u32 * 8).to_be_bytes();
    for counter in 1u32.. {
        if out.len() >= length {
            break;
        }
        let block = hmac(hash, key, &[&counter.to_be_bytes(), label.as_bytes(), &[0], context, &bits]);
        if block.is_empty() {
            break;
        }
        out.extend(block);
    }
    out.truncate(length);
    out
}

fn hmac(hash: u16, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    macro_rules! run {
        ($digest:ty) => {{
            // Unwrap safety: HMAC takes keys of every length.
            let mac = <hmac::Hmac<$digest> as hmac::Mac>::new_from_slice(key).unwrap();
            parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().to_vec()
        }};
    }
    match hash {
        super::hash::SHA256 => run!(sha2::Sha256),
        super::hash::SHA384 => run!(sha2::Sha384),
        super::hash::SHA512 => run!(sha2::Sha512),
        _ => Vec::new(),
    }
}

/// AES-CFB with a zero IV (Part 1, 24.4).
fn aes_cfb(key: &[u8], bytes: &mut [u8]) {
    use cfb_mode::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
    let iv = [0; 16].into();
    if let Ok(key) = <[u8; 16]>::try_from(key) {
        cfb_mode::Encryptor::<aes::Aes128>::new(&key.into(), &iv).encrypt(bytes);
    } else if let Ok(key) = <[u8; 32]>::try_from(key) {
        cfb_mode::Encryptor::<aes::Aes256>::new(&key.into(), &iv).encrypt(bytes);
    }
}
