//! The provider that sigstore-tuf's core asks for signatures and hashes: verification by the algorithms that the
//! caller brings (ring on a device, aws-lc-rs in the service), hashes by sha2. It is a global there; it is set
//! once, here, and asked for before every walk.

use super::TufError;
use rustls_pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};
use sha2::Digest as _;
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;
use std::fmt;

/// Verification algorithms, as rustls' providers list them.
type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// Makes `algorithms` verify all TUF signatures of this process. The first call counts; later ones do nothing.
pub fn install_provider(algorithms: &'static [&'static dyn SignatureVerificationAlgorithm]) {
    if sigstore_crypto::try_default_provider().is_none() {
        // A lost race means that another thread has just installed one.
        let _ = sigstore_crypto::install_default_provider(Box::leak(Box::new(Provider(algorithms))));
    }
}

/// Asked for before anything is verified: without a provider sigstore-tuf panics.
///
/// # Errors
/// When [`install_provider`] was not called.
pub(super) fn ready() -> Result<(), TufError> {
    sigstore_crypto::try_default_provider().map(|_| ()).ok_or(TufError::NoProvider)
}

struct Provider(Algorithms);

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({} algorithms)", self.0.len())
    }
}

impl CryptoProvider for Provider {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        match algorithm {
            HashAlgorithm::Sha2256 => Ok(Box::new(Hash(sha2::Sha256::new()))),
            HashAlgorithm::Sha2384 => Ok(Box::new(Hash(sha2::Sha384::new()))),
            HashAlgorithm::Sha2512 => Ok(Box::new(Hash(sha2::Sha512::new()))),
            other => Err(Error::UnsupportedAlgorithm(other.to_string())),
        }
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let (key_id, signature_id) = identifiers(scheme)?;
        let algorithm = self.0.iter().find(|candidate| {
            candidate.public_key_alg_id() == key_id && candidate.signature_alg_id() == signature_id
        });
        algorithm
            .ok_or_else(|| Error::UnsupportedAlgorithm(format!("{scheme:?}")))?
            .verify_signature(key, data, signature)
            .map_err(|_| Error::Verification(format!("{scheme:?}")))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Err(Error::UnsupportedAlgorithm(format!("{scheme:?} over a digest")))
    }
}

struct Hash<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hash<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

fn identifiers(scheme: SigningScheme) -> Result<(AlgorithmIdentifier, AlgorithmIdentifier), Error> {
    Ok(match scheme {
        SigningScheme::Ed25519 => (alg_id::ED25519, alg_id::ED25519),
        SigningScheme::EcdsaP256Sha256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        SigningScheme::EcdsaP384Sha384 => (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
        SigningScheme::RsaPssSha256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA256),
        SigningScheme::RsaPssSha384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA384),
        SigningScheme::RsaPssSha512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA512),
        other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_verified_before_a_provider_is_installed() {
        // The only test of this program that installs one.
        assert!(matches!(ready(), Err(TufError::NoProvider)));
        install_provider(webpki::ALL_VERIFICATION_ALGS);
        assert!(ready().is_ok());
    }

    #[test]
    fn a_signature_over_a_bare_digest_never_holds() {
        let provider = Provider(webpki::ALL_VERIFICATION_ALGS);
        for scheme in [SigningScheme::Ed25519, SigningScheme::EcdsaP256Sha256] {
            assert!(provider.verify_prehashed(scheme, &[], &[0; 32], &[]).is_err());
        }
    }
}
