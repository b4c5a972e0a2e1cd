//! The nearest known word to a mistyped one.

/// The candidate at the least edit distance.
pub(super) fn nearest(word: &str, candidates: &[String]) -> Option<String> {
    candidates.iter().min_by_key(|candidate| distance(word, candidate)).cloned()
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            // Unwrap safety: `row` has one more entry than `b`.
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #[test]
    fn distance_counts_edits() {
        for (a, b, wanted) in [("", "", 0), ("a", "", 1), ("adress", "address", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(super::distance(a, b), wanted, "{a} {b}");
        }
    }
}
