//! Label selectors in Kubernetes' syntax: `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`.
//!
//! Here: parsing and matching. Not here: where labels come from.
//! Invariant: the parser is total and bounded; a selector that parses always terminates in matching.

use crate::limits::{LABEL_KEY_MAX_BYTES, LABEL_MAX_BYTES, SELECTOR_MAX_BYTES, SELECTOR_MAX_TERMS};
use std::fmt;

/// A parsed selector: all of its requirements must hold. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One comma-separated term.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In {
        key: String,
        values: Vec<String>,
    },
    /// Matches where the label is absent, too, as in Kubernetes.
    NotIn {
        key: String,
        values: Vec<String>,
    },
    Exists {
        key: String,
    },
    Absent {
        key: String,
    },
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("the selector has {bytes} bytes, at most {SELECTOR_MAX_BYTES} are allowed")]
    TooLong { bytes: usize },
    #[error("the selector has more than {SELECTOR_MAX_TERMS} terms or values in a list")]
    TooManyTerms,
    #[error("unexpected {found} at byte {at}, expected {expected}")]
    Unexpected { at: usize, found: String, expected: &'static str },
    #[error("`{text}` is no label key ([prefix/]name, letters, digits, `-`, `_`, `.`)")]
    BadKey { text: String },
    #[error("`{text}` is no label value (at most 63 letters, digits, `-`, `_`, `.`)")]
    BadValue { text: String },
}

impl Selector {
    /// Reads a selector; the empty text matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_MAX_BYTES {
            return Err(SelectorError::TooLong { bytes: text.len() });
        }
        let mut parser = Parser { tokens: tokenize(text)?, next: 0, end: text.len() };
        let mut requirements = Vec::new();
        if parser.peek().is_none() {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(parser.requirement()?);
            if requirements.len() > SELECTOR_MAX_TERMS {
                return Err(SelectorError::TooManyTerms);
            }
            match parser.take() {
                None => return Ok(Self { requirements }),
                Some((_, Token::Comma)) => {}
                Some((at, token)) => return Err(unexpected(at, &token, "`,` or the end")),
            }
        }
    }

    /// True if every requirement holds over the labels that `label` finds.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In { key, values } => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn { key, values } => !label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::Exists { key } => label(key).is_some(),
            Requirement::Absent { key } => label(key).is_none(),
        })
    }

    /// True if it names no requirement, so matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// A key and a value that every match must have, if there is one; `id` before all others.
    pub(crate) fn required_label(&self) -> Option<(&str, &str)> {
        let exact = self.requirements.iter().filter_map(|r| match r {
            Requirement::In { key, values } if values.len() == 1 => {
                Some((key.as_str(), values.first()?.as_str()))
            }
            _ => None,
        });
        exact.min_by_key(|(key, _)| *key != "id")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In { key, values } if values.len() == 1 => {
                    write!(f, "{key}={}", values.join(","))?;
                }
                Requirement::In { key, values } => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn { key, values } if values.len() == 1 => {
                    write!(f, "{key}!={}", values.join(","))?;
                }
                Requirement::NotIn { key, values } => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists { key } => f.write_str(key)?,
                Requirement::Absent { key } => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// True for a label key: `[prefix/]name`.
pub fn is_label_key(text: &str) -> bool {
    let name = match text.split_once('/') {
        Some((prefix, name)) if !prefix.is_empty() && is_word(prefix) => name,
        Some(_) => return false,
        None => text,
    };
    text.len() <= LABEL_KEY_MAX_BYTES && !name.is_empty() && name.len() <= LABEL_MAX_BYTES && is_word(name)
}

/// True for a label value; the empty one is a value.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || (text.len() <= LABEL_MAX_BYTES && is_word(text))
}

/// Letters, digits, `-`, `_`, `.`; a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Equals,
    NotEquals,
    Not,
    Open,
    Close,
}

