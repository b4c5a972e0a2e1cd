//! The little DER that keys and signing requests need. Writing is infallible; reading is exact.

use super::WireError;

pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const NULL: u8 = 0x05;
pub const OID: u8 = 0x06;
pub const UTF8_STRING: u8 = 0x0c;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// 1.2.840.113549.1.1.1
pub const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.1.7
pub const RSAES_OAEP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];
/// 1.2.840.10045.2.1
pub const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
pub const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
pub const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35
pub const SECP521R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.2.840.10045.4.3.2
pub const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// One element around the concatenated parts.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let significant = super::public::strip_zeros(&bytes);
        out.push(0x80 | significant.len() as u8);
        out.extend_from_slice(significant);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A non-negative INTEGER from big-endian bytes.
pub fn unsigned_integer(number: &[u8]) -> Vec<u8> {
    let number = super::public::strip_zeros(number);
    let sign: &[u8] = if number.first().is_none_or(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[sign, number])
}

/// A BIT STRING of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

/// ECDSA-Sig-Value (RFC 3279, 2.2.3).
pub fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&unsigned_integer(r), &unsigned_integer(s)])
}

/// Takes one element with `tag` from the front of `input`; definite, minimal lengths only.
pub fn read<'a>(what: &'static str, tag: u8, input: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let short = |needed, available| WireError::Short { what, needed, available };
    let [found, first, rest @ ..] = *input else { return Err(short(2, input.len())) };
    if *found != tag {
        return Err(WireError::Unsupported { what, value: (*found).into() });
    }
    let (len, rest) = match *first {
        len @ 0..=0x7f => (usize::from(len), rest),
        0x81 | 0x82 => {
            let count = usize::from(first & 0x7f);
            let (digits, rest) = rest.split_at_checked(count).ok_or(short(count, rest.len()))?;
            let len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
            if len < 0x80 || (count == 2 && len < 0x100) {
                return Err(WireError::Invalid { what, why: "length is not minimal" });
            }
            (len, rest)
        }
        _ => return Err(WireError::Invalid { what, why: "length is indefinite or above 65535" }),
    };
    let (content, rest) = rest.split_at_checked(len).ok_or(short(len, rest.len()))?;
    *input = rest;
    Ok(content)
}

/// Refuses what is left.
pub fn finish(what: &'static str, input: &[u8]) -> Result<(), WireError> {
    if input.is_empty() { Ok(()) } else { Err(WireError::Trailing { what, extra: input.len() }) }
}
