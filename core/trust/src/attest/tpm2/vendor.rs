//! Deviations of makers, each a named rule. A waiver never passes silently: it is a noted check with the rule's name.

use crate::attest::reason::Reason;
use crate::chain::ManufacturerId;

/// One rule.
struct Waiver {
    name: &'static str,
    manufacturer: [u8; 4],
    waives: Reason,
}

/// The rule that lets this deviation of this maker through.
pub(crate) fn waiver(manufacturer: Option<ManufacturerId>, deviation: Reason) -> Option<&'static str> {
    let manufacturer = manufacturer?;
    let fits = |waiver: &&Waiver| waiver.manufacturer == manufacturer.0 && waiver.waives == deviation;
    WAIVERS.iter().find(fits).map(|waiver| waiver.name)
}

/// extendedKeyUsage: only its *absence* is waived (`ek.rs` asks only then); RFC 5280 4.2.1.12 reads absence as every
/// purpose, and key usage, SAN and the anchor's scope still say that this is an EK.
const WAIVERS: [Waiver; 6] = [
    no_purpose("google-vtpm-no-eku", *b"GOOG"),
    no_purpose("infineon-no-eku", *b"IFX\0"),
    no_purpose("st-no-eku", *b"STM "),
    no_purpose("nuvoton-no-eku", *b"NTC\0"),
    no_purpose("intel-no-eku", *b"INTC"),
    no_purpose("amd-no-eku", *b"AMD\0"),
];

const fn no_purpose(name: &'static str, manufacturer: [u8; 4]) -> Waiver {
    Waiver { name, manufacturer, waives: Reason::EkCertificateExtendedKeyUsage }
}
