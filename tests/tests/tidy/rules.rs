//! The rules about files: what each covers, what it looks for, why, and two texts that prove that it can see.

use crate::source::SourceFile;

type Finding = (usize, String);

/// One rule.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    /// Which files, by path from the workspace's root.
    pub(crate) covers: fn(&str) -> bool,
    pub(crate) check: fn(&SourceFile<'_>) -> Vec<Finding>,
    /// A path and a text that the rule must flag.
    pub(crate) flags: (&'static str, &'static str),
    /// A path and a text that it must let pass.
    pub(crate) passes: (&'static str, &'static str),
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "core is pure",
        reason: "invariant 1: core/ does no I/O, reads no clock, draws no randomness; take the value as an argument",
        covers: in_core,
        check: |file| {
            const WORLD: [&[&str]; 13] = [
                &["std", "fs"],
                &["std", "net"],
                &["std", "env"],
                &["std", "thread"],
                &["std", "process"],
                &["std", "os"],
                &["thread", "spawn"],
                &["thread", "sleep"],
                &["tokio"],
                &["getrandom"],
                &["rand"],
                &["thread_rng"],
                &["time", "Instant"],
            ];
            let mut found: Vec<Finding> = Vec::new();
            for path in WORLD {
                found.extend(each(file.lines_with_path(path), &path.join("::")));
            }
            for clock in ["SystemTime", "OsRng"] {
                found.extend(each(file.lines_with_word(clock), clock));
            }
            found
        },
        flags: ("core/decide/src/x.rs", "use std::{io, time::SystemTime};"),
        passes: ("core/decide/src/x.rs", "use std::io;\n#[cfg(test)]\nmod tests { use std::fs; }"),
    },
    Rule {
        name: "core opens no file",
        reason: "invariant 1: bytes come in through std::io traits",
        covers: in_core,
        check: |file| named_paths(file, &[&["std", "fs"], &["File", "open"], &["TcpStream", "connect"]]),
        flags: ("core/trust/src/x.rs", "fn f() { std::fs::read(\"x\"); }"),
        passes: ("core/trust/src/x.rs", "// std::fs::read is for adapters\nfn f(bytes: &[u8]) {}"),
    },
    Rule {
        name: "a panic in core is argued",
        reason: "style: `unwrap` only under a comment `// Unwrap safety: why`, never on bytes from outside",
        covers: in_core,
        check: unargued_panics,
        flags: ("core/proto/src/x.rs", "fn f(x: Option<u8>) -> u8 {\n    x.unwrap()\n}"),
        passes: (
            "core/proto/src/x.rs",
            "fn f() -> u8 {\n    // Unwrap safety: the literal is a number.\n    \"7\".parse().unwrap()\n}",
        ),
    },
    Rule {
        name: "http does not reach the database",
        reason: "http.rs -> ops.rs -> sql.rs: a handler calls its noun's ops",
        covers: |path| in_server(path) && named(path, "http"),
        check: |file| {
            let mut found = each(lines_with_segment(file, "sql"), "sql::");
            found.extend(each(lines_with_segment(file, "sqlx"), "sqlx::"));
            found
        },
        flags: ("server/src/device/http.rs", "use super::{ops, sql};"),
        passes: ("server/src/device/http.rs", "use super::ops;"),
    },
    Rule {
        name: "sql does not know http",
        reason: "sql.rs stands below ops.rs: rows in, rows out, `Option` for not found",
        covers: |path| in_server(path) && named(path, "sql"),
        check: |file| {
            let mut found = each(lines_with_segment(file, "http"), "http::");
            found.extend(each(lines_with_segment(file, "axum"), "axum::"));
            found
        },
        flags: ("server/src/device/sql.rs", "use crate::http::problem::Problem;"),
        passes: ("server/src/device/sql.rs", "use crate::db::Tx;"),
    },
    Rule {
        name: "no noun reads another noun's tables",
        reason: "call its ops: the rules about a table stand in one place",
        covers: in_server,
        check: foreign_sql,
        flags: ("server/src/rollout/ops.rs", "use crate::device::sql::find;"),
        passes: ("server/src/device/ops.rs", "use crate::device::sql::find;\nuse super::sql;"),
    },
    Rule {
        name: "one file knows status codes",
        reason: "invariant 10: errors become status codes in server/src/http/problem.rs alone",
        covers: |path| in_server(path) && path != "server/src/http/problem.rs",
        check: |file| each(file.lines_with_word("StatusCode"), "StatusCode"),
        flags: ("server/src/device/http.rs", "use axum::http::StatusCode;"),
        passes: ("server/src/device/http.rs", "use crate::http::problem::Problem;"),
    },
    Rule {
        name: "one file writes to Kubernetes",
        reason: "invariant 10: server/src/k8s/apply.rs is the only writer",
        covers: |path| in_server(path) && path != "server/src/k8s/apply.rs",
        check: |file| {
            if lines_with_segment(file, "kube").is_empty() {
                return Vec::new();
            }
            let mut found = Vec::new();
            for word in ["Patch", "PatchParams", "PostParams", "DeleteParams"] {
                found.extend(each(file.lines_with_word(word), word));
            }
            for call in [".create(", ".delete(", ".patch(", ".patch_status(", ".replace(", ".replace_status("]
            {
                found.extend(each(file.lines_with(call), call));
            }
            found
        },
        flags: ("server/src/k8s/edge_secret.rs", "use kube::Api;\nfn f(a: Api<X>) { a.delete(\"x\"); }"),
        passes: ("server/src/device/ops.rs", "fn f(rows: &mut Rows) { rows.delete(\"x\"); }"),
    },
    Rule {
        name: "metadata is signed in one place of each program",
        reason: "invariant 10: `tough` is named only where metadata is signed; everybody else verifies with core/trust",
        covers: |path| {
            let desk = path == "server/src/repo/sign.rs"
                || path.starts_with("cli/src/desk/")
                || path == "cli/src/desk.rs";
            !desk && !is_test_code(path)
        },
        check: |file| each(lines_with_segment(file, "tough"), "tough::"),
        flags: ("server/src/repo/publish.rs", "use tough::schema::Signed;"),
        passes: ("server/src/repo/sign.rs", "use tough::schema::Signed;"),
    },
    Rule {
        name: "nothing imports the roles",
        reason: "server/src/role/ wires and is wired by main alone",
        covers: |path| {
            in_server(path) && !path.starts_with("server/src/role") && !path.ends_with("src/main.rs")
        },
        check: |file| named_paths(file, &[&["crate", "role"]]),
        flags: ("server/src/device/work.rs", "use crate::role::worker;"),
        passes: ("server/src/main.rs", "use crate::role::worker;"),
    },
    Rule {
        name: "the database layer knows no noun",
        reason: "db/ holds the pool, named transactions, compare-and-set and leases; no tables, no words of http",
        covers: |path| path.starts_with("server/src/db/"),
        check: |file| {
            const ABOVE: [&str; 16] = [
                "audit",
                "authority",
                "checkin",
                "console",
                "device",
                "door",
                "enroll",
                "grant",
                "http",
                "k8s",
                "operator",
                "release",
                "repo",
                "role",
                "rollout",
                "secret",
            ];
            ABOVE.iter().flat_map(|room| named_paths(file, &[&["crate", room]])).collect()
        },
        flags: ("server/src/db/lease.rs", "use crate::rollout::ops;"),
        passes: ("server/src/db/lease.rs", "use crate::clock::Clock;"),
    },
    Rule {
        name: "device and server share core and tpm alone",
        reason: "invariant 7",
        covers: |path| path.starts_with("device-client/src/") || in_server(path) || in_core(path),
        check: |file| {
            let other: &[&str] = if file.path.starts_with("device-client/") {
                &["holdfast_server", "holdfast_cli"]
            } else {
                &["holdfast_device_client", "holdfast_cli"]
            };
            other.iter().flat_map(|name| each(file.lines_with_word(name), name)).collect()
        },
        flags: ("device-client/src/net.rs", "use holdfast_server::http;"),
        passes: ("device-client/src/net.rs", "use holdfast_proto::api;"),
    },
    Rule {
        name: "only core/trust believes",
        reason: "invariant 2: a `Verified` is made after the last check, inside of core/trust",
        covers: |path| path.contains("/src/") && !path.starts_with("core/trust/src/"),
        check: |file| each(file.lines_with_word("after_all_checks"), "after_all_checks"),
        flags: ("server/src/enroll/ops.rs", "let x = Verified::after_all_checks(claim);"),
        passes: ("core/trust/src/attest/verify.rs", "let x = Verified::after_all_checks(claim);"),
    },
    Rule {
        name: "what is secret has no Debug",
        reason: "invariant 11: a type that zeroizes is never printed; write its Debug by hand, or none",
        covers: |path| path.contains("/src/"),
        check: secrets_with_debug,
        flags: (
            "server/src/x.rs",
            "#[derive(Clone, Debug)]\npub struct Key {\n    pub bytes: Zeroizing<Vec<u8>>,\n}",
        ),
        passes: (
            "server/src/x.rs",
            "#[derive(Debug)]\nstruct Name(String);\n#[derive(Clone)]\nstruct Key(Zeroizing<Vec<u8>>);",
        ),
    },
    Rule {
        name: "what can be done knows who asks, and no more of http",
        reason: "ops.rs takes the actor that the guard made; requests, answers and status codes are http.rs's",
        covers: |path| in_server(path) && named(path, "ops"),
        check: |file| {
            let mut found = each(lines_with_segment(file, "axum"), "axum::");
            for room in ["frame", "limit", "listen", "problem", "tls"] {
                found.extend(named_paths(file, &[&["http", room]]));
            }
            found
        },
        flags: ("server/src/device/ops.rs", "use crate::http::problem::Problem;"),
        passes: ("server/src/device/ops.rs", "use crate::http::auth::Operator;"),
    },
    Rule {
        name: "one file draws the service's randomness",
        reason: "server/src/chance.rs: everything else takes the value, or asks it by name",
        covers: |path| in_server(path) && path != "server/src/chance.rs",
        check: |file| named_paths(file, &[&["aws_lc_rs", "rand"], &["getrandom"], &["rand"]]),
        flags: ("server/src/device/token.rs", "use aws_lc_rs::rand::SystemRandom;"),
        passes: ("server/src/chance.rs", "use aws_lc_rs::rand::SystemRandom;"),
    },
    Rule {
        name: "an ignored test says why",
        reason: "`#[ignore = \"reason\"]`",
        covers: |_| true,
        check: |file| each(file.lines_with("#[ignore]"), "#[ignore] without a reason"),
        flags: ("tests/tests/x.rs", "#[test]\n#[ignore]\nfn f() {}"),
        passes: ("tests/tests/x.rs", "#[test]\n#[ignore = \"needs an hour\"]\nfn f() {}"),
    },
    Rule {
        name: "an excepted lint says why",
        reason: "`#[expect(.., reason = \"..\")]`; `allow` only where it is not always needed, with its reason, too",
        covers: |_| true,
        check: unargued_exceptions,
        flags: ("server/src/x.rs", "#[expect(dead_code)]\nfn f() {}"),
        passes: ("server/src/x.rs", "#[expect(dead_code, reason = \"held\")]\nfn f() {}"),
    },
    Rule {
        name: "nothing is left to be done in a comment",
        reason: "do it, or write it where it is planned",
        covers: |_| true,
        check: |file| {
            let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
            let holds = |line: &str| {
                line.split(|c: char| !c.is_alphanumeric()).any(|word| marks.iter().any(|m| m == word))
            };
            let lines = file.text.lines().enumerate().filter(|(_, line)| holds(line));
            lines.map(|(index, line)| (index + 1, line.trim().to_owned())).collect()
        },
        flags: ("server/src/x.rs", concat!("fn f() {} // TO", "DO: more")),
        passes: ("server/src/x.rs", "fn f() {} // done"),
    },
];

