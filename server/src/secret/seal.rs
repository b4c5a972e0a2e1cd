//! How a value rests: KEK -> root and tenant seed of an epoch -> one data key a version.
//!
//! Record: `fmt (1) | epoch (4) | kdf_info (32) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM. The data key
//! is HKDF-SHA-256(seed of the epoch, info = label ‖ kdf_info). AAD: length-prefixed ids of tenant, secret,
//! version, epoch and content type, so that no two rows can be swapped. Pointers and grants carry a MAC under
//! the root: sealing protects a stolen dump, the MAC protects against a writer of the database.

use crate::keyring::{Error as KeyringError, Keyring};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hmac::Mac as _;
use zeroize::Zeroizing;

/// The one epoch until seeds can be rotated.
pub const EPOCH: u32 = 1;
const FORMAT: u8 = 1;
const INFO_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + 4 + INFO_BYTES + NONCE_BYTES;

/// Why a record does not open, or a MAC does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the record has format {0}, this version knows {FORMAT}")]
    Format(u8),
    #[error("the record has {0} bytes, at least {min} are needed", min = HEAD_BYTES + TAG_BYTES)]
    Short(usize),
    #[error("the record is of epoch {found}, its row says {row}")]
    Epoch { found: u32, row: u32 },
    #[error("the record was not sealed for this place, or was changed")]
    NotOurs,
    #[error("the MAC of {0} does not hold: somebody wrote the row who is not the service")]
    Mac(&'static str),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// Where a value rests.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub tenant: &'a str,
    pub secret: &'a str,
    pub version: u64,
    pub epoch: u32,
    pub content_type: &'a str,
}

/// The seed of one epoch and the root for MACs, open.
pub struct Sealer {
    seed: Zeroizing<Vec<u8>>,
    root: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// Opens (on first use: makes) root and seed.
    ///
    /// # Errors
    /// When the keyring is sealed or was restored from an older backup.
    pub async fn open(keyring: &Keyring, now: i64) -> Result<Self, KeyringError> {
        let make = || Zeroizing::new(crate::chance::bytes::<32>().to_vec());
        let root = keyring.open_or_make("secret/root", now, make).await?;
        let seed = keyring.open_or_make(&format!("secret/seed/{EPOCH}"), now, make).await?;
        Ok(Self { seed, root })
    }

    /// Seals a value for one place.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn seal(&self, place: &Place<'_>, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let (info, nonce) = (crate::chance::bytes::<INFO_BYTES>(), crate::chance::bytes::<NONCE_BYTES>());
        let mut record = Vec::with_capacity(HEAD_BYTES + value.len() + TAG_BYTES);
        record.push(FORMAT);
        record.extend(place.epoch.to_be_bytes());
        record.extend(info);
        record.extend(nonce);
        let mut body = Zeroizing::new(value.to_vec());
        let tag = self
            .data_key(&info)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad(place)), &mut body)
            .map_err(|_| KeyringError::Crypto)?;
        record.extend_from_slice(&body);
        record.extend_from_slice(tag.as_ref());
        Ok(record)
    }

    /// Opens a record that rests in this place.
    ///
    /// # Errors
    /// When the record is of another format, epoch or place, or was changed.
    pub fn open_record(&self, place: &Place<'_>, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if record.len() < HEAD_BYTES + TAG_BYTES {
            return Err(SealError::Short(record.len()));
        }
        let (head, body) = record.split_at(HEAD_BYTES);
        if head[0] != FORMAT {
            return Err(SealError::Format(head[0]));
        }
        // Unwrap safety: fixed parts of a head whose length was checked.
        let (epoch, info, nonce): ([u8; 4], [u8; INFO_BYTES], [u8; NONCE_BYTES]) = (
            head[1..5].try_into().unwrap(),
            head[5..5 + INFO_BYTES].try_into().unwrap(),
            head[5 + INFO_BYTES..].try_into().unwrap(),
        );
        let found = u32::from_be_bytes(epoch);
        if found != place.epoch {
            return Err(SealError::Epoch { found, row: place.epoch });
        }
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .data_key(&info)?
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad(place)), &mut body)
            .map_err(|_| SealError::NotOurs)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// MAC of a row under the root: `label` says what kind of row, `parts` are length-prefixed.
    pub fn mac(&self, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        self.mac_of(label, parts).finalize().into_bytes().to_vec()
    }

    /// # Errors
    /// When the MAC is not that of these parts; compared in constant time.
    pub fn check_mac(&self, label: &'static str, parts: &[&[u8]], mac: &[u8]) -> Result<(), SealError> {
        self.mac_of(label, parts).verify_slice(mac).map_err(|_| SealError::Mac(label))
    }

    fn mac_of(&self, label: &str, parts: &[&[u8]]) -> hmac::Hmac<sha2::Sha256> {
        // Unwrap safety: HMAC takes keys of every length.
        let mac = <hmac::Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(&self.root).unwrap();
        let labelled = [label.as_bytes()];
        labelled
            .iter()
            .chain(parts)
            .fold(mac, |mac, part| mac.chain_update((part.len() as u32).to_be_bytes()).chain_update(part))
    }

    fn data_key(&self, info: &[u8; INFO_BYTES]) -> Result<LessSafeKey, SealError> {
        struct Length;
        impl aws_lc_rs::hkdf::KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let salt = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, b"holdfast/secret/1");
        let mut key = Zeroizing::new([0u8; 32]);
        salt.extract(&self.seed)
            .expand(&[b"data key", info], Length)
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|_| KeyringError::Crypto)?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| KeyringError::Crypto)?;
        Ok(LessSafeKey::new(key))
    }
}

