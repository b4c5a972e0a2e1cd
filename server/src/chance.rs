//! Randomness: the only place of the service that draws it.

/// `N` bytes from the operating system's generator (through aws-lc-rs).
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    // Unwrap safety: aws-lc's generator aborts the process rather than fail once it is seeded.
    aws_lc_rs::rand::fill(&mut out).expect("the system's random generator");
    out
}

/// The same generator, for those that take one as an argument.
pub struct System;

impl rand_core::RngCore for System {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(bytes())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(bytes())
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        // Unwrap safety: as in `bytes`.
        aws_lc_rs::rand::fill(out).expect("the system's random generator");
    }
}

impl rand_core::CryptoRng for System {}

/// A fair draw from `0..below`; 0 where `below` is 0.
pub fn below(below: u64) -> u64 {
    if below == 0 { 0 } else { u64::from_be_bytes(bytes()) % below }
}

/// A new record id: prefix, `_` and 26 characters of lower-case Crockford base32: 10 of time, so that ids
/// sort by birth, and 16 (80 bits) of chance.
pub fn id(prefix: &str, now: i64) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut text = String::with_capacity(prefix.len() + 27);
    text.push_str(prefix);
    text.push('_');
    let time = now.max(0) as u64;
    for shift in (0..10).rev() {
        // Unwrap safety: five bits index a table of 32.
        text.push(char::from(ALPHABET[((time >> (shift * 5)) & 31) as usize]));
    }
    for byte in bytes::<16>() {
        text.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_sort_by_time_and_do_not_repeat() {
        let (a, b, c) = (super::id("dev", 1000), super::id("dev", 1000), super::id("dev", 1001));
        assert_eq!(a.len(), 30);
        assert_ne!(a, b);
        assert!(c > a && c > b);
    }
}
