//! A certification request (RFC 2986) with an empty subject and no attributes, signed by ECDSA with SHA-256.

use crate::wire::der;

/// Builds the request for `spki`; `sign` returns an ECDSA-Sig-Value over the bytes that it gets.
pub(crate) fn build<E>(spki: &[u8], sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    const ATTRIBUTES: u8 = 0xa0;
    let info = der::element(
        der::SEQUENCE,
        &[
            &der::unsigned_integer(&[0]),
            &der::element(der::SEQUENCE, &[]),
            spki,
            &der::element(ATTRIBUTES, &[]),
        ],
    );
    let algorithm = der::element(der::SEQUENCE, &[&der::element(der::OID, &[der::ECDSA_WITH_SHA256])]);
    let signature = der::bit_string(&sign(&info)?);
    Ok(der::element(der::SEQUENCE, &[&info, &algorithm, &signature]))
}
