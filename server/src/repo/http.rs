//! `/v1/tuf` and `/v1/blob`: what devices fetch. Metadata is public, since TUF signs it; blobs are for devices.

use super::Repo;
use crate::http::problem::{NotModified, PartialContent};
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use holdfast_proto::Digest;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use std::io::SeekFrom;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;

/// Chunks that a blob is read in.
const CHUNK_BYTES: usize = 64 << 10;
/// A peer that neither sends nor takes anything for so long is gone.
const STALLED: Duration = Duration::from_mins(1);

/// One metadata file: `timestamp.json` or `<version>.<role>.json`.
#[utoipa::path(get, path = "/v1/tuf/{file}", tag = "device", params(("file" = String, Path)),
    responses((status = 200, description = "the bytes as signed", content_type = "application/json")))]
pub async fn metadata(State(state): State<AppState>, Path(file): Path<String>) -> Result<Response, Refusal> {
    let absent = || Refusal::not_found("such metadata");
    let stem = file.strip_suffix(".json").ok_or_else(absent)?;
    let (role, version) = match stem.split_once('.') {
        None if stem == "timestamp" => ("timestamp", None),
        // A version is served under one name: no leading zeros, no signs.
        Some((version, role)) => (role, Some(decimal(version).filter(|v| *v > 0).ok_or_else(absent)?)),
        None => return Err(absent()),
    };
    Ok(json_bytes(state.repo.metadata(role, version).await?.ok_or_else(absent)?.bytes))
}

/// The newest metadata of a role, for the desk.
#[utoipa::path(get, path = "/api/v1/tuf/metadata/{role}", tag = "tuf", params(("role" = String, Path)),
    responses((status = 200, description = "the bytes as signed", content_type = "application/json")))]
pub async fn newest(State(state): State<AppState>, Path(role): Path<String>) -> Result<Response, Refusal> {
    let stored = state.repo.metadata(&role, None).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found("metadata of this role"))?;
    Ok(json_bytes(stored.bytes))
}

/// One target file, under its consistent name: `<folders>/<sha256>.<file>` (TUF 6.1).
#[utoipa::path(get, path = "/v1/tuf/targets/{*path}", tag = "device", params(("path" = String, Path)),
    responses((status = 200, description = "the bytes", content_type = "application/json")))]
pub async fn target(State(state): State<AppState>, Path(path): Path<String>) -> Result<Response, Refusal> {
    let absent = || Refusal::not_found("such target");
    let (folder, file) = path.rsplit_once('/').ok_or_else(absent)?;
    let (digest, name) = file.split_once('.').ok_or_else(absent)?;
    let digest: Digest = digest.parse().map_err(|_| absent())?;
    let bytes = state.repo.target_file(&format!("{folder}/{name}"), digest).await?;
    Ok(json_bytes(bytes.ok_or_else(absent)?))
}

/// A blob by its digest, whole or one range of it (RFC 9110 14.2); the ETag is the digest.
#[utoipa::path(get, path = "/v1/blob/sha256/{digest}", tag = "device", params(("digest" = String, Path)),
    responses((status = 200, description = "the bytes"), (status = 206, description = "one range")))]
pub async fn blob(
    State(state): State<AppState>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let digest: Digest =
        digest.parse().map_err(|_| Refusal::invalid("malformed-digest", "a digest is 64 hex digits"))?;
    let path = state.repo.blob_path(digest).await?;
    let length = tokio::fs::metadata(&path).await.map_err(Refusal::internal)?.len();
    let etag = format!("\"{digest}\"");
    let is_etag = |value: &HeaderValue| value.as_bytes() == etag.as_bytes();
    if headers.get(header::IF_NONE_MATCH).is_some_and(is_etag) {
        return Ok(NotModified { etag }.into_response());
    }
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|_| headers.get(header::IF_RANGE).is_none_or(is_etag));
    let mut response = match range.map(|text| parse_range(text, length)).transpose()?.flatten() {
        None => stream(path, 0, length).into_response(),
        Some((start, end)) => {
            let body = stream(path, start, end - start + 1);
            PartialContent { start, end, total: length, body }.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::ETAG, HeaderValue::try_from(etag).map_err(Refusal::internal)?);
    Ok(response)
}