fn in_core(path: &str) -> bool {
    path.starts_with("core/") && path.contains("/src/") && !is_test_code(path)
}

fn in_server(path: &str) -> bool {
    path.starts_with("server/src/") && !path.starts_with("server/src/testing") && !is_test_code(path)
}

fn is_test_code(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/examples/")
}

/// `server/src/device/http.rs` and what stands in `server/src/device/http/`, for "http"; not `server/src/http/`,
/// which is what the handlers stand on.
fn named(path: &str, name: &str) -> bool {
    let inside = path.strip_prefix("server/src/").unwrap_or(path);
    let parts: Vec<&str> = inside.split('/').collect();
    parts.len() > 1 && parts[1..].iter().any(|part| part.strip_suffix(".rs").unwrap_or(part) == name)
}

fn each(lines: Vec<usize>, what: &str) -> Vec<Finding> {
    lines.into_iter().map(|line| (line, format!("names {what}"))).collect()
}

fn named_paths(file: &SourceFile<'_>, paths: &[&[&str]]) -> Vec<Finding> {
    paths.iter().flat_map(|path| each(file.lines_with_path(path), &path.join("::"))).collect()
}

/// Lines that name a module or crate `name`: as the first of several segments, after `::`, or in a `use`.
fn lines_with_segment(file: &SourceFile<'_>, name: &str) -> Vec<usize> {
    let holds = |path: &[String]| path.len() > 1 && path.iter().any(|segment| segment == name);
    file.paths.iter().filter(|(_, path)| holds(path)).map(|(line, _)| *line).collect()
}

