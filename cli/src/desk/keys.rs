//! The desk's keys: Ed25519, each in a file sealed under a passphrase.
//!
//! PBKDF2-HMAC-SHA-256 (600,000 rounds, 16-byte salt) to an AES-256-GCM key; the key's name and public half
//! are the associated data, so that a file cannot be passed off as another's.

use super::{Desk, Privacy, write_file};
use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use holdfast_proto::Bytes;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use tough::schema::key::Key;
use tough::sign::Sign as _;
use zeroize::Zeroizing;

const ROUNDS: u32 = 600_000;
/// A file that asks for more is refused: it would only burn time.
const ROUNDS_MAX: u32 = 10_000_000;

/// A key file: everything but the seed is public.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyFile {
    pub(crate) name: String,
    pub(crate) key_id: String,
    pub(crate) key: Key,
    rounds: u32,
    salt: Bytes,
    nonce: Bytes,
    sealed: Bytes,
}

/// An opened key.
pub(crate) struct SigningKey {
    pub(crate) key_id: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Signs canonical JSON (TUF 4.2).
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// The passphrase: `HOLDFAST_KEY_PASSPHRASE`, or asked for at the terminal.
pub(crate) fn passphrase() -> anyhow::Result<Zeroizing<String>> {
    if let Ok(text) = std::env::var("HOLDFAST_KEY_PASSPHRASE") {
        ensure!(!text.is_empty(), "HOLDFAST_KEY_PASSPHRASE is empty: give the desk's passphrase");
        return Ok(Zeroizing::new(text));
    }
    use std::io::IsTerminal as _;
    ensure!(
        std::io::stdin().is_terminal(),
        "no passphrase: set HOLDFAST_KEY_PASSPHRASE or run the command at a terminal"
    );
    eprint!("Passphrase of the desk's keys: ");
    let text = Zeroizing::new(super::super::terminal::read_hidden_line()?);
    ensure!(!text.is_empty(), "an empty passphrase protects nothing");
    Ok(text)
}

/// Makes the key `name`; an existing file is never overwritten.
pub(crate) fn generate(desk: &Desk, name: &str, passphrase: &str) -> anyhow::Result<KeyFile> {
    let path = desk.keys().join(format!("{name}.json"));
    if path.exists() {
        bail!("{} exists: a key is never overwritten; move it away first", path.display());
    }
    let random = SystemRandom::new();
    let mut seed = Zeroizing::new([0u8; 32]);
    let (mut salt, mut nonce) = ([0u8; 16], [0u8; 12]);
    for part in [&mut seed[..], &mut salt[..], &mut nonce[..]] {
        random.fill(part).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
        .map_err(|_| anyhow::anyhow!("no Ed25519 key from this seed"))?;
    let key = pair.tuf_key();
    let key_id = hex::encode(&*key.key_id().context("no key id")?);
    let mut sealed = seed.to_vec();
    seal_key(passphrase, &salt, ROUNDS)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated(name, pair.public_key().as_ref())),
            &mut sealed,
        )
        .map_err(|_| anyhow::anyhow!("sealing the key failed"))?;
    let file = KeyFile {
        name: name.to_owned(),
        key_id,
        key,
        rounds: ROUNDS,
        salt: salt.to_vec().into(),
        nonce: nonce.to_vec().into(),
        sealed: sealed.into(),
    };
    write_file(&path, &serde_json::to_vec_pretty(&file)?, Privacy::Secret)?;
    Ok(file)
}

/// Reads a key's public half.
pub(crate) fn public(desk: &Desk, name: &str) -> anyhow::Result<KeyFile> {
    let path = desk.keys().join(format!("{name}.json"));
    let bytes = std::fs::read(&path).with_context(|| {
        format!("no key {name}: {} cannot be read (`holdfast tuf init` makes the keys)", path.display())
    })?;
    let file: KeyFile =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no key file", path.display()))?;
    ensure!(file.name == name, "{} holds the key {}, not {name}", path.display(), file.name);
    Ok(file)
}

/// All keys' public halves whose names begin with `prefix-`.
pub(crate) fn publics(desk: &Desk, prefix: &str) -> anyhow::Result<Vec<KeyFile>> {
    let mut names: Vec<String> = std::fs::read_dir(desk.keys())
        .with_context(|| format!("no desk at {} (`holdfast tuf init` makes one)", desk.keys().display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
        .filter(|name| {
            name.strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    names.sort();
    names.iter().map(|name| public(desk, name)).collect()
}

/// Opens a key for signing.
pub(crate) fn open(desk: &Desk, name: &str, passphrase: &str) -> anyhow::Result<SigningKey> {
    let file = public(desk, name)?;
    ensure!(file.rounds <= ROUNDS_MAX, "{name}: {} rounds are above the cap of {ROUNDS_MAX}", file.rounds);
    let nonce: [u8; 12] =
        file.nonce.0.clone().try_into().map_err(|_| anyhow::anyhow!("{name}: the nonce is not 12 bytes"))?;
    let mut sealed = Zeroizing::new(file.sealed.0.clone());
    let Key::Ed25519 { keyval, .. } = &file.key else { bail!("{name}: not an Ed25519 key") };
    let seed = seal_key(passphrase, &file.salt, file.rounds)?
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated(name, &keyval.public)),
            &mut sealed,
        )
        .map_err(|_| anyhow::anyhow!("{name}: the passphrase is wrong, or the file was changed"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| anyhow::anyhow!("{name}: no Ed25519 seed inside"))?;
    ensure!(pair.tuf_key() == file.key, "{name}: the private key is not that of the public half");
    Ok(SigningKey { key_id: file.key_id, pair })
}

fn seal_key(passphrase: &str, salt: &[u8], rounds: u32) -> anyhow::Result<LessSafeKey> {
    let rounds = NonZeroU32::new(rounds).context("zero rounds protect nothing")?;
    let mut key = Zeroizing::new([0u8; 32]);
    aws_lc_rs::pbkdf2::derive(
        aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        salt,
        passphrase.as_bytes(),
        &mut *key,
    );
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| anyhow::anyhow!("no AES-256 key"))?;
    Ok(LessSafeKey::new(key))
}

fn associated(name: &str, public: &[u8]) -> Vec<u8> {
    [b"holdfast/desk-key/1", &(name.len() as u32).to_be_bytes()[..], name.as_bytes(), public].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_with_its_passphrase_and_no_other_and_not_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        let made = generate(&desk, "root-1", "correct horse").unwrap();
        assert_eq!(open(&desk, "root-1", "correct horse").unwrap().key_id, made.key_id);
        assert!(open(&desk, "root-1", "wrong").err().unwrap().to_string().contains("passphrase is wrong"));
        assert!(generate(&desk, "root-1", "x").unwrap_err().to_string().contains("never overwritten"));
        let text =
            std::fs::read_to_string(desk.keys().join("root-1.json")).unwrap().replace("root-1", "root-2");
        write_file(&desk.keys().join("root-2.json"), text.as_bytes(), Privacy::Secret).unwrap();
        assert!(open(&desk, "root-2", "correct horse").is_err());
    }
}