impl Repo {
    /// Streams a body into the store; it is there whole when this returns.
    pub(crate) async fn take_blob(
        &self,
        announced: Digest,
        cap: u64,
        mut body: Body,
    ) -> Result<super::BlobRow, Refusal> {
        let store = Arc::clone(&self.blobs);
        let mut incoming = blocking(move || store.begin(announced, cap)).await?;
        let broken = || Refusal::invalid("upload-broken", "the upload broke off: send it again");
        while let Some(frame) = tokio::time::timeout(STALLED, body.frame()).await.map_err(|_| broken())? {
            if let Ok(bytes) = frame.map_err(|error| broken().because(error))?.into_data() {
                incoming = blocking(move || incoming.write(&bytes).map(|()| incoming)).await?;
            }
        }
        let stored = blocking(move || incoming.finish()).await?;
        Ok(super::BlobRow { sha256: stored.sha256, length: stored.length, block_root: stored.block_root })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, super::blob::BlobError> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?.map_err(Refusal::from)
}

impl From<super::blob::BlobError> for Refusal {
    fn from(error: super::blob::BlobError) -> Self {
        use super::blob::BlobError;
        match &error {
            BlobError::Digest { .. } => Self::invalid("digest-mismatch", error.to_string()),
            BlobError::TooLong { .. } => Self::new(Kind::TooLarge, "blob-too-large", error.to_string()),
            BlobError::NoSpace(_) => {
                Self::new(Kind::Unavailable, "disk-full", "the service's disk is full: nothing was stored")
                    .because(error)
            }
            BlobError::Io(_) => Self::internal(error),
        }
    }
}

fn json_bytes(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n` within `length`; other units and several ranges are ignored (RFC 9110 14.2).
fn parse_range(text: &str, length: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some((from, to)) =
        text.strip_prefix("bytes=").filter(|t| !t.contains(',')).and_then(|t| t.split_once('-'))
    else {
        return Ok(None);
    };
    let last = length.saturating_sub(1);
    let (start, end) = match (decimal(from), decimal(to)) {
        (Some(start), Some(end)) if start <= end => (start, end.min(last)),
        (Some(start), None) if to.is_empty() => (start, last),
        (None, Some(count)) if from.is_empty() && count > 0 => (length.saturating_sub(count), last),
        _ => return Ok(None),
    };
    if start >= length {
        return Err(Refusal::new(
            Kind::RangeNotSatisfiable,
            "range-out-of-bounds",
            format!("the blob has {length} bytes"),
        ));
    }
    Ok(Some((start, end)))
}

/// Digits alone, and no leading zero but zero itself.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Reads `length` bytes from `start` as the peer takes them; no thread waits for it.
fn stream(path: PathBuf, start: u64, length: u64) -> Body {
    let (sender, chunks) = mpsc::channel(2);
    tokio::spawn(async move {
        if let Err(error) = send_chunks(path, start, length, &sender).await {
            let _ = sender.send_timeout(Err(error), STALLED).await;
        }
    });
    Body::new(Chunks { chunks, left: length })
}

async fn send_chunks(
    path: PathBuf,
    start: u64,
    length: u64,
    to: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(start)).await?;
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; CHUNK_BYTES.min(left as usize)];
        file.read_exact(&mut chunk).await?;
        left -= chunk.len() as u64;
        if to.send_timeout(Ok(chunk.into()), STALLED).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A body of known length; one that is cut short ends as an error, never as a shorter blob.
struct Chunks {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.chunks.poll_recv(context).map(|chunk| match chunk {
            Some(Ok(bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(std::io::ErrorKind::TimedOut.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let read = |text| parse_range(text, 100).unwrap();
        assert_eq!(read("bytes=0-9"), Some((0, 9)));
        assert_eq!(read("bytes=90-"), Some((90, 99)));
        assert_eq!(read("bytes=-5"), Some((95, 99)));
        assert_eq!(read("bytes=90-500"), Some((90, 99)));
        for ignored in
            ["bytes=+1-5", "bytes=9-0", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=x-", "bytes=-0"]
        {
            assert_eq!(read(ignored), None, "{ignored}");
        }
        assert!(parse_range("bytes=100-", 100).is_err());
    }
}