fn tokenize(text: &str) -> Result<Vec<(usize, Token)>, SelectorError> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let token = match c {
            ' ' | '\t' => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' => {
                chars.next_if(|(_, c)| *c == '=');
                Token::Equals
            }
            '!' if chars.next_if(|(_, c)| *c == '=').is_some() => Token::NotEquals,
            '!' => Token::Not,
            c if is_word_char(c) => {
                let mut word = c.to_string();
                while let Some((_, c)) = chars.next_if(|(_, c)| is_word_char(*c)) {
                    word.push(c);
                }
                Token::Word(word)
            }
            other => {
                let found = format!("`{}`", other.escape_default());
                return Err(SelectorError::Unexpected { at, found, expected: "a label, an operator or `,`" });
            }
        };
        tokens.push((at, token));
    }
    Ok(tokens)
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self) -> Option<(usize, Token)> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Some(&Token::Not) {
            self.take();
            return Ok(Requirement::Absent { key: self.key()? });
        }
        let key = self.key()?;
        match self.peek() {
            Some(Token::Equals) => Ok(Requirement::In { key, values: self.single()? }),
            Some(Token::NotEquals) => Ok(Requirement::NotIn { key, values: self.single()? }),
            Some(Token::Word(word)) if word == "in" => Ok(Requirement::In { key, values: self.list()? }),
            Some(Token::Word(word)) if word == "notin" => {
                Ok(Requirement::NotIn { key, values: self.list()? })
            }
            _ => Ok(Requirement::Exists { key }),
        }
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let text = self.word("a label key")?;
        if is_label_key(&text) { Ok(text) } else { Err(SelectorError::BadKey { text }) }
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        let text = self.word("a label value")?;
        if is_label_value(&text) { Ok(text) } else { Err(SelectorError::BadValue { text }) }
    }

    /// After `=` or `!=`; nothing there is the empty value.
    fn single(&mut self) -> Result<Vec<String>, SelectorError> {
        self.take();
        match self.peek() {
            None | Some(Token::Comma) => Ok(vec![String::new()]),
            Some(_) => Ok(vec![self.value()?]),
        }
    }

    /// After `in` or `notin`.
    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        self.take();
        match self.take() {
            Some((_, Token::Open)) => {}
            Some((at, token)) => return Err(unexpected(at, &token, "`(`")),
            None => return Err(self.ended("`(`")),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if values.len() > SELECTOR_MAX_TERMS {
                return Err(SelectorError::TooManyTerms);
            }
            match self.take() {
                Some((_, Token::Close)) => return Ok(values),
                Some((_, Token::Comma)) => {}
                Some((at, token)) => return Err(unexpected(at, &token, "`,` or `)`")),
                None => return Err(self.ended("`,` or `)`")),
            }
        }
    }

    fn word(&mut self, expected: &'static str) -> Result<String, SelectorError> {
        match self.take() {
            Some((_, Token::Word(word))) => Ok(word),
            Some((at, token)) => Err(unexpected(at, &token, expected)),
            None => Err(self.ended(expected)),
        }
    }

    fn ended(&self, expected: &'static str) -> SelectorError {
        SelectorError::Unexpected { at: self.end, found: "the end".into(), expected }
    }
}

