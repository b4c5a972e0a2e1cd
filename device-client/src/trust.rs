//! Where the update repository's trust rests (two files), and how its metadata is brought.
//!
//! What is believed is decided in `holdfast_trust::tuf`. Here: the medium, the source, and the rule that metadata may
//! come from a server that is not believed, since it carries its own signatures.

use crate::clock;
use crate::config::Config;
use crate::error::DeviceError;
use crate::files;
use crate::journal::Reserve;
use crate::net::{Service, Site, is_certificate_refusal};
use holdfast_proto::Bytes;
use holdfast_proto::blob::DeviceBlob;
use holdfast_trust::tuf::limits::COPY_MAX_BYTES;
use holdfast_trust::tuf::store::{CopyName, DurableTrust, Medium, TrustState};
use holdfast_trust::tuf::{Source, SourceError, TufError, install_provider};
use std::path::{Path, PathBuf};

/// The two files, and the space set aside for them.
pub(crate) struct TrustFiles {
    folder: PathBuf,
    reserve: Reserve,
}

impl TrustFiles {
    fn of(config: &Config) -> Self {
        Self { folder: config.state("trust"), reserve: Reserve::of(&config.state_dir) }
    }
}

fn path(folder: &Path, copy: CopyName) -> PathBuf {
    folder.join(match copy {
        CopyName::A => "trust.a",
        CopyName::B => "trust.b",
    })
}

/// One that is there and cannot be read is not "nothing": torn, to be repaired from the other.
fn read(folder: &Path, copy: CopyName) -> Option<Vec<u8>> {
    files::read_at_most(COPY_MAX_BYTES as u64, &path(folder, copy)).unwrap_or(Some(Vec::new()))
}

/// The same files for a command that runs beside the agent: what is torn is left to the agent.
struct ReadOnly {
    folder: PathBuf,
}

impl Medium for ReadOnly {
    fn read(&self, copy: CopyName) -> Option<Vec<u8>> {
        read(&self.folder, copy)
    }

    fn write(&mut self, _: CopyName, _: &[u8]) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Medium for TrustFiles {
    fn read(&self, copy: CopyName) -> Option<Vec<u8>> {
        read(&self.folder, copy)
    }

    fn write(&mut self, copy: CopyName, bytes: &[u8]) -> Result<(), SourceError> {
        let path = path(&self.folder, copy);
        self.reserve.lend(|| files::write(&path, bytes)).map_err(Into::into)
    }
}

/// An open trust state.
pub(crate) type Trust = DurableTrust<TrustFiles>;

/// Opens the trust state; begins it from the blob's root where there never was one.
///
/// # Errors
/// When both copies are lost, or the blob carries no root.
pub(crate) fn open(config: &Config, blob: &DeviceBlob) -> Result<Trust, DeviceError> {
    install_provider(rustls::crypto::ring::default_provider().signature_verification_algorithms.all);
    let files = TrustFiles::of(config);
    if files.read(CopyName::A).is_some() || files.read(CopyName::B).is_some() {
        return Ok(DurableTrust::open(files)?);
    }
    let root = blob.tuf_root.as_ref().ok_or_else(|| {
        DeviceError::unusable(
            "the blob carries no TUF root: make it with `holdfast device blob` after `holdfast tuf publish`",
        )
    })?;
    Ok(DurableTrust::begin(files, root)?)
}

/// What the trust state says of the service.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// `trust/ca.json`, DER.
    pub(crate) roots: Option<Vec<Bytes>>,
    /// Unix seconds.
    pub(crate) signed_time: Option<i64>,
}

/// Reads it where it is; before the first walk nothing is known.
///
/// # Errors
/// When both copies are lost.
pub(crate) fn known(config: &Config) -> Result<Known, DeviceError> {
    let folder = config.state("trust");
    if !folder.join("trust.a").exists() && !folder.join("trust.b").exists() {
        return Ok(Known::default());
    }
    let read_only = ReadOnly { folder };
    let state = DurableTrust::open(read_only)?;
    Ok(Known::of(state.state()))
}

/// As [`known`], of an open state.
pub(crate) fn known_by(trust: &Trust) -> Known {
    Known::of(trust.state())
}

impl Known {
    fn of(state: &TrustState) -> Self {
        Self {
            roots: state.ca_bundle().map(|bundle| bundle.into_inner().roots),
            signed_time: state.signed_time.as_ref().map(|signed| signed.at),
        }
    }
}

/// Speaks to the service. If its certificate is not believed, the time or the roots may be old: the signed metadata is
/// brought from whoever answers, and, if it told anything, the service is spoken to once more.
///
/// # Errors
/// Those of `speak`; those of the walk are told in its place only when the clock is to blame.
pub(crate) fn in_contact<T>(
    config: &Config,
    blob: &DeviceBlob,
    mut speak: impl FnMut(&Site) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let site = Site::of(config, blob)?;
    match speak(&site) {
        Err(error) if is_certificate_refusal(&error) && blob.tuf_root.is_some() => {
            let mut trust = open(config, blob)?;
            match refresh_from_anyone(&mut trust, &site) {
                Ok(()) => {}
                Err(DeviceError::Tuf(clock @ TufError::ClockAhead { .. })) => return Err(clock.into()),
                Err(_) => return Err(error),
            }
            drop(trust);
            speak(&Site::of(config, blob)?)
        }
        ended => ended,
    }
}

/// Walks with metadata from a server that is not believed.
///
/// # Errors
/// When the walk is refused.
pub(crate) fn refresh_from_anyone(trust: &mut Trust, site: &Site) -> Result<(), DeviceError> {
    let service = Service::insecure_for_signed_metadata(site)?;
    let mut source = Repository { service: &service };
    let mut trusted = trust.refresh(&mut source, clock::BUILD_TIME.max(site.floor), clock::synchronised())?;
    Ok(trust.adopt_documents(&mut trusted, &mut source)?)
}

/// `/v1/tuf` of a service.
pub(crate) struct Repository<'a> {
    pub(crate) service: &'a Service,
}

impl Repository<'_> {
    fn get(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let mut answer = self.service.stream("GET", path, &[], &[])?;
        match answer.status().as_u16() {
            200 => {}
            403 | 404 => return Ok(None),
            status => return Err(DeviceError::Status { path: path.to_owned(), status }.into()),
        }
        let mut bytes = Vec::new();
        // One byte more than is worth reading: the walk refuses it by its length.
        let mut body = std::io::Read::take(answer.body_mut().as_reader(), max_bytes.saturating_add(1));
        std::io::Read::read_to_end(&mut body, &mut bytes)?;
        Ok(Some(bytes))
    }
}

impl Source for Repository<'_> {
    fn metadata(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.get(&format!("/v1/tuf/{name}"), max_bytes)
    }

    fn target(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.get(&format!("/v1/tuf/targets/{path}"), max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_whole_as_long_as_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let copy = vec![b'x'; COPY_MAX_BYTES];
        files::write(&path(folder.path(), CopyName::A), &copy).unwrap();
        assert_eq!(read(folder.path(), CopyName::A).map(|bytes| bytes.len()), Some(COPY_MAX_BYTES));
        // One byte more is no copy: torn, not missing.
        files::write(&path(folder.path(), CopyName::A), &[&copy[..], b"x"].concat()).unwrap();
        assert_eq!(read(folder.path(), CopyName::A), Some(Vec::new()));
    }
}
