//! Runs of one byte are cut short before matching: on a long run every suffix matches every other for
//! thousands of bytes, and neither sorting nor scanning comes to an end.
//!
//! A *squeezed* image is the image with every run of [`RUN_LEN`] bytes or more shortened to
//! [`KEEP_LEN`]; the cuts remember what was taken out where.

use std::borrow::Cow;

/// Runs of so many equal bytes are cut.
const RUN_LEN: usize = 4096;
/// What stays of a run, so that matches still go through it.
const KEEP_LEN: usize = 64;

/// Bytes taken out at squeezed position `at` (they follow the `KEEP_LEN` bytes before it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) at: usize,
    pub(crate) len: u64,
    pub(crate) byte: u8,
    /// Sum of `len` over the cuts before this one.
    pub(crate) before: u64,
}

pub(crate) struct Squeezed<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) cuts: Vec<Cut>,
}

impl<'a> Squeezed<'a> {
    pub(crate) fn new(image: &'a [u8]) -> Self {
        let runs = long_runs(image);
        if runs.is_empty() {
            return Self { bytes: Cow::Borrowed(image), cuts: Vec::new() };
        }
        let (mut bytes, mut cuts) = (Vec::new(), Vec::new());
        let (mut from, mut before) = (0, 0);
        for (start, end) in runs {
            // Unwrap safety: runs are inside the image and in order.
            bytes.extend_from_slice(&image[from..start + KEEP_LEN]);
            let len = (end - start - KEEP_LEN) as u64;
            cuts.push(Cut { at: bytes.len(), len, byte: image[start], before });
            before += len;
            from = end;
        }
        bytes.extend_from_slice(&image[from..]);
        Self { bytes: Cow::Owned(bytes), cuts }
    }

    /// The first cut at or after a squeezed position.
    pub(crate) fn next_cut(&self, position: usize) -> usize {
        self.cuts.partition_point(|cut| cut.at < position)
    }

    /// Position in the image of a squeezed position; behind the cut if there is one just there.
    pub(crate) fn in_image(&self, position: usize) -> u64 {
        let passed = self.cuts.partition_point(|cut| cut.at <= position);
        let removed =
            passed.checked_sub(1).and_then(|last| self.cuts.get(last)).map_or(0, |cut| cut.before + cut.len);
        position as u64 + removed
    }
}

fn long_runs(image: &[u8]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < image.len() {
        // Unwrap safety: `start` is inside the image.
        let byte = image[start];
        let end = start + image[start..].iter().take_while(|other| **other == byte).count();
        if end - start >= RUN_LEN {
            runs.push((start, end));
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_squeezed_image_maps_back() {
        let mut image = vec![7_u8; 10];
        image.extend(vec![0; RUN_LEN - 1]);
        image.extend([1, 2, 3]);
        image.extend(vec![9; RUN_LEN]);
        image.extend([4, 5]);
        image.extend(vec![0xff; 3 * RUN_LEN]);
        let squeezed = Squeezed::new(&image);
        assert_eq!(squeezed.cuts.len(), 2);
        assert_eq!(squeezed.bytes.len(), image.len() - (RUN_LEN - KEEP_LEN) - (3 * RUN_LEN - KEEP_LEN));
        for (position, byte) in squeezed.bytes.iter().enumerate() {
            assert_eq!(image[squeezed.in_image(position) as usize], *byte, "{position}");
        }
        assert_eq!(squeezed.in_image(squeezed.bytes.len()), image.len() as u64);
    }

    #[test]
    fn an_image_without_runs_is_not_copied() {
        let image: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        assert!(matches!(Squeezed::new(&image).bytes, Cow::Borrowed(_)));
        assert!(Squeezed::new(&[]).bytes.is_empty());
    }
}
