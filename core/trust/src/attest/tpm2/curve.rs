//! Whether a key can be what it says: points on their curves, numbers in range. Plain arithmetic on public values.

use super::roca;
use holdfast_tpm::wire::{Curve, SubjectKey};
use num_bigint::BigUint;

/// Whether y² = x³ − 3x + b (mod p), with both below p, and the point is not (0, 0).
pub(crate) fn on_curve(curve: Curve, x: &[u8], y: &[u8]) -> bool {
    let [p, b] =
        parameters(curve).map(|digits| BigUint::parse_bytes(digits.as_bytes(), 16).unwrap_or_default());
    let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
    if x >= p || y >= p {
        return false;
    }
    let three_x = (&x * 3u32) % &p;
    let right = (&x * &x % &p * &x + &b + &p - three_x) % &p;
    &y * &y % &p == right
}

/// Whether an RSA modulus is odd with a sound exponent.
fn rsa_sound(modulus: &BigUint, exponent: u32) -> bool {
    modulus.bit(0) && exponent & 1 == 1 && exponent >= 3
}

/// Checks a key's numbers; says what is wrong.
///
/// # Errors
/// With the reason in words.
pub(crate) fn check(key: &SubjectKey, min_rsa_bits: usize, curves: &[Curve]) -> Result<String, String> {
    match key {
        SubjectKey::Rsa { modulus, exponent } => {
            let bits = key.bits();
            if !(min_rsa_bits..=4096).contains(&bits) {
                return Err(format!("RSA of {bits} bits, not {min_rsa_bits} to 4096"));
            }
            if !rsa_sound(&BigUint::from_bytes_be(modulus), *exponent) {
                return Err(format!("RSA with an even modulus or the exponent {exponent}"));
            }
            Ok(format!("RSA-{bits}"))
        }
        SubjectKey::Ecc { curve, x, y } => {
            if !curves.contains(curve) {
                return Err(format!("{curve:?} is not accepted here"));
            }
            if !on_curve(*curve, x, y) {
                return Err(format!("the point is not on {curve:?}"));
            }
            Ok(format!("{curve:?}"))
        }
    }
}

/// Whether the key is RSA with ROCA's fingerprint.
pub(crate) fn is_roca(key: &SubjectKey) -> bool {
    matches!(key, SubjectKey::Rsa { modulus, .. } if roca::has_fingerprint(&BigUint::from_bytes_be(modulus)))
}

/// p and b (FIPS 186-4, D.1.2).
fn parameters(curve: Curve) -> [&'static str; 2] {
    match curve {
        Curve::P256 => [
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
        ],
        Curve::P384 => [
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
        ],
        Curve::P521 => [
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base points (FIPS 186-4, D.1.2).
    fn base_point(curve: Curve) -> (Vec<u8>, Vec<u8>) {
        let [x, y] = match curve {
            Curve::P256 => [
                "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
            ],
            Curve::P384 => [
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
            ],
            Curve::P521 => [
                "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
                "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
            ],
        };
        (hex::decode(x).unwrap(), hex::decode(y).unwrap())
    }

    #[test]
    fn the_base_points_lie_on_their_curves_and_their_neighbours_do_not() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let (x, mut y) = base_point(curve);
            assert!(on_curve(curve, &x, &y), "{curve:?}");
            *y.last_mut().unwrap() ^= 1;
            assert!(!on_curve(curve, &x, &y), "{curve:?}");
            assert!(!on_curve(curve, &[0], &[0]), "{curve:?}");
        }
    }

    #[test]
    fn coordinates_are_below_p_each_by_itself() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let [p, _] = parameters(curve).map(|d| BigUint::parse_bytes(d.as_bytes(), 16).unwrap());
            let (x, y) = base_point(curve);
            let above = |n: &[u8]| (BigUint::from_bytes_be(n) + &p).to_bytes_be();
            assert!(!on_curve(curve, &above(&x), &y), "{curve:?}: x");
            assert!(!on_curve(curve, &x, &above(&y)), "{curve:?}: y");
            // The largest x: what is subtracted may not be more than what stands there.
            assert!(!on_curve(curve, &(&p - 1u32).to_bytes_be(), &[1]), "{curve:?}");
        }
    }
}
