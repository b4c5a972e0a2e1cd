//! ROCA (CVE-2017-15361): RSA primes of the form k·M + (65537^a mod M), with M a product of the first primes, can be
//! found by their modulus: it lies in the group that 65537 generates, modulo every one of those primes.

use num_bigint::BigUint;

/// The primes of M for RSA-2048 keys end above this; those below tell the fingerprint apart already.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus has the fingerprint. A sound key has it with probability below 2^-27 by chance.
pub(crate) fn has_fingerprint(modulus: &BigUint) -> bool {
    PRIMES.iter().all(|prime| {
        let rest = (modulus % *prime).iter_u32_digits().next().unwrap_or(0);
        in_group(rest, *prime)
    })
}

/// Whether `rest` is a power of 65537 modulo `prime`.
fn in_group(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = power * 65_537 % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_built_as_the_weak_generator_does_is_found_and_its_neighbour_is_not() {
        let m: BigUint = PRIMES.iter().fold(BigUint::from(2u32), |m, prime| m * *prime);
        let weak =
            |k: u32, a: u32| &m * BigUint::from(k) + BigUint::from(65_537u32).modpow(&BigUint::from(a), &m);
        let modulus = weak(0xC001_D00D, 12_345) * weak(0xDEAD_BEEF, 54_321);
        assert!(has_fingerprint(&modulus));
        assert!(!has_fingerprint(&(modulus + 2u32)));
    }
}
