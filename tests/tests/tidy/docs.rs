//! The documents keep their promises: links resolve, the tests that the threat model names exist, and every reason,
//! problem type, limit and configuration key that the code knows stands on its reference page.
//!
//! Lives here: what can be read off the text of documents and sources. Must not live here: whether a sentence is true.
//! Invariant: each reader below is shown something broken and must name it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{root, tracked_files};

#[test]
fn links_in_documents_resolve() {
    let mut broken = Vec::new();
    for page in pages() {
        for (line, target) in links(&read(&page)) {
            if let Some(why) = broken_link(&page, &target) {
                broken.push(format!("{page}:{line}: {target}: {why}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(
        links("a [b](c.md) `[d](e.md)`\n```\n[f](g.md)\n```\n[h](i.md#j)"),
        [(1, "c.md".to_owned()), (5, "i.md#j".to_owned())]
    );
    assert!(broken_link("docs/README.md", "nowhere.md").is_some());
    assert!(broken_link("docs/README.md", "architecture.md#no-such-heading").is_some());
    assert!(broken_link("docs/README.md", "architecture.md#invariants").is_none());
}

#[test]
fn documents_that_sources_name_exist() {
    let files = tracked_files();
    let mut broken = Vec::new();
    for path in files.iter().filter(|path| is_source(path)) {
        for (line, named) in documents_named(&read(path)) {
            if !stands(&files, &named) {
                broken.push(format!("{path}:{line}: {named}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let planted = documents_named("see docs/nowhere.md, https://x.y/docs/z and docs/decisions/0004.");
    assert_eq!(planted, [(1, "docs/nowhere.md".to_owned()), (1, "docs/decisions/0004".to_owned())]);
    assert!(!stands(&files, "docs/nowhere.md") && stands(&files, "docs/decisions/0004"));
}

#[test]
fn tests_that_the_threat_model_names_exist() {
    const PAGE: &str = "docs/threat-model.md";
    let tests = tests_named(&read(PAGE));
    assert!(tests.len() > 50, "the threat model is not read: {} tests", tests.len());
    let broken: Vec<String> = tests
        .iter()
        .filter(|(_, file, name)| !has_test(file, name))
        .map(|(line, file, name)| format!("{PAGE}:{line}: no test `{name}` in `{file}`"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let planted = "All in `a.rs`.\n| attack | test |\n|---|---|\n| `x` | `one`, `b.rs` `two` |\n";
    let named: Vec<_> = tests_named(planted).into_iter().map(|(_, file, name)| (file, name)).collect();
    assert_eq!(named, [("a.rs".to_owned(), "one".to_owned()), ("b.rs".to_owned(), "two".to_owned())]);
    assert!(!has_test("core/trust/tests/attest/attacks.rs", "a_test_that_is_not_there"));
}

#[test]
fn every_reason_is_documented_and_every_documented_reason_is_one() {
    let mut codes = BTreeSet::new();
    let reasons = read("core/trust/src/attest/reason.rs");
    codes.extend(reasons.lines().filter_map(declared_code));
    assert!(codes.len() > 50, "the reasons of enrolment are not read: {codes:?}");
    for file in REASONS {
        let found = codes_told(&read(file));
        assert!(!found.is_empty(), "{file} tells no code");
        codes.extend(found);
    }
    let documented = first_column(&read("docs/reference/reasons.md"));
    let missing: Vec<_> = codes.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference/reasons.md: {missing:?}");
    let programs = sources_below(&["core/", "device-client/src/", "server/src/"]);
    let stale: Vec<_> = documented.iter().filter(|code| !programs.contains(&format!("\"{code}\""))).collect();
    assert!(stale.is_empty(), "in docs/reference/reasons.md and nowhere in the code: {stale:?}");
    let planted = "fn code(&self) -> u8 {\n    match self {\n    A => \"a-code\",\n    }\n}\nfn f() { B => \"not-one\" }";
    assert_eq!(codes_told(planted), ["a-code".to_owned()].into());
}

#[test]
fn every_problem_type_is_documented() {
    let service = sources_below(&["server/src/"]);
    let codes = codes_refused(&service);
    assert!(codes.len() > 50, "the refusals of the service are not read: {codes:?}");
    let page = read("docs/reference/problems.md");
    let page = page.split("## Roles").next().unwrap_or_default();
    let documented = first_column(page);
    let missing: Vec<_> = codes.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference/problems.md: {missing:?}");
    let planted = "Refusal::conflict(\n    \"too-late\",\n    x) Self::new(Kind::Gone, \"gone\", y)";
    assert_eq!(codes_refused(planted), ["gone", "too-late"].map(str::to_owned).into());
}

#[test]
fn every_limit_is_documented() {
    let page = read("docs/reference/limits.md");
    let mut missing = Vec::new();
    let mut count = 0;
    for path in tracked_files().iter().filter(|path| path.ends_with("/limits.rs") && path.contains("/src/")) {
        for name in limits_declared(&read(path)) {
            count += 1;
            if !page.contains(&format!("`{name}`")) && !page.contains(&format!("::{name}`")) {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(count > 40, "the limits are not read: {count}");
    assert!(missing.is_empty(), "not in docs/reference/limits.md:\n{}", missing.join("\n"));
    let planted = "pub const A_MAX: u8 = 1;\npub struct L {\n    pub b_len: u8,\n}\npub const fn c(x: u8) {}";
    assert_eq!(limits_declared(planted), ["A_MAX", "b_len", "c"]);
}

#[test]
fn every_configuration_key_is_documented_and_every_documented_key_is_one() {
    let keys = keys_of(&read("server/src/config/default.toml"));
    assert!(keys.contains("listen.address") && keys.contains("data_dir"), "{keys:?}");
    let page = read("docs/reference/configuration.md");
    let page = page.split("## Files").next().unwrap_or_default();
    compare("docs/reference/configuration.md", &keys, &first_column(page));
}

/// Where codes of reasons are told, beside those of enrolment.
const REASONS: [&str; 5] = [
    "core/decide/src/identity.rs",
    "core/decide/src/access.rs",
    "core/decide/src/device/state.rs",
    "core/decide/src/device/transfer.rs",
    "core/trust/src/tuf/error.rs",
];

fn compare(page: &str, known: &BTreeSet<String>, documented: &BTreeSet<String>) {
    let missing: Vec<_> = known.difference(documented).collect();
    assert!(missing.is_empty(), "not in {page}: {missing:?}");
    let stale: Vec<_> = documented.difference(known).collect();
    assert!(stale.is_empty(), "in {page} and nowhere in the code: {stale:?}");
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below these folders, one after another.
fn sources_below(folders: &[&str]) -> String {
    let below = |path: &String| is_rust(path) && folders.iter().any(|folder| path.starts_with(folder));
    tracked_files().iter().filter(|path| below(path)).map(|path| read(path)).collect()
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == "rs")
}

fn is_source(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|e| e.to_str());
    // This file speaks of documents that are not there.
    !path.ends_with("tidy/docs.rs")
        && (path == "Makefile" || extension.is_some_and(|e| ["rs", "toml", "sh", "sql"].contains(&e)))
}

fn pages() -> Vec<String> {
    tracked_files()
        .into_iter()
        .filter(|path| Path::new(path).extension().is_some_and(|e| e == "md"))
        .collect()
}

/// Targets of links, with their lines; not those in code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every other piece between backticks is code.
            for prose in line.split('`').step_by(2) {
                let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
                found.extend(targets.map(|target| (index + 1, target.to_owned())));
            }
            // A link around code: [`x`](y).
            let around = line.split("`](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(around.map(|target| (index + 1, target.to_owned())));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn broken_link(page: &str, target: &str) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let here = root().join(page);
    let path = if file.is_empty() { here } else { here.parent()?.join(file) };
    if !path.exists() {
        return Some("there is no such file".into());
    }
    if heading.is_empty() {
        return None;
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(slug);
    if headings.into_iter().any(|known| known == heading) {
        None
    } else {
        Some("there is no such heading".into())
    }
}

/// A heading as its anchor.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Paths `docs/..` in a text, with their lines; not those inside of another path or address.
fn documents_named(text: &str) -> Vec<(usize, String)> {
    let in_path = |c: char| c.is_alphanumeric() || ['/', '.', '-', '_'].contains(&c);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("docs/") {
            if line[..at].chars().next_back().is_some_and(in_path) {
                continue;
            }
            let end = line[at..].find(|c| !in_path(c)).map_or(line.len(), |length| at + length);
            let named = line[at..end].trim_end_matches('.');
            // A page, or the number of a decision; `docs/` alone and names of chapters are prose.
            if named.contains('.') || named.starts_with("docs/decisions/") {
                found.push((index + 1, named.to_owned()));
            }
        }
    }
    found
}

/// A document, a folder of them, or the number of a decision.
fn stands(files: &[String], named: &str) -> bool {
    let named = named.trim_end_matches('/');
    files.iter().any(|file| {
        file.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']))
    })
}

/// Line, file and name of each test in the tables of attacks. A file counts until the next one, or until the section
/// ends where it stands outside of a table.
fn tests_named(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut in_table = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            section.clear();
        }
        if !line.starts_with('|') {
            in_table = false;
            section = quoted(line).filter(|word| is_rust(word)).last().map_or(section, str::to_owned);
        } else if line.starts_with("| attack | test |") {
            in_table = true;
        } else if in_table {
            let mut file = section.clone();
            for word in quoted(line.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default()) {
                if is_rust(word) {
                    word.clone_into(&mut file);
                } else {
                    found.push((index + 1, file.clone(), word.to_owned()));
                }
            }
        }
    }
    found
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A function of that name, or a row of a table of tests.
fn has_test(file: &str, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(root().join(file)) else { return false };
    text.contains(&format!("fn {name}("))
        || text.lines().any(|line| line.trim_start().starts_with(&format!("{name}: ")))
}

/// The words in the first cells of a page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    rows.flat_map(|cell| cell.trim_end_matches('`').split("`, `")).map(str::to_owned).collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// `Name = "code",`
fn declared_code(line: &str) -> Option<String> {
    let (name, rest) = line.trim().split_once(" = \"")?;
    let code = rest.split('"').next()?;
    (name.chars().all(char::is_alphanumeric) && is_code(code)).then(|| code.to_owned())
}

/// `=> "code"` in functions called `code` or `as_str`.
fn codes_told(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in ["fn code(", "fn as_str("] {
        for (at, _) in text.match_indices(name) {
            let body = text[at..].split("\n    }").next().unwrap_or_default();
            let told = body.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(told.filter(|code| is_code(code)).map(str::to_owned));
        }
    }
    found
}

/// Codes that are given to a constructor of the service's refusals.
fn codes_refused(text: &str) -> BTreeSet<String> {
    const MAKERS: [&str; 5] = ["invalid(", "unauthenticated(", "forbidden(", "conflict(", "new("];
    let mut found = BTreeSet::new();
    for of in ["Refusal::", "Self::"] {
        for (at, _) in text.match_indices(of) {
            let rest = &text[at + of.len()..];
            let Some(maker) = MAKERS.iter().find(|maker| rest.starts_with(**maker)) else { continue };
            let mut argument = rest[maker.len()..].trim_start();
            if *maker == "new(" {
                let Some((kind, next)) = argument.split_once(',') else { continue };
                if !kind.starts_with("Kind::") && !kind.starts_with("K::") {
                    continue;
                }
                argument = next.trim_start();
            }
            let code = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(code.filter(|code| is_code(code)).map(str::to_owned));
        }
    }
    found
}

/// Constants, functions and fields of a file of limits.
fn limits_declared(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    };
    let declared = text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub ")?;
        if let Some(function) = rest.strip_prefix("const fn ") {
            return Some(name(function));
        }
        if let Some(constant) = rest.strip_prefix("const ") {
            return Some(name(constant));
        }
        (line.starts_with("    pub ") && rest.contains(": ") && !rest.starts_with("fn ")).then(|| name(rest))
    });
    declared.collect()
}

/// `section.key` of a TOML file of plain keys.
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}
