//! The attestation nonce of a poll: HMAC(keyring, device ‖ report sequence ‖ 5-minute window). Made anew, never stored.
//!
//! A nonce given after Arming is one over the Armed report's sequence or a later one: only then can the evidence that
//! carries it have been made after Arming.

use crate::keyring::{Error, Keyring};
use hmac::Mac as _;
use zeroize::Zeroizing;

const WINDOW_S: i64 = 300;
/// How many windows back a nonce still counts: making a quote, and a slow link.
const WINDOWS: i64 = 3;
/// How many report sequences back a nonce may be over.
const SEQUENCES: i64 = 64;

/// The key behind the nonces.
pub struct NonceKey(Zeroizing<Vec<u8>>);

impl NonceKey {
    /// # Errors
    /// When the keyring does not open.
    pub async fn open_or_make(keyring: &Keyring, now: i64) -> Result<Self, Error> {
        let make = || Zeroizing::new(crate::chance::bytes::<32>().to_vec());
        keyring.open_or_make("checkin/nonce", now, make).await.map(Self)
    }

    /// The nonce of a poll.
    pub fn nonce(&self, device: &str, sequence: i64, now: i64) -> [u8; 32] {
        self.mac(device, sequence, now / WINDOW_S).finalize().into_bytes().into()
    }

    /// True if `nonce` was given to this device not long ago, over a report sequence of `oldest..=newest`.
    pub fn is_fresh(&self, nonce: &[u8], device: &str, (oldest, newest): (i64, i64), now: i64) -> bool {
        let first = oldest.max(newest - SEQUENCES).max(0);
        (first..=newest).any(|sequence| {
            (0..=WINDOWS)
                .any(|back| self.mac(device, sequence, now / WINDOW_S - back).verify_slice(nonce).is_ok())
        })
    }

    fn mac(&self, device: &str, sequence: i64, window: i64) -> hmac::Hmac<sha2::Sha256> {
        // Unwrap safety: HMAC takes keys of every length.
        let mac = <hmac::Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(&self.0).unwrap();
        mac.chain_update((device.len() as u32).to_be_bytes())
            .chain_update(device)
            .chain_update(sequence.to_be_bytes())
            .chain_update(window.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_for_one_device_one_sequence_and_a_short_while() {
        let key = NonceKey(Zeroizing::new(vec![7; 32]));
        let nonce = key.nonce("dev_1", 5, 10_000);
        assert!(key.is_fresh(&nonce, "dev_1", (5, 5), 10_000));
        assert!(key.is_fresh(&nonce, "dev_1", (3, 9), 10_600));
        assert!(!key.is_fresh(&nonce, "dev_2", (5, 5), 10_000));
        assert!(!key.is_fresh(&nonce, "dev_1", (6, 9), 10_000), "given before the Armed report");
        assert!(!key.is_fresh(&nonce, "dev_1", (5, 5), 12_000), "too long ago");
        assert!(!key.is_fresh(&nonce[..31], "dev_1", (5, 5), 10_000));
    }
}