fn aad(place: &Place<'_>) -> Vec<u8> {
    let (version, epoch) = (place.version.to_be_bytes(), place.epoch.to_be_bytes());
    let parts: [&[u8]; 5] =
        [place.tenant.as_bytes(), place.secret.as_bytes(), &version, &epoch, place.content_type.as_bytes()];
    parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer { seed: Zeroizing::new(vec![1; 32]), root: Zeroizing::new(vec![2; 32]) }
    }

    fn place(version: u64) -> Place<'static> {
        Place { tenant: "default", secret: "sec_1", version, epoch: EPOCH, content_type: "text/plain" }
    }

    #[test]
    fn a_record_opens_in_its_place_and_in_no_other() {
        let sealer = sealer();
        let record = sealer.seal(&place(1), b"value").unwrap();
        assert_eq!(*sealer.open_record(&place(1), &record).unwrap(), b"value");
        let others = [
            Place { tenant: "other", ..place(1) },
            Place { secret: "sec_2", ..place(1) },
            place(2),
            Place { content_type: "text/plai", ..place(1) },
        ];
        for other in others {
            assert!(matches!(sealer.open_record(&other, &record), Err(SealError::NotOurs)), "{other:?}");
        }
        let other_epoch = Place { epoch: 2, ..place(1) };
        assert!(matches!(
            sealer.open_record(&other_epoch, &record),
            Err(SealError::Epoch { found: 1, row: 2 })
        ));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_refused() {
        let sealer = sealer();
        let record = sealer.seal(&place(1), b"value").unwrap();
        for length in 0..record.len() {
            assert!(sealer.open_record(&place(1), &record[..length]).is_err(), "{length}");
        }
        for index in 0..record.len() {
            let mut changed = record.clone();
            changed[index] ^= 1;
            assert!(sealer.open_record(&place(1), &changed).is_err(), "{index}");
        }
    }

    #[test]
    fn two_records_of_one_value_differ_and_another_seed_opens_neither() {
        let sealer = sealer();
        let (one, two) = (sealer.seal(&place(1), b"v").unwrap(), sealer.seal(&place(1), b"v").unwrap());
        assert_ne!(one, two);
        let other = Sealer { seed: Zeroizing::new(vec![9; 32]), root: Zeroizing::new(vec![2; 32]) };
        assert!(other.open_record(&place(1), &one).is_err());
    }

    #[test]
    fn a_mac_is_of_its_kind_and_of_its_parts_as_they_are_cut() {
        let sealer = sealer();
        let mac = sealer.mac("pointer", &[b"ab", b"c"]);
        assert!(sealer.check_mac("pointer", &[b"ab", b"c"], &mac).is_ok());
        assert!(sealer.check_mac("pointer", &[b"a", b"bc"], &mac).is_err());
        assert!(sealer.check_mac("grant", &[b"ab", b"c"], &mac).is_err());
    }
}
