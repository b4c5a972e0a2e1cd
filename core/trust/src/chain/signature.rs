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

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_tpm::wire::der::{BIT_STRING, INTEGER, SEQUENCE, element};
    use rsa::RsaPrivateKey;
    use rsa::traits::PublicKeyParts as _;

    const MESSAGE: &[u8] = b"signed long ago";

    fn key(bits: usize) -> RsaPrivateKey {
        RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).unwrap()
    }

    fn sign(key: &RsaPrivateKey, message: &[u8]) -> Vec<u8> {
        let digest = sha1::Sha1::digest(message);
        key.sign(rsa::Pkcs1v15Sign::new::<sha1::Sha1>(), &digest).unwrap()
    }

    fn numbers(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[&element(INTEGER, &[&[0], modulus]), &element(INTEGER, &[exponent])])
    }

    fn spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&SHA1_WITH_RSA, &[5, 0]]);
        element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[&[0], &numbers(modulus, exponent)])])
    }

    fn holds(key: &RsaPrivateKey, exponent: &[u8], signature: &[u8]) -> Result<(), SignatureProblem> {
        verify_sha1_rsa(&spki(&key.n().to_bytes_be(), exponent), MESSAGE, signature)
    }

    #[test]
    fn a_sha1_signature_is_as_long_as_the_modulus_and_below_it() {
        let key = key(1024);
        let exponent = [1, 0, 1];
        let signature = sign(&key, MESSAGE);
        assert_eq!(holds(&key, &exponent, &signature), Ok(()));
        assert_eq!(holds(&key, &exponent, &sign(&key, b"else")), Err(SignatureProblem::Invalid));
        // The same number in a byte more.
        let longer = [&[0][..], &signature].concat();
        assert_eq!(holds(&key, &exponent, &longer), Err(SignatureProblem::Invalid));
        // Another number of the same residue: one message in a few has one in as many bytes.
        let n = BigUint::from_bytes_be(&key.n().to_bytes_be());
        let (message, above) = (0..1000u32)
            .find_map(|salt| {
                let message = salt.to_be_bytes();
                let above = (BigUint::from_bytes_be(&sign(&key, &message)) + &n).to_bytes_be();
                (above.len() == 128).then_some((message, above))
            })
            .expect("a modulus below 2^1024");
        let spki = spki(&key.n().to_bytes_be(), &exponent);
        assert_eq!(verify_sha1_rsa(&spki, &message, &sign(&key, &message)), Ok(()));
        assert_eq!(verify_sha1_rsa(&spki, &message, &above), Err(SignatureProblem::Invalid));
    }

    #[test]
    fn exponents_and_moduli_have_their_bounds() {
        let good = key(1024);
        let signature = sign(&good, MESSAGE);
        assert_eq!(holds(&good, &[0, 0, 0, 0, 0, 1, 0, 1], &signature), Ok(()));
        let long = [0, 0, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(holds(&good, &long, &signature), Err(SignatureProblem::Invalid));
        let short = key(1016);
        let signature = sign(&short, MESSAGE);
        assert_eq!(signature.len(), 127);
        assert_eq!(holds(&short, &[1, 0, 1], &signature), Err(SignatureProblem::Invalid));
    }

    #[test]
    fn a_key_is_two_numbers_and_nothing_after_them() {
        let key = numbers(&[0xC5; 128], &[1, 0, 1]);
        assert!(rsa_numbers(&key).is_some());
        assert!(rsa_numbers(&[&key[..], &[0]].concat()).is_none());
        let third = element(INTEGER, &[&[7]]);
        let two = [element(INTEGER, &[&[0xC5; 128]]), element(INTEGER, &[&[1, 0, 1]])].concat();
        assert!(rsa_numbers(&element(SEQUENCE, &[&two])).is_some());
        assert!(rsa_numbers(&element(SEQUENCE, &[&two, &third])).is_none());
    }
}
