//! CA keys as PKCS#8, sealed by the keyring under `ca/<name>`.

use super::CaKey;
use crate::ca::Error;
use rcgen::{KeyPair, SignatureAlgorithm};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A new key, as PKCS#8.
pub fn generate(algorithm: &'static SignatureAlgorithm) -> Result<Zeroizing<Vec<u8>>, Error> {
    Ok(Zeroizing::new(KeyPair::generate_for(algorithm)?.serialize_der()))
}

/// The signer over an opened key.
pub fn open(pkcs8: &[u8], algorithm: &'static SignatureAlgorithm) -> Result<Arc<dyn CaKey>, Error> {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
    Ok(Arc::new(KeyPair::from_der_and_sign_algo(&der, algorithm)?))
}