/// Paths `noun::sql` in a file that does not belong to that noun.
fn foreign_sql(file: &SourceFile<'_>) -> Vec<Finding> {
    let inside = file.path.strip_prefix("server/src/").unwrap_or(file.path);
    let own = inside.split('/').next().unwrap_or_default();
    let mut found = Vec::new();
    for (line, path) in &file.paths {
        for pair in path.windows(2) {
            let [noun, sql] = pair else { continue };
            let near = ["self", "super", "crate"].contains(&noun.as_str()) || noun == own;
            if sql == "sql" && !near {
                found.push((*line, format!("names {noun}::sql")));
            }
        }
    }
    found
}

/// Calls that panic, with no argument for it on the same line or the four above.
fn unargued_panics(file: &SourceFile<'_>) -> Vec<Finding> {
    const CALLS: [&str; 6] =
        [".unwrap()", ".expect(\"", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];
    let text: Vec<&str> = file.text.lines().collect();
    let argued = |line: usize| {
        let above = &text[line.saturating_sub(5)..line.min(text.len())];
        above.iter().any(|l| l.contains("Unwrap safety"))
    };
    let calls =
        CALLS.iter().flat_map(|call| file.lines_with(call).into_iter().map(move |line| (line, *call)));
    calls
        .filter(|(line, _)| !argued(*line))
        .map(|(line, call)| (line, format!("{call} without an argument")))
        .collect()
}

