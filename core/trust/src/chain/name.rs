//! Distinguished names compared as RFC 5280 7.1 says, not byte by byte: makers re-encode their own names.

use x509_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Whether two names are the same name. RDNs in order, attributes of one RDN in any order.
pub fn same(one: &X509Name<'_>, other: &X509Name<'_>) -> bool {
    let (one, other) = (canonical(one), canonical(other));
    one == other
}

/// Whether a name has no RDN.
pub fn is_empty(name: &X509Name<'_>) -> bool {
    name.iter_rdn().next().is_none()
}

type Attribute = (Vec<u8>, Value);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// Not a string type: the same only byte by byte.
    Other(u32, Vec<u8>),
}

fn canonical(name: &X509Name<'_>) -> Vec<Vec<Attribute>> {
    name.iter_rdn()
        .map(|rdn| {
            let mut attributes: Vec<_> = rdn
                .iter()
                .map(|attribute| (attribute.attr_type().as_bytes().to_vec(), value(attribute)))
                .collect();
            attributes.sort();
            attributes
        })
        .collect()
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Value {
    let (tag, bytes) = (attribute.attr_value().tag(), attribute.as_slice());
    match text(tag, bytes) {
        Some(text) => Value::Text(prepared(&text)),
        None => Value::Other(tag.0, bytes.to_vec()),
    }
}

/// The characters of a string type.
pub(crate) fn text(tag: Tag, bytes: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// RFC 4518: case folded, outer spaces dropped, inner runs of spaces made one.
/// Off-spec: no NFKC normalisation; names that differ in compatibility characters alone are not the same here.
fn prepared(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
