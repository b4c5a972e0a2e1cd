//! `/v1/tuf` and `/v1/blob`: what devices fetch. Metadata is public, since TUF signs it; blobs are for devices.

use super::{Repo, sql};
use crate::tx;
use crate::http::problem::PartialContent;
use crate::refusal::{Kind, Refusal};
use crate::state::AppState;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use holdfast_proto::Digest;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// Chunks that a blob is read in.
const CHUNK_BYTES: usize = 256 << 10;

/// One metadata file: `timestamp.json` or `<version>.<role>.json`.
#[utoipa::path(get, path = "/v1/tuf/{file}", tag = "device", params(("file" = String, Path)),
    responses((status = 200, description = "the bytes as signed", content_type = "application/json")))]
pub async fn metadata(State(state): State<AppState>, Path(file): Path<String>) -> Result<Response, Refusal> {
    let absent = || Refusal::not_found("such metadata");
    let stem = file.strip_suffix(".json").ok_or_else(absent)?;
    let (role, version) = match stem.split_once('.') {
        None if stem == "timestamp" => ("timestamp", None),
        Some((version, role)) => (role, Some(version.parse::<u64>().ok().filter(|v| *v > 0).ok_or_else(absent)?)),
        None => return Err(absent()),
    };
    let repo = &state.repo;
    let stored = sql::metadata_at(&mut repo.db.read().await?, &repo.tenant, role, version).await?;
    Ok(json_bytes(stored.ok_or_else(absent)?.bytes))
}

/// The newest metadata of a role, for the desk.
#[utoipa::path(get, path = "/api/v1/tuf/metadata/{role}", tag = "tuf", params(("role" = String, Path)),
    responses((status = 200, description = "the bytes as signed", content_type = "application/json")))]
pub async fn newest(State(state): State<AppState>, Path(role): Path<String>) -> Result<Response, Refusal> {
    let repo = &state.repo;
    let stored = sql::metadata_at(&mut repo.db.read().await?, &repo.tenant, &role, None).await?;
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
    let repo = &state.repo;
    let path = format!("{folder}/{name}");
    let bytes = sql::target_at(&mut repo.db.read().await?, &repo.tenant, &path, digest).await?;
    Ok(json_bytes(bytes.ok_or_else(absent)?))
}

/// A blob by its digest, whole or one range of it (RFC 9110 14.2); the ETag is the digest.
#[utoipa::path(get, path = "/v1/blob/sha256/{digest}", tag = "device", params(("digest" = String, Path)),
    responses((status = 200, description = "the bytes"), (status = 206, description = "one range")))]
pub async fn blob(State(state): State<AppState>, Path(digest): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let digest: Digest = digest.parse().map_err(|_| Refusal::invalid("malformed-digest", "a digest is 64 hex digits"))?;
    let path = state.repo.blob_path(digest).await?;
    let length = tokio::fs::metadata(&path).await.map_err(Refusal::internal)?.len();
    let etag = format!("\"{digest}\"");
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let mut response = match range.filter(|_| same).map(|text| parse_range(text, length)).transpose()?.flatten() {
        None => {
            let mut whole = stream(path, 0, length).into_response();
            whole.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            whole
        }
        Some((start, end)) => {
            let body = stream(path, start, end - start + 1);
            let mut part = PartialContent { start, end, total: length, body }.into_response();
            part.headers_mut().insert(header::CONTENT_LENGTH, (end - start + 1).into());
            part
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::ETAG, header::HeaderValue::try_from(etag).map_err(Refusal::internal)?);
    Ok(response)
}

impl Repo {
    /// Where a blob or a block list lies, if this tenant has it.
    pub(crate) async fn blob_path(&self, digest: Digest) -> Result<PathBuf, Refusal> {
        let mut tx = self.db.read().await?;
        let known = sql::blob_row(&mut tx, &self.tenant, digest).await?.is_some()
            || sql::is_block_list(&mut tx, &self.tenant, digest).await?;
        let path = self.blobs.path(digest).filter(|_| known);
        path.ok_or_else(|| Refusal::not_found(format_args!("blob {digest}")))
    }

    /// Streams a body into the store; it is there whole when this returns.
    pub(crate) async fn take_blob(&self, announced: Digest, cap: u64, body: Body, now: i64) -> Result<super::BlobRow, Refusal> {
        use http_body_util::BodyExt as _;
        let store = Arc::clone(&self.blobs);
        let mut incoming = blocking(move || store.begin(announced, cap)).await?;
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::invalid("upload-broken", "the upload broke off: send it again").because(error))?;
            if let Ok(bytes) = frame.into_data() {
                incoming = blocking(move || incoming.write(&bytes).map(|()| incoming)).await?;
            }
        }
        let stored = blocking(move || incoming.finish()).await?;
        let row = super::BlobRow { sha256: stored.sha256, length: stored.length, block_root: stored.block_root };
        tx!(self.db, "blob.note", |tx| self.blob_note(tx, &row, now).await)?;
        Ok(row)
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
                Self::new(Kind::Unavailable, "disk-full", "the service's disk is full: nothing was stored").because(error)
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
    let Some((from, to)) = text.strip_prefix("bytes=").filter(|t| !t.contains(',')).and_then(|t| t.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (start, end) = match (number(from), number(to)) {
        (Some(start), Some(end)) if start <= end => (start, end.min(length.saturating_sub(1))),
        (Some(start), None) if to.is_empty() => (start, length.saturating_sub(1)),
        (None, Some(last)) if from.is_empty() && last > 0 => (length.saturating_sub(last), length.saturating_sub(1)),
        _ => return Ok(None),
    };
    if start >= length {
        return Err(Refusal::new(Kind::RangeNotSatisfiable, "range-out-of-bounds", format!("the blob has {length} bytes")));
    }
    Ok(Some((start, end)))
}

fn stream(path: PathBuf, start: u64, length: u64) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<axum::body::Bytes, std::io::Error>>(2);
    tokio::task::spawn_blocking(move || {
        let read = || -> std::io::Result<()> {
            let mut file = std::fs::File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut left = length;
            while left > 0 {
                let mut chunk = vec![0; CHUNK_BYTES.min(left as usize)];
                file.read_exact(&mut chunk)?;
                left -= chunk.len() as u64;
                if sender.blocking_send(Ok(chunk.into())).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = sender.blocking_send(Err(error));
        }
    });
    Body::from_stream(Chunks(receiver))
}

struct Chunks(tokio::sync::mpsc::Receiver<Result<axum::body::Bytes, std::io::Error>>);

impl futures_core::Stream for Chunks {
    type Item = Result<axum::body::Bytes, std::io::Error>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
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
        for ignored in ["bytes=9-0", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=x-", "bytes=-0"] {
            assert_eq!(read(ignored), None, "{ignored}");
        }
        assert!(parse_range("bytes=100-", 100).is_err());
    }
}
