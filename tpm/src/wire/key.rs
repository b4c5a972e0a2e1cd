//! A public key apart from its TPM: as a certificate or a signing request carries it.

use super::{Curve, Reader, WireError, der, public::strip_zeros};

const SPKI: &str = "SubjectPublicKeyInfo";

/// A bare public key. RSA modulus without leading zeros; ECC coordinates padded to the curve's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectKey {
    Rsa { modulus: Vec<u8>, exponent: u32 },
    Ecc { curve: Curve, x: Vec<u8>, y: Vec<u8> },
}

impl SubjectKey {
    /// Reads a DER SubjectPublicKeyInfo: rsaEncryption, rsaesOaep, or a named NIST curve with an uncompressed
    /// point. The point is not checked to lie on the curve.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, WireError> {
        // The limit on the input comes first.
        let mut input = Reader::new(SPKI, spki)?.rest();
        let mut outer = der::read(SPKI, der::SEQUENCE, &mut input)?;
        der::finish(SPKI, input)?;
        let mut algorithm = der::read("algorithm", der::SEQUENCE, &mut outer)?;
        let bits = der::read("subjectPublicKey", der::BIT_STRING, &mut outer)?;
        der::finish(SPKI, outer)?;
        let Some((0, key)) = bits.split_first().map(|(unused, key)| (*unused, key)) else {
            return Err(WireError::Invalid { what: "subjectPublicKey", why: "not a whole number of bytes" });
        };
        match der::read("algorithm", der::OID, &mut algorithm)? {
            der::RSA_ENCRYPTION | der::RSAES_OAEP => Self::read_rsa(key),
            der::EC_PUBLIC_KEY => {
                let named = der::read("namedCurve", der::OID, &mut algorithm)?;
                der::finish("algorithm", algorithm)?;
                Self::read_ecc(named, key)
            }
            _ => Err(WireError::Invalid { what: "algorithm", why: "neither RSA nor EC" }),
        }
    }

    /// SubjectPublicKeyInfo, DER (RFC 3279, RFC 5480).
    pub fn to_spki_der(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            Self::Rsa { modulus, exponent } => {
                let key = der::element(
                    der::SEQUENCE,
                    &[&der::unsigned_integer(modulus), &der::unsigned_integer(&exponent.to_be_bytes())],
                );
                let parameters = der::element(der::NULL, &[]);
                (
                    der::element(
                        der::SEQUENCE,
                        &[&der::element(der::OID, &[der::RSA_ENCRYPTION]), &parameters],
                    ),
                    key,
                )
            }
            Self::Ecc { curve, x, y } => {
                let named = der::element(der::OID, &[curve_oid(*curve)]);
                let algorithm =
                    der::element(der::SEQUENCE, &[&der::element(der::OID, &[der::EC_PUBLIC_KEY]), &named]);
                (algorithm, [&[4][..], x, y].concat())
            }
        };
        der::element(der::SEQUENCE, &[&algorithm, &der::bit_string(&key)])
    }

    /// Size in bits: of the modulus, or of the curve's field.
    pub fn bits(&self) -> usize {
        match self {
            Self::Rsa { modulus, .. } => {
                modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize)
            }
            Self::Ecc { curve: Curve::P521, .. } => 521,
            Self::Ecc { curve, .. } => curve.coordinate_bytes() * 8,
        }
    }

    fn read_rsa(mut key: &[u8]) -> Result<Self, WireError> {
        let mut body = der::read("RSAPublicKey", der::SEQUENCE, &mut key)?;
        der::finish("RSAPublicKey", key)?;
        let modulus = read_unsigned("modulus", &mut body)?;
        let exponent = read_unsigned("publicExponent", &mut body)?;
        der::finish("RSAPublicKey", body)?;
        if exponent.len() > 4 || exponent.is_empty() || modulus.is_empty() {
            return Err(WireError::Invalid { what: "publicExponent", why: "not of 1 to 32 bits" });
        }
        let exponent = exponent.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        Ok(Self::Rsa { modulus: modulus.to_vec(), exponent })
    }

    fn read_ecc(named: &[u8], key: &[u8]) -> Result<Self, WireError> {
        let curve = [Curve::P256, Curve::P384, Curve::P521]
            .into_iter()
            .find(|curve| curve_oid(*curve) == named)
            .ok_or(WireError::Invalid { what: "namedCurve", why: "not P-256, P-384 or P-521" })?;
        let size = curve.coordinate_bytes();
        match key.split_first() {
            Some((4, point)) if point.len() == 2 * size => {
                let (x, y) = point.split_at(size);
                Ok(Self::Ecc { curve, x: x.to_vec(), y: y.to_vec() })
            }
            _ => Err(WireError::Invalid { what: "ECPoint", why: "not an uncompressed point of this curve" }),
        }
    }
}

fn read_unsigned<'a>(what: &'static str, input: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let number = der::read(what, der::INTEGER, input)?;
    match number {
        [] => Err(WireError::Invalid { what, why: "empty INTEGER" }),
        [first, ..] if first & 0x80 != 0 => Err(WireError::Invalid { what, why: "negative INTEGER" }),
        _ => Ok(strip_zeros(number)),
    }
}

fn curve_oid(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => der::SECP256R1,
        Curve::P384 => der::SECP384R1,
        Curve::P521 => der::SECP521R1,
    }
}
