//! The medium and the caller.

use super::*;

#[test]
fn a_frame_that_does_not_exist() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let start = Start::Frame(2);
    let mut out = Cursor::new(Vec::new());
    let result = apply(&mut &patch[..], &mut Cursor::new(base()), &mut out, &plan, &Limits::default(), start);
    refused!(result, DeltaError::NoSuchFrame { frame: 2, count: 1 });
}

/// A medium that takes every byte and keeps none of those from `full_at` on.
struct Lossy {
    inner: Cursor<Vec<u8>>,
    full_at: u64,
    says_so: bool,
}

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.position() + bytes.len() as u64 <= self.full_at {
            return self.inner.write(bytes);
        }
        if self.says_so {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.write(&vec![0; bytes.len()])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Lossy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out)
    }
}

impl Seek for Lossy {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn a_medium_that_is_full() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let mut out = Lossy { inner: Cursor::new(Vec::new()), full_at: 30_000, says_so: true };
    let result = apply(
        &mut &patch[..],
        &mut Cursor::new(base()),
        &mut out,
        &plan,
        &Limits::default(),
        Start::Beginning,
    );
    match result {
        Err(DeltaError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
}

/// What was written is believed only after it was read back.
#[test]
fn a_medium_that_lies() {
    let patch = good(Codec::Bsdiff).bytes();
    let plan = expected(&base(), &target());
    let mut out = Lossy { inner: Cursor::new(Vec::new()), full_at: 30_000, says_so: false };
    let result = apply(
        &mut &patch[..],
        &mut Cursor::new(base()),
        &mut out,
        &plan,
        &Limits::default(),
        Start::Beginning,
    );
    refused!(result, DeltaError::OutputDigest { .. });
}
