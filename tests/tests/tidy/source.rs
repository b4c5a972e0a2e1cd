//! Rust source as the rules see it: comments, texts and test modules blanked out, line numbers kept.

/// One file, parsed as far as the rules need it.
pub(crate) struct SourceFile<'a> {
    /// Its path, relative to the workspace.
    pub(crate) path: &'a str,
    /// Its text as it is, comments included.
    pub(crate) text: &'a str,
    /// The same length in lines, with nothing but code outside `#[cfg(test)]`.
    pub(crate) code: String,
    /// Every path that the code names: `use` trees unfolded, and paths in expressions as written.
    pub(crate) paths: Vec<(usize, Vec<String>)>,
}

impl<'a> SourceFile<'a> {
    pub(crate) fn parse(path: &'a str, text: &'a str) -> Self {
        let code = without_tests(&only_code(text));
        let paths = paths(&code);
        Self { path, text, code, paths }
    }

    /// Lines on which the code holds `word` as a whole identifier.
    pub(crate) fn lines_with_word(&self, word: &str) -> Vec<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let holds = |line: &str| line.split(|c| !is_word(c)).any(|found| found == word);
        self.lines(holds)
    }

    /// Lines on which the code holds `text`.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<usize> {
        self.lines(|line| line.contains(text))
    }

    fn lines(&self, holds: impl Fn(&str) -> bool) -> Vec<usize> {
        self.code.lines().enumerate().filter(|(_, line)| holds(line)).map(|(index, _)| index + 1).collect()
    }

    /// Lines on which a path holds these segments in a row.
    pub(crate) fn lines_with_path(&self, segments: &[&str]) -> Vec<usize> {
        let holds = |path: &Vec<String>| path.windows(segments.len()).any(|window| window == segments);
        self.paths.iter().filter(|(_, path)| holds(path)).map(|(line, _)| *line).collect()
    }
}

/// Blanks comments and what stands inside of string and character literals.
fn only_code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        if let Some((end, keep)) = literal_end(&chars, at) {
            for (index, c) in chars.iter().enumerate().take(end).skip(at) {
                let edge = keep && (index == at || index + 1 == end);
                out.push(if *c == '\n' || edge { *c } else { ' ' });
            }
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends, and whether its first and last character are kept.
fn literal_end(chars: &[char], at: usize) -> Option<(usize, bool)> {
    let next = chars.get(at + 1).copied();
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next == Some('/') => {
            Some((chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n), false))
        }
        '/' if next == Some('*') => {
            let mut depth = 0_u32;
            let mut end = at;
            while end < chars.len() {
                match (chars[end], chars.get(end + 1)) {
                    ('/', Some('*')) => (depth, end) = (depth + 1, end + 1),
                    ('*', Some('/')) => (depth, end) = (depth - 1, end + 1),
                    _ => {}
                }
                end += 1;
                if depth == 0 {
                    break;
                }
            }
            Some((end, false))
        }
        'r' if !in_word && matches!(next, Some('"' | '#')) => raw_end(chars, at + 1).map(|end| (end, true)),
        'b' if !in_word && next == Some('r') => raw_end(chars, at + 2).map(|end| (end, true)),
        '"' => Some((quoted_end(chars, at, '"'), true)),
        // A lifetime has no closing quote one or more characters on.
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => {
            Some((quoted_end(chars, at, '\''), true))
        }
        _ => None,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut end = at + hashes + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(chars.len())
}

/// Blanks every item that stands under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(found) = rest.find(MARK) {
        out.push_str(&rest[..found]);
        let item = &rest[found..];
        let end = item_end(item, MARK.len());
        out.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// The end of an item: its semicolon, or the brace that closes its body.
fn item_end(item: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (index, c) in item.char_indices().skip_while(|(index, _)| *index < from) {
        match c {
            ';' if depth == 0 => return index + 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth <= 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

/// Every path in the code with its line: `use` trees unfolded to one path a leaf, the others as they stand.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].1 == "use" {
            at = use_tree(&tokens, at + 1, &[], &mut paths);
        } else if is_name(&tokens[at].1) {
            let line = tokens[at].0;
            let mut path = vec![tokens[at].1.clone()];
            while tokens.get(at + 1).is_some_and(|t| t.1 == "::")
                && tokens.get(at + 2).is_some_and(|t| is_name(&t.1))
            {
                path.push(tokens[at + 2].1.clone());
                at += 2;
            }
            paths.push((line, path));
            at += 1;
        } else {
            at += 1;
        }
    }
    paths
}

type Token = (usize, String);

/// Unfolds the tree that begins at `at` under `prefix`; returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some((line, token)) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.1 != "}") {
                    at = use_tree(tokens, at, &path, paths);
                    if tokens.get(at).is_some_and(|t| t.1 == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                at += 1;
                if tokens.get(at).is_none_or(|t| t.1 != "::") {
                    paths.push((*line, path.clone()));
                }
            }
            _ => return at,
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((index + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

#[test]
fn comments_texts_and_test_modules_are_not_code() {
    let file = SourceFile::parse(
        "a.rs",
        "// std::fs\nlet a = \"std::fs \\\" std::fs\"; let b = r#\"std::fs \" \"#; let c = '\"';\nfn f<'a>(x: &'a str) {}\n/* std::fs /* */ std::fs */\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nfn g() { std::net::x() }\n",
    );
    assert!(file.lines_with("std::fs").is_empty(), "{}", file.code);
    assert!(file.lines_with_path(&["std", "fs"]).is_empty());
    assert_eq!(file.lines_with_path(&["std", "net"]), [9]);
}

#[test]
fn use_trees_are_unfolded() {
    let text = "use std::{collections::BTreeMap, fs::{self, File}, io as stdio};\nuse crate::device::sql;\n";
    let file = SourceFile::parse("a.rs", text);
    assert_eq!(file.lines_with_path(&["std", "fs"]), [1, 1]);
    assert_eq!(file.lines_with_path(&["std", "io"]), [1]);
    assert_eq!(file.lines_with_path(&["device", "sql"]), [2]);
    assert!(file.lines_with_path(&["std", "net"]).is_empty());
}
