//! The little DER that certificates' raw extensions need. Encoding only.

/// tag ‖ length ‖ content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = (length as u64).to_be_bytes();
        let skip = bytes.iter().take_while(|b| **b == 0).count();
        out.push(0x80 | (bytes.len() - skip) as u8);
        out.extend_from_slice(bytes.get(skip..).unwrap_or_default());
    }
    out.extend_from_slice(content);
    out
}

/// SEQUENCE of ready parts.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// OBJECT IDENTIFIER from dotted text; `None` if it is none.
pub fn oid(dotted: &str) -> Option<Vec<u8>> {
    let arcs = dotted.split('.').map(|arc| arc.parse::<u128>().ok()).collect::<Option<Vec<_>>>()?;
    let [first, second, rest @ ..] = arcs.as_slice() else { return None };
    if *first > 2 || (*first < 2 && *second > 39) || rest.len() > 60 {
        return None;
    }
    let mut content = base128(first.checked_mul(40)?.checked_add(*second)?);
    for arc in rest {
        content.extend(base128(*arc));
    }
    Some(tlv(0x06, &content))
}

fn base128(mut arc: u128) -> Vec<u8> {
    let mut out = vec![(arc & 0x7f) as u8];
    arc >>= 7;
    while arc > 0 {
        out.push(0x80 | (arc & 0x7f) as u8);
        arc >>= 7;
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn object_identifiers_and_lengths_encode_as_in_x690() {
        assert_eq!(super::oid("1.2.840.113549").unwrap(), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(super::oid("2.5.29.32.0").unwrap(), [6, 4, 0x55, 0x1d, 0x20, 0]);
        for bad in ["", "1", "3.1", "1.40", "1.a", "1..2"] {
            assert!(super::oid(bad).is_none(), "{bad}");
        }
        assert_eq!(super::tlv(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(super::tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
