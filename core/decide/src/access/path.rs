//! Secret paths, and the patterns over them that grants name.
//!
//! Here: parsing, and matching one path for one actor. Not here: who has which grant.
//! Invariant: a substituted value stays within its segment; what cannot be substituted matches nothing.

use crate::limits::{PATH_MAX_BYTES, PATH_MAX_SEGMENTS};
use holdfast_proto::id::is_segment;
use std::fmt;

/// A secret's path: 1 to 16 segments of `[a-z0-9._-]`, separated by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretPath(String);

/// A pattern over paths: `*` is one segment, `**` (only last) one or more, `${..}` stands within a segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern {
    pub(crate) segments: Vec<Segment>,
    pub(crate) tail: Tail,
}

/// How a pattern ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tail {
    Exact,
    /// `**`: one or more further segments.
    Below,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    Literal(String),
    Any,
    Template(Vec<Piece>),
}

/// A part of a segment with a variable in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Piece {
    Text(String),
    Variable(Variable),
}

/// What `${..}` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    Site,
    Namespace,
    ServiceAccount,
    DeviceId,
}

/// Why a text is no path or no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path has {bytes} bytes, at most {PATH_MAX_BYTES} are allowed")]
    TooLong { bytes: usize },
    #[error("the path has {segments} segments, at most {PATH_MAX_SEGMENTS} are allowed")]
    TooDeep { segments: usize },
    #[error("segment {index} `{text}` is not 1 to 128 of [a-z0-9._-], or is `.` or `..`")]
    BadSegment { index: usize, text: String },
    #[error("`**` stands only at the end")]
    DoubleStarInside,
    #[error("`*` is a whole segment: `{text}`")]
    StarInside { text: String },
    #[error("the pattern would match every path of the tenant: name at least one segment before `**`")]
    MatchesAll,
    #[error("`${{{name}}}` is not one of ${{site}} ${{namespace}} ${{sa}} ${{device_id}}")]
    UnknownVariable { name: String },
    #[error("`${{` without its `}}` in `{text}`")]
    Unclosed { text: String },
}

impl SecretPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        for (index, segment) in split(text)?.into_iter().enumerate() {
            if !is_segment(segment) {
                return Err(PathError::BadSegment { index, text: segment.escape_default().to_string() });
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its segments in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PathPattern {
    /// Reads a pattern; refuses one of stars alone that ends in `**`, since it names nothing.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut texts = split(text)?;
        let tail = if texts.last() == Some(&"**") {
            texts.pop();
            Tail::Below
        } else {
            Tail::Exact
        };
        let segments =
            texts.iter().enumerate().map(|(i, s)| Segment::parse(i, s)).collect::<Result<Vec<_>, _>>()?;
        if tail == Tail::Below && segments.iter().all(|s| *s == Segment::Any) {
            return Err(PathError::MatchesAll);
        }
        Ok(Self { segments, tail })
    }

    /// True if `path` lies in the pattern once `value` has filled its variables.
    pub fn matches<'a>(&self, path: &SecretPath, value: impl Fn(Variable) -> Option<&'a str>) -> bool {
        let mut rest = path.segments();
        for segment in &self.segments {
            match rest.next() {
                Some(text) if segment.matches(text, &value) => {}
                _ => return false,
            }
        }
        match self.tail {
            Tail::Exact => rest.next().is_none(),
            Tail::Below => rest.next().is_some(),
        }
    }

    /// The variables that it names.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.segments
            .iter()
            .flat_map(|segment| match segment {
                Segment::Template(pieces) => pieces.as_slice(),
                Segment::Literal(_) | Segment::Any => &[],
            })
            .filter_map(|piece| match piece {
                Piece::Variable(variable) => Some(*variable),
                Piece::Text(_) => None,
            })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            match segment {
                Segment::Literal(text) => f.write_str(text)?,
                Segment::Any => f.write_str("*")?,
                Segment::Template(pieces) => {
                    for piece in pieces {
                        match piece {
                            Piece::Text(text) => f.write_str(text)?,
                            Piece::Variable(variable) => write!(f, "${{{}}}", variable.name())?,
                        }
                    }
                }
            }
        }
        if self.tail == Tail::Below { f.write_str("/**") } else { Ok(()) }
    }
}