/// Types that derive Debug over something that zeroizes.
fn secrets_with_debug(file: &SourceFile<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in file.code.match_indices("#[derive(") {
        let rest = &file.code[at..];
        let derived = rest.split(')').next().unwrap_or_default();
        // A type ends with the brace at the line's beginning, or with its own line.
        let body = rest.split_once(']').map_or("", |(_, after)| after);
        let first_line_end = body.find([';', '{']).unwrap_or(body.len());
        let end = if body[first_line_end..].starts_with('{') { body.find('}') } else { Some(first_line_end) };
        let body = &body[..end.unwrap_or(body.len())];
        if derived.contains("Debug") && body.contains("Zeroizing<") {
            found.push((file.code[..at].lines().count(), "derives Debug over Zeroizing".to_owned()));
        }
    }
    found
}

/// Exceptions from lints without `reason`.
fn unargued_exceptions(file: &SourceFile<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for mark in ["[expect(", "[allow("] {
        for (at, _) in file.code.match_indices(mark) {
            let attribute = file.code[at..].split(")]").next().unwrap_or_default();
            if !attribute.contains("reason = ") {
                found.push((file.code[..at].lines().count(), format!("{mark}..)] without a reason")));
            }
        }
    }
    found
}

/// The rooms of the architecture, and what git, cargo and CI need.
pub(crate) fn is_known_folder(name: &str) -> bool {
    const KNOWN: [&str; 13] = [
        "core",
        "tpm",
        "device-client",
        "server",
        "cli",
        "migrations",
        "charts",
        "tests",
        "fuzz",
        "docs",
        ".cargo",
        ".ci",
        ".github",
    ];
    KNOWN.contains(&name)
}

/// Words that speak of the making of a text and not of the product, with their lines. Written in pieces, so that this
/// file holds none of them.
pub(crate) fn foreign_words(text: &str) -> Vec<(usize, String)> {
    const PIECES: [[&str; 2]; 9] = [
        ["anth", "ropic"],
        ["clau", "de"],
        ["chat", "gpt"],
        ["open", "ai"],
        ["copi", "lot"],
        ["language ", "model"],
        ["ai-gene", "rated"],
        ["generated by ", "ai"],
        ["co-auth", "ored-by"],
    ];
    let is_word = |c: char| c.is_alphanumeric();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for pieces in PIECES {
            let word = pieces.concat();
            let whole = line.match_indices(&word).any(|(at, _)| {
                let before = line[..at].chars().next_back().is_some_and(is_word);
                let after = line[at + word.len()..].chars().next().is_some_and(is_word);
                !before && !after
            });
            if whole {
                found.push((index + 1, word));
            }
        }
    }
    found
}