fn unexpected(at: usize, token: &Token, expected: &'static str) -> SelectorError {
    let found = match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Comma => "`,`".into(),
        Token::Equals => "`=`".into(),
        Token::NotEquals => "`!=`".into(),
        Token::Not => "`!`".into(),
        Token::Open => "`(`".into(),
        Token::Close => "`)`".into(),
    };
    SelectorError::Unexpected { at, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &'static str)]) -> bool {
        let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
        parsed.matches(|k| labels.iter().find(|(l, _)| *l == k).map(|(_, v)| *v))
    }

    #[test]
    fn every_operator_matches_as_kubernetes_says() {
        let hub = [("model", "hub"), ("ring", "a"), ("note", "")];
        for (selector, wanted) in [
            ("", true),
            ("  ", true),
            ("model=hub", true),
            ("model==hub", true),
            ("model=hut", false),
            ("absent=hub", false),
            ("model!=hub", false),
            ("model != hut", true),
            ("absent!=x", true),
            ("ring in (a,b)", true),
            ("ring in (b, c)", false),
            ("absent in (a)", false),
            ("ring notin (a,b)", false),
            ("ring notin (b)", true),
            ("absent notin (b)", true),
            ("ring", true),
            ("absent", false),
            ("!ring", false),
            ("!absent", true),
            ("note=", true),
            ("ring=", false),
            ("note!=", false),
            ("model=hub,ring=a", true),
            ("model=hub,ring=b", false),
            ("model=hut,ring=a", false),
            ("model=hub,!absent,ring in (a)", true),
        ] {
            assert_eq!(matches(selector, &hub), wanted, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_place() {
        for (bad, wanted) in [
            (",", "unexpected `,` at byte 0"),
            ("a,", "unexpected the end at byte 2"),
            ("a,,b", "unexpected `,` at byte 2"),
            ("=a", "unexpected `=` at byte 0"),
            ("a b", "unexpected `b` at byte 2"),
            ("a in", "unexpected the end at byte 4"),
            ("a in b", "unexpected `b` at byte 5"),
            ("a in ()", "unexpected `)` at byte 6"),
            ("a in (b", "unexpected the end at byte 7"),
            ("a in (b c)", "unexpected `c` at byte 8"),
            ("!", "unexpected the end at byte 1"),
            ("!a=b", "unexpected `=` at byte 2"),
            ("a=b=c", "unexpected `=` at byte 3"),
            ("a=(b)", "unexpected `(` at byte 2"),
            ("a>1", "unexpected `>` at byte 1"),
            ("é=1", "unexpected `\\u{e9}` at byte 0"),
            ("a=b\n", "unexpected `\\n` at byte 3"),
            ("-a=b", "`-a` is no label key"),
            ("a-=b", "`a-` is no label key"),
            ("/a=b", "`/a` is no label key"),
            ("x/=b", "`x/` is no label key"),
            ("x/y/z=b", "`x/y/z` is no label key"),
            ("a=b/c", "`b/c` is no label value"),
            ("a=-b", "`-b` is no label value"),
        ] {
            let error = Selector::parse(bad).expect_err(bad).to_string();
            assert!(error.starts_with(wanted), "{bad}: {error}");
        }
    }

    #[test]
    fn caps_hold_at_their_edge() {
        let value = |n: usize| format!("a={}", "x".repeat(n));
        assert!(Selector::parse(&value(63)).is_ok());
        assert!(matches!(Selector::parse(&value(64)), Err(SelectorError::BadValue { .. })));
        assert!(is_label_key(&format!("{}/{}", "p".repeat(253), "n".repeat(63))));
        assert!(!is_label_key(&format!("{}/{}", "p".repeat(254), "n".repeat(63))));
        assert!(!is_label_key(&"n".repeat(64)));
        let terms = |n: usize| vec!["a=b"; n].join(",");
        assert!(Selector::parse(&terms(32)).is_ok());
        assert_eq!(Selector::parse(&terms(33)), Err(SelectorError::TooManyTerms));
        let list = |n: usize| format!("a in ({})", vec!["b"; n].join(","));
        assert!(Selector::parse(&list(32)).is_ok());
        assert_eq!(Selector::parse(&list(33)), Err(SelectorError::TooManyTerms));
        assert!(Selector::parse(&" ".repeat(1024)).is_ok());
        assert_eq!(Selector::parse(&" ".repeat(1025)), Err(SelectorError::TooLong { bytes: 1025 }));
    }

    #[test]
    fn it_prints_what_parses_to_itself() {
        for text in ["", "a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "x/a=b,!c,d"] {
            let parsed = Selector::parse(text).expect(text);
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.is_empty(), text.is_empty());
        }
    }

    #[test]
    fn the_required_label_is_one_that_every_match_has_and_prefers_the_id() {
        let required = |text: &str| {
            let parsed = Selector::parse(text).expect(text);
            parsed.required_label().map(|(k, v)| format!("{k}={v}"))
        };
        assert_eq!(required("a!=b,c=d,id=x").as_deref(), Some("id=x"));
        assert_eq!(required("a=b,c=d").as_deref(), Some("a=b"));
        assert_eq!(required("a in (b,c),!d,e"), None);
        assert_eq!(required(""), None);
    }
}
