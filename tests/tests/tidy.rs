//! The house keeps its arrows and invariants: `docs/architecture.md`, as tests.
//!
//! Lives here: which crate may depend on which (from cargo's own metadata), which file may name what (from a scan of the
//! source with comments, texts and test modules taken out), and what the documents owe the code. Must not live here:
//! what clippy can see.
//!
//! Invariant: every rule carries one text that it must flag and one that it must let pass, so that a rule which has
//! gone blind fails, too.

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{RULES, Rule};
use source::SourceFile;

#[test]
fn every_rule_sees_what_it_forbids_and_lets_the_rest_pass() {
    for rule in RULES {
        let (path, text) = rule.flags;
        assert!((rule.covers)(path), "{}: does not even look at {path}", rule.name);
        assert!(!findings(rule, path, text).is_empty(), "{}: is blind to {text:?} in {path}", rule.name);
        let (path, text) = rule.passes;
        let found = findings(rule, path, text);
        assert!(found.is_empty(), "{}: flags {path} without cause: {found:?}", rule.name);
    }
}

#[test]
fn the_tree_keeps_every_rule() {
    let files = rust_files();
    assert!(
        files.iter().any(|path| path == "core/proto/src/lib.rs"),
        "the scan does not see the tree: {files:?}"
    );
    let mut broken = Vec::new();
    for path in &files {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let file = SourceFile::parse(path, &text);
        for rule in RULES {
            for finding in findings_in(rule, &file) {
                broken.push(format!("{finding}\n    {}: {}", rule.name, rule.reason));
            }
        }
    }
    assert!(broken.is_empty(), "{} findings:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let broken = crates::broken_arrows(&crates::members(&root()));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_dependency_against_the_arrows_is_seen() {
    crates::self_check();
}

#[test]
fn top_level_folders_are_those_of_the_architecture() {
    let unknown: Vec<String> = tracked_files()
        .iter()
        .filter_map(|path| path.split_once('/').map(|(top, _)| top.to_owned()))
        .filter(|top| !rules::is_known_folder(top))
        .collect();
    assert!(unknown.is_empty(), "a new top-level folder needs a decision record: {unknown:?}");
    assert!(rules::is_known_folder("core") && !rules::is_known_folder("utils"));
}

#[test]
fn texts_speak_of_the_product_and_not_of_how_they_were_written() {
    let mut broken = Vec::new();
    for path in tracked_files() {
        // A binary fixture holds no words.
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        broken.extend(
            rules::foreign_words(&text).into_iter().map(|(line, word)| format!("{path}:{line}: {word}")),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let planted = format!("// as an {} model, I", ["lang", "uage"].concat());
    assert_eq!(rules::foreign_words(&planted).len(), 1);
    assert!(rules::foreign_words("the maintainer said that the email is in the agent's log").is_empty());
}

fn findings(rule: &Rule, path: &str, text: &str) -> Vec<String> {
    findings_in(rule, &SourceFile::parse(path, text))
}

fn findings_in(rule: &Rule, file: &SourceFile<'_>) -> Vec<String> {
    if !(rule.covers)(file.path) {
        return Vec::new();
    }
    (rule.check)(file).into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.path)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}

/// Paths relative to the root, of all Rust files that could be built, added to git or not.
fn rust_files() -> Vec<String> {
    let mut files = Vec::new();
    walk(&root(), &mut files);
    files.retain(|path| Path::new(path).extension().is_some_and(|e| e == "rs"));
    files.sort();
    files
}

/// Paths of the files in the tree, without what git ignores.
fn tracked_files() -> Vec<String> {
    let mut files = Vec::new();
    walk(&root(), &mut files);
    files
}

fn walk(directory: &Path, files: &mut Vec<String>) {
    const SKIPPED: [&str; 6] = [".git", "target", "node_modules", ".demo", ".bench", "mutants.out"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, files);
        } else if let Ok(relative) = path.strip_prefix(root()) {
            files.push(relative.to_string_lossy().into_owned());
        }
    }
}