impl Segment {
    fn parse(index: usize, text: &str) -> Result<Self, PathError> {
        match text {
            "*" => return Ok(Self::Any),
            "**" => return Err(PathError::DoubleStarInside),
            _ if text.contains('*') => {
                return Err(PathError::StarInside { text: text.escape_default().to_string() });
            }
            _ if !text.contains('$') => {
                return if is_segment(text) {
                    Ok(Self::Literal(text.to_owned()))
                } else {
                    Err(bad(index, text))
                };
            }
            _ => {}
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            push_text(&mut pieces, before, index, text)?;
            let Some((name, after)) = after.split_once('}') else {
                return Err(PathError::Unclosed { text: text.escape_default().to_string() });
            };
            let variable = Variable::parse(name)
                .ok_or_else(|| PathError::UnknownVariable { name: name.escape_default().to_string() })?;
            pieces.push(Piece::Variable(variable));
            rest = after;
        }
        push_text(&mut pieces, rest, index, text)?;
        Ok(Self::Template(pieces))
    }

    /// True if one segment of a path fits. A value that is no segment by itself fits nothing.
    pub(crate) fn matches<'a>(&self, text: &str, value: &impl Fn(Variable) -> Option<&'a str>) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Any => true,
            Self::Template(pieces) => {
                let mut rest = Some(text);
                for piece in pieces {
                    let wanted = match piece {
                        Piece::Text(text) => Some(text.as_str()),
                        Piece::Variable(variable) => value(*variable).filter(|v| is_segment(v)),
                    };
                    rest = rest.zip(wanted).and_then(|(rest, wanted)| rest.strip_prefix(wanted));
                }
                rest == Some("")
            }
        }
    }
}

impl Variable {
    /// Its name between `${` and `}`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Namespace => "namespace",
            Self::ServiceAccount => "sa",
            Self::DeviceId => "device_id",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Site, Self::Namespace, Self::ServiceAccount, Self::DeviceId]
            .into_iter()
            .find(|v| v.name() == name)
    }
}

fn split(text: &str) -> Result<Vec<&str>, PathError> {
    if text.len() > PATH_MAX_BYTES {
        return Err(PathError::TooLong { bytes: text.len() });
    }
    let segments: Vec<_> = text.split('/').collect();
    if segments.len() > PATH_MAX_SEGMENTS {
        return Err(PathError::TooDeep { segments: segments.len() });
    }
    Ok(segments)
}

/// Text beside a variable: the characters of a segment, but `.` alone is fine here (`v1.${site}`).
fn push_text(pieces: &mut Vec<Piece>, text: &str, index: usize, whole: &str) -> Result<(), PathError> {
    if text.is_empty() {
        return Ok(());
    }
    // A letter in front makes `.` and `..` ordinary text, and leaves every other rule of a segment as it is.
    if !is_segment(&format!("x{text}")) {
        return Err(bad(index, whole));
    }
    pieces.push(Piece::Text(text.to_owned()));
    Ok(())
}

