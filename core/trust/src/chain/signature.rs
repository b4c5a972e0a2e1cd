//! Signatures under a SubjectPublicKeyInfo, by the algorithms that the caller passes in.

use super::{Algorithms, der};
use num_bigint::BigUint;
use sha1::Digest as _;

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    #[error("the key is no SubjectPublicKeyInfo")]
    Key,
    #[error("none of the passed algorithms is for this signature algorithm with this key")]
    Unsupported,
    #[error("the signature does not hold")]
    Invalid,
    #[error("it is made with SHA-1 and the issuer is not pinned for that")]
    Sha1,
}

/// Contents of an AlgorithmIdentifier: sha1WithRSAEncryption, with and without NULL.
pub(crate) const SHA1_WITH_RSA: [u8; 11] = [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05];

/// AlgorithmIdentifier contents and key bytes of a SubjectPublicKeyInfo.
pub(crate) fn split_spki(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = spki;
    let mut content = der::expect(der::SEQUENCE, &mut outer)?.content;
    if !outer.is_empty() {
        return None;
    }
    let algorithm = der::expect(der::SEQUENCE, &mut content)?.content;
    let key = der::bits(der::expect(der::BIT_STRING, &mut content)?.content)?;
    content.is_empty().then_some((algorithm, key))
}

/// Verifies `signature` over `message`; `algorithm` is the content of the signature's AlgorithmIdentifier.
///
/// # Errors
/// When no algorithm fits, or none that fits accepts it.
pub fn verify(
    algorithms: Algorithms<'_>,
    spki: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureProblem> {
    let (key_algorithm, key) = split_spki(spki).ok_or(SignatureProblem::Key)?;
    let mut fitting = algorithms
        .iter()
        .filter(|known| {
            known.signature_alg_id().as_ref() == algorithm
                && known.public_key_alg_id().as_ref() == key_algorithm
        })
        .peekable();
    if fitting.peek().is_none() {
        return Err(SignatureProblem::Unsupported);
    }
    if fitting.any(|known| known.verify_signature(key, message, signature).is_ok()) {
        Ok(())
    } else {
        Err(SignatureProblem::Invalid)
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017 8.2.2), by arithmetic: no provider offers it, and none should. Only for
/// issuers pinned by fingerprint.
pub(crate) fn verify_sha1_rsa(spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureProblem> {
    let (_, key) = split_spki(spki).ok_or(SignatureProblem::Key)?;
    let (modulus, exponent) = rsa_numbers(key).ok_or(SignatureProblem::Key)?;
    let n = BigUint::from_bytes_be(modulus);
    let length = modulus.iter().skip_while(|byte| **byte == 0).count();
    let s = BigUint::from_bytes_be(signature);
    if signature.len() != length || !(128..=1024).contains(&length) || exponent.len() > 8 || s >= n {
        return Err(SignatureProblem::Invalid);
    }
    let opened = s.modpow(&BigUint::from_bytes_be(exponent), &n).to_bytes_be();
    let digest = sha1::Sha1::digest(message);
    let tail = [&SHA1_DIGEST_INFO[..], &digest].concat();
    // 00 01 FF.. 00 DigestInfo; the leading zero is lost in the number.
    let padding = vec![0xFF; length - tail.len() - 3];
    let expected = [&[1][..], &padding, &[0], &tail].concat();
    if opened == expected { Ok(()) } else { Err(SignatureProblem::Invalid) }
}

/// Modulus and exponent of an RSAPublicKey, as in the bytes.
pub(crate) fn rsa_numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = key;
    let mut content = der::expect(der::SEQUENCE, &mut outer)?.content;
    let modulus = der::expect(0x02, &mut content)?.content;
    let exponent = der::expect(0x02, &mut content)?.content;
    (outer.is_empty() && content.is_empty()).then_some((modulus, exponent))
}

/// DigestInfo of SHA-1 without the digest.
const SHA1_DIGEST_INFO: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14];
