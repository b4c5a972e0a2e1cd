//! A bounded reader over received bytes and its counterpart that writes. Big-endian throughout.

use super::WireError;

/// The largest structure that any parser here takes; the largest legal one (RSA-4096) needs about 700.
pub const MAX_STRUCTURE_BYTES: usize = 2048;

/// Reads fields from the front; every failure names the field.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts reading `bytes`, refusing more than [`MAX_STRUCTURE_BYTES`].
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::with_limit(what, bytes, MAX_STRUCTURE_BYTES)
    }

    /// As [`Reader::new`] with another limit, for whole responses.
    pub fn with_limit(what: &'static str, bytes: &'a [u8], limit: usize) -> Result<Self, WireError> {
        if bytes.len() > limit {
            return Err(WireError::TooLong { what, limit, actual: bytes.len() });
        }
        Ok(Self { rest: bytes })
    }

    /// The next `len` bytes.
    pub fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(WireError::Short { what, needed: len, available: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let available = self.rest.len();
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::Short { what, needed: N, available });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// TPMI_YES_NO: nothing but 0 and 1.
    pub fn yes_no(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid { what, why: "a TPMI_YES_NO is 0 or 1" }),
        }
    }

    /// A TPM2B: 16-bit length, then at most `limit` bytes.
    pub fn sized(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        let len = usize::from(self.u16(what)?);
        if len > limit {
            return Err(WireError::TooLong { what, limit, actual: len });
        }
        self.take(what, len)
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading; refuses what is left.
    pub fn finish(self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing { what, extra: self.rest.len() }) }
    }
}

/// Appends fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A TPM2B. Callers pass fields that were bounded before; anything longer than 65535 is cut off
    /// by no one, so it is a programming error.
    pub(crate) fn sized(self, value: &[u8]) -> Self {
        debug_assert!(u16::try_from(value.len()).is_ok());
        self.u16(value.len() as u16).bytes(value)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