fn bad(index: usize, text: &str) -> PathError {
    PathError::BadSegment { index, text: text.escape_default().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(variable: Variable) -> Option<&'static str> {
        match variable {
            Variable::Site => Some("berlin"),
            Variable::DeviceId => Some("dev_1"),
            Variable::Namespace => Some("a.."),
            Variable::ServiceAccount => None,
        }
    }

    #[test]
    fn patterns_match_what_they_say_and_nothing_beside() {
        for (pattern, path, wanted) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b", "a", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*", "a", false),
            ("*", "a", true),
            ("*/b", "a/b", true),
            ("*/b", "a/c", false),
            ("a/**", "a/b", true),
            ("a/**", "a/b/c/d", true),
            ("a/**", "a", false),
            ("a/**", "b/a", false),
            ("a/*/**", "a/b", false),
            ("a/*/**", "a/b/c", true),
            ("sites/${site}/db", "sites/berlin/db", true),
            ("sites/${site}/db", "sites/bonn/db", false),
            ("sites/${site}", "sites/berlin/db", false),
            ("v-${site}.x", "v-berlin.x", true),
            ("v-${site}.x", "v-berlin.xy", false),
            ("v-${site}.x", "w-berlin.x", false),
            ("${site}${device_id}", "berlindev_1", true),
            ("${device_id}/**", "dev_1/a", true),
            ("${device_id}/**", "dev_12/a", false),
            ("${sa}/x", "x/x", false),
        ] {
            let parsed = PathPattern::parse(pattern).expect(pattern);
            let path = SecretPath::parse(path).expect(path);
            assert_eq!(parsed.matches(&path, value), wanted, "{pattern} over {path}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_value_that_is_no_segment_fits_nothing() {
        let pattern = PathPattern::parse("a${site}").expect("pattern");
        for bad in ["", ".", "..", "b/c", "é", "B", "*"] {
            for path in ["a", "a.", "a..", "ab", "a-"] {
                let path = SecretPath::parse(path).expect("path");
                assert!(!pattern.matches(&path, |_| Some(bad)), "{bad} in {path}");
            }
        }
        assert!(pattern.matches(&SecretPath::parse("ab").expect("path"), |_| Some("b")));
    }

    #[test]
    fn what_is_no_path_or_pattern_is_refused() {
        for bad in
            ["", "/", "a/", "/a", "a//b", "a/../b", ".", "a/./b", "A", "é", "a b", "a/*", "${site}", "a%2fb"]
        {
            assert!(matches!(SecretPath::parse(bad), Err(PathError::BadSegment { .. })), "{bad}");
        }
        for (bad, wanted) in [
            ("", "segment 0 `` is not"),
            ("a//b", "segment 1 `` is not"),
            ("a/..", "segment 1 `..` is not"),
            ("A", "segment 0 `A` is not"),
            ("é", "segment 0 `\\u{e9}` is not"),
            ("**/a", "`**` stands only at the end"),
            ("a/**/b", "`**` stands only at the end"),
            ("a*", "`*` is a whole segment"),
            ("a/b**", "`*` is a whole segment"),
            ("***", "`*` is a whole segment"),
            ("**", "the pattern would match every path"),
            ("*/**", "the pattern would match every path"),
            ("*/*/**", "the pattern would match every path"),
            ("${tenant}", "`${tenant}` is not one of"),
            ("${}", "`${}` is not one of"),
            ("${site", "`${` without its `}`"),
            ("a$b", "segment 0 `a$b` is not"),
            ("${site}$", "segment 0 `${site}$` is not"),
            ("é${site}", "segment 0 `\\u{e9}${site}` is not"),
            ("${site}A", "segment 0 `${site}A` is not"),
        ] {
            let error = PathPattern::parse(bad).expect_err(bad).to_string();
            assert!(error.starts_with(wanted), "{bad}: {error}");
        }
        assert!(PathPattern::parse("a/**").is_ok());
        assert!(PathPattern::parse("${device_id}/**").is_ok());
    }

    #[test]
    fn caps_hold_at_their_edge() {
        let deep = |n: usize| vec!["a"; n].join("/");
        assert!(SecretPath::parse(&deep(16)).is_ok());
        assert_eq!(SecretPath::parse(&deep(17)), Err(PathError::TooDeep { segments: 17 }));
        let long = |n: usize| format!("{}/{}", vec!["a".repeat(127); 3].join("/"), "b".repeat(n));
        assert_eq!(long(128).len(), 512);
        assert!(SecretPath::parse(&long(128)).is_ok());
        assert_eq!(PathPattern::parse(&long(129)), Err(PathError::TooLong { bytes: 513 }));
    }

    #[test]
    fn variables_are_listed() {
        let pattern = PathPattern::parse("a/${site}-${sa}/*/**").expect("pattern");
        assert_eq!(pattern.variables().collect::<Vec<_>>(), [Variable::Site, Variable::ServiceAccount]);
    }
}
