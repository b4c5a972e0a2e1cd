//! A blob as a stream of verified blocks: each 256 KiB is held against the signed list before a byte of it is given
//! out, and a broken connection costs the block that was under way.

use crate::net::{Service, retry_after_ms};
use crate::survey::in_words;
use holdfast_decide::device::FetchFailure;
use holdfast_delta::{BLOCK_LEN, BlockList};
use holdfast_proto::Digest;
use std::io::{ErrorKind, Read};

/// One blob under way.
pub(super) struct Blocks<'a> {
    service: &'a Service,
    digest: Digest,
    list: BlockList,
    body: Option<ureq::BodyReader<'static>>,
    /// The block that the body gives next, and where what was asked for ends.
    next: u64,
    asked_to: u64,
    /// The block at hand, and how much of it was given out.
    block: Vec<u8>,
    at: usize,
    received: u64,
    failure: Option<FetchFailure>,
}

impl<'a> Blocks<'a> {
    /// Fetches the list and holds it against the signed root.
    ///
    /// # Errors
    /// When it does not come, or is not what was signed.
    pub(super) fn open(
        service: &'a Service,
        digest: Digest,
        length: u64,
        root: Digest,
    ) -> Result<Self, FetchFailure> {
        let mut body = get(service, root, None)?;
        let expected = length.div_ceil(BLOCK_LEN).saturating_mul(32);
        let mut bytes = Vec::new();
        let read = body.by_ref().take(expected.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| offline(&error))?;
        let list = BlockList::parse(&bytes, length, holdfast_delta::Digest(root.0));
        let list = list.map_err(|error| FetchFailure::DigestMismatch { detail: error.to_string() })?;
        Ok(Self {
            service,
            digest,
            list,
            body: None,
            next: 0,
            asked_to: 0,
            block: Vec::new(),
            at: 0,
            received: bytes.len() as u64,
            failure: None,
        })
    }

    pub(super) fn list(&self) -> &BlockList {
        &self.list
    }

    /// Bytes that came over the network, the list included.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Why reading ended, where it was not the reader's fault.
    pub(super) fn take_failure(&mut self) -> Option<FetchFailure> {
        self.failure.take()
    }

    /// Goes on at this byte.
    pub(super) fn seek(&mut self, offset: u64) {
        let (index, within) = (offset / BLOCK_LEN, (offset % BLOCK_LEN) as usize);
        let at_hand = !self.block.is_empty() && index + 1 == self.next;
        if !at_hand {
            if index != self.next {
                self.body = None;
            }
            self.next = index;
            self.block.clear();
        }
        self.at = within;
    }

    /// The next block, verified.
    ///
    /// # Errors
    /// When it does not come, or is not what was signed.
    pub(super) fn next_block(&mut self) -> Result<&[u8], FetchFailure> {
        let length = self.list.block_len(self.next) as usize;
        if self.body.is_none() || self.next >= self.asked_to {
            self.request()?;
        }
        let body = self.body.as_mut().ok_or(FetchFailure::Offline { retry_after_ms: None })?;
        self.block.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            // Unwrap safety: `filled` is below the block's length.
            match body.read(&mut self.block[filled..]) {
                Ok(read @ 1..) => {
                    filled += read;
                    self.received += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                ended => {
                    (self.body, self.block) = (None, Vec::new());
                    return Err(offline(&ended.err().unwrap_or(ErrorKind::UnexpectedEof.into())));
                }
            }
        }
        if let Err(error) = self.list.verify_block(self.next, &self.block) {
            (self.body, self.block) = (None, Vec::new());
            return Err(FetchFailure::DigestMismatch { detail: error.to_string() });
        }
        self.next += 1;
        if self.next == self.asked_to {
            // Reads to the end, so that the connection is kept.
            let _ = body.read(&mut [0]);
            self.body = None;
        }
        Ok(&self.block)
    }

    /// The first block by itself, since who resumes jumps after it; then all that is left.
    fn request(&mut self) -> Result<(), FetchFailure> {
        self.asked_to = if self.next == 0 { 1.min(self.list.count()) } else { self.list.count() };
        let start = self.next * BLOCK_LEN;
        let end = (self.asked_to * BLOCK_LEN).min(self.list.file_len());
        self.body = Some(get(self.service, self.digest, Some((start, end)))?);
        Ok(())
    }
}

impl Read for Blocks<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.block.len() {
            let skip = self.at.saturating_sub(self.block.len());
            if self.next >= self.list.count() {
                return Ok(0);
            }
            if let Err(failure) = self.next_block() {
                self.failure = Some(failure);
                return Err(std::io::Error::other("the patch does not come"));
            }
            self.at = skip;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let step = rest.len().min(out.len());
        // Unwrap safety: `step` is at most either length.
        out[..step].copy_from_slice(&rest[..step]);
        self.at += step;
        Ok(step)
    }
}

/// A blob from `start` to before `end`.
fn get(
    service: &Service,
    digest: Digest,
    range: Option<(u64, u64)>,
) -> Result<ureq::BodyReader<'static>, FetchFailure> {
    let path = format!("/v1/blob/sha256/{digest}");
    let range_header =
        range.map(|(start, end)| ("range", format!("bytes={start}-{}", end.saturating_sub(1))));
    let answer = service.blob(&path, range_header.as_slice()).map_err(|error| offline(&error))?;
    let status = answer.status().as_u16();
    let wait = retry_after_ms(answer.headers());
    let mut body = answer.into_body().into_reader();
    match (status, range) {
        (206, Some(_)) | (200, None) => Ok(body),
        // A proxy that knows no ranges: what was not asked for is read over.
        (200, Some((start, _))) => {
            let skipped = std::io::copy(&mut body.by_ref().take(start), &mut std::io::sink());
            match skipped {
                Ok(bytes) if bytes == start => Ok(body),
                _ => Err(FetchFailure::Offline { retry_after_ms: None }),
            }
        }
        (404 | 410, _) => Err(FetchFailure::Gone),
        _ => Err(FetchFailure::Offline { retry_after_ms: wait }),
    }
}

fn offline(error: &dyn std::error::Error) -> FetchFailure {
    eprintln!("holdfast-device: {}", in_words(error));
    FetchFailure::Offline { retry_after_ms: None }
}
