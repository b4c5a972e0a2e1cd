//! DER elements, just enough to find where things start and end. Values are x509-parser's business.

/// One element: its tag, its content, and the whole of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const BOOLEAN: u8 = 0x01;

/// Takes one element (single-byte tag, definite length up to 4 bytes) from the front.
pub(crate) fn element<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let bytes = *input;
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = match first {
        0..=0x7F => (usize::from(first), 2),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7F);
            let digits = bytes.get(2..2 + count)?;
            (digits.iter().fold(0usize, |length, digit| (length << 8) + usize::from(*digit)), 2 + count)
        }
        _ => return None,
    };
    let end = header.checked_add(length)?;
    let (whole, rest) = bytes.split_at_checked(end)?;
    *input = rest;
    Some(Element { tag, content: whole.get(header..)?, whole })
}

/// Takes one element of this tag.
pub(crate) fn expect<'a>(tag: u8, input: &mut &'a [u8]) -> Option<Element<'a>> {
    element(input).filter(|element| element.tag == tag)
}

/// A BIT STRING's content without the count of unused bits, which must be zero.
pub(crate) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}
