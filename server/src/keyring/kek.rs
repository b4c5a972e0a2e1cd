//! Where the key-encryption key lives: beside the database, in a file of mode 0600.
//!
//! Others (TPM-sealed, PKCS#11, KMS plugin) implement [`KekProvider`]. The provider also keeps the
//! keyring's high-water generation, outside the database, so that a restored older keyring is noticed.

use super::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Wraps keys under the key-encryption key.
pub trait KekProvider: Send + Sync {
    /// Names the key, so that a row says which one opens it.
    fn id(&self) -> &str;
    /// AES-256-GCM over `plain` with `aad`: nonce ‖ ciphertext ‖ tag.
    fn wrap(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error>;
    fn unwrap(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;
    /// Highest keyring generation that this provider has seen.
    fn high_water(&self) -> Result<i64, Error>;
    fn raise_high_water(&self, generation: i64) -> Result<(), Error>;
}

/// The file provider: `kek` (32 bytes) and `kek.generation` in one folder.
pub struct FileKek {
    id: String,
    key: LessSafeKey,
    generation_file: PathBuf,
}

impl FileKek {
    /// Opens the key, or makes it when the folder has none.
    pub fn open_or_create(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("kek");
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(&path)?,
            Err(source) => return Err(Error::KekFile { path, source }),
        };
        let mode = fs::metadata(&path).map_err(|source| Error::KekFile { path: path.clone(), source })?;
        let mode = mode.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::KekMode { path, mode });
        }
        if bytes.len() != 32 {
            return Err(Error::KekLength { path, length: bytes.len() });
        }
        Ok(Self {
            id: format!("file:{}", &hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&*bytes))[..16]),
            key: aead_key(&bytes)?,
            generation_file: folder.join("kek.generation"),
        })
    }
}

impl KekProvider for FileKek {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        seal_with(&self.key, aad, plain)
    }

    fn unwrap(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        open_with(&self.key, aad, sealed)
    }

    fn high_water(&self) -> Result<i64, Error> {
        let path = &self.generation_file;
        match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map_err(|_| Error::HighWater { path: path.clone() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::KekFile { path: path.clone(), source }),
        }
    }

    fn raise_high_water(&self, generation: i64) -> Result<(), Error> {
        if generation <= self.high_water()? {
            return Ok(());
        }
        write_private(&self.generation_file, format!("{generation}\n").as_bytes())
            .map_err(|source| Error::KekFile { path: self.generation_file.clone(), source })
    }
}

/// A key for [`seal_with`] and [`open_with`]; 32 bytes.
pub fn aead_key(bytes: &[u8]) -> Result<LessSafeKey, Error> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| Error::Crypto)
}

/// nonce (12, random) ‖ ciphertext ‖ tag (16).
pub fn seal_with(key: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let nonce = crate::chance::bytes::<12>();
    let mut sealed = nonce.to_vec();
    let mut body = Zeroizing::new(plain.to_vec());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut *body)
        .map_err(|_| Error::Crypto)?;
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// The inverse of [`seal_with`]; refuses anything that was not sealed under this key with this `aad`.
pub fn open_with(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (nonce, body) = sealed.split_first_chunk::<12>().ok_or(Error::NotOurs)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut body)
        .map_err(|_| Error::NotOurs)?
        .len();
    body.truncate(plain);
    Ok(body)
}

fn create(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let key = Zeroizing::new(crate::chance::bytes::<32>().to_vec());
    write_private(path, &key).map_err(|source| Error::KekFile { path: path.to_owned(), source })?;
    Ok(key)
}

/// Writes a file of mode 0600 whole or not at all: temporary name, fsync, rename, fsync of the folder.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", hex::encode(crate::chance::bytes::<4>())));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
