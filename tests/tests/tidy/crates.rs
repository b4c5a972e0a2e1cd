//! The rules about crates: which of ours may depend on which, and what never enters the core.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A member of the workspace with what it needs to be built (not what its tests need).
pub(crate) struct Member {
    name: String,
    folder: String,
    needs: Vec<Need>,
}

struct Need {
    name: String,
    features: Vec<String>,
}

const CORE: [&str; 4] = ["holdfast-proto", "holdfast-trust", "holdfast-delta", "holdfast-decide"];

/// The arrows between our own crates: `docs/architecture.md`, "Direction of dependencies".
fn may_need(name: &str) -> Option<&'static [&'static str]> {
    const IN_CORE: [&str; 5] =
        ["holdfast-proto", "holdfast-trust", "holdfast-delta", "holdfast-decide", "holdfast-tpm"];
    Some(match name {
        "holdfast-proto" | "holdfast-tpm" => &[],
        "holdfast-trust"
        | "holdfast-delta"
        | "holdfast-decide"
        | "holdfast-server"
        | "holdfast-device-client" => &IN_CORE,
        "holdfast-cli" => &["holdfast-proto", "holdfast-trust"],
        _ => return None,
    })
}

/// What never enters the core as a direct dependency: I/O, clocks, randomness, providers of cryptographic keys.
const NEVER_IN_CORE: [&str; 22] = [
    "tokio",
    "async-std",
    "sqlx",
    "axum",
    "hyper",
    "reqwest",
    "ureq",
    "kube",
    "k8s-openapi",
    "rand",
    "getrandom",
    "chrono",
    "uuid",
    "fastrand",
    "rustls",
    "ring",
    "aws-lc-rs",
    "rustix",
    "nix",
    "libc",
    "tempfile",
    "tough",
];

/// Features that belong to one side alone: (whose, feature, who may ask for it).
const ONE_SIDED: [(&str, &str, &[&str]); 2] = [
    ("holdfast-tpm", "device", &["holdfast-device-client", "holdfast-tests"]),
    ("holdfast-delta", "encode", &["holdfast-server", "holdfast-tests"]),
];

/// Who may link `tough`: those who sign.
const SIGNERS: [&str; 3] = ["holdfast-server", "holdfast-cli", "holdfast-tests"];

/// The workspace as cargo sees it.
pub(crate) fn members(root: &Path) -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&serde_json::from_slice(&output.stdout).unwrap(), &root.to_string_lossy())
}

fn parse(metadata: &Value, root: &str) -> Vec<Member> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| Member {
            name: text(&package["name"]),
            folder: text(&package["manifest_path"])
                .replace(root, "")
                .replace("/Cargo.toml", "")
                .trim_matches('/')
                .into(),
            needs: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                // `kind` is null for what is needed to run, "dev" for tests, "build" for build scripts.
                .filter(|need| need["kind"].is_null())
                .map(|need| Need { name: text(&need["name"]), features: words(&need["features"]) })
                .collect(),
        })
        .collect()
}

/// Every dependency against the arrows, in words.
pub(crate) fn broken_arrows(members: &[Member]) -> Vec<String> {
    let mut broken = Vec::new();
    for member in members {
        let in_core = CORE.contains(&member.name.as_str());
        if in_core != member.folder.starts_with("core/") {
            broken.push(format!(
                "{} stands in {}: core/ holds {CORE:?} and nothing else",
                member.name, member.folder
            ));
        }
        for need in &member.needs {
            broken.extend(broken_arrow(member, need, in_core));
        }
    }
    broken
}

fn broken_arrow(member: &Member, need: &Need, in_core: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let (name, needs) = (member.name.as_str(), need.name.as_str());
    if needs.starts_with("holdfast-") && may_need(name).is_some_and(|allowed| !allowed.contains(&needs)) {
        broken.push(format!("{name} -> {needs}: the architecture has no such arrow"));
    }
    if in_core && NEVER_IN_CORE.contains(&needs) {
        broken.push(format!("{name} -> {needs}: invariant 1, core does no I/O and draws no randomness"));
    }
    if needs == "tough" && !SIGNERS.contains(&name) {
        broken.push(format!("{name} -> tough: invariant 10, named only where metadata is signed"));
    }
    for (whose, feature, who) in ONE_SIDED {
        if needs == whose && need.features.iter().any(|f| f == feature) && !who.contains(&name) {
            broken.push(format!("{name} -> {needs} with `{feature}`: only {who:?} may"));
        }
    }
    broken
}

/// Plants one dependency of every forbidden sort and expects each to be named, and nothing else.
pub(crate) fn self_check() {
    let planted = serde_json::json!({"packages": [
        package("holdfast-decide", "core/decide", &[("tokio", &[]), ("rand_core", &[]), ("holdfast-proto", &[])]),
        package("holdfast-trust", "core/trust", &[("holdfast-tpm", &["device"]), ("tough", &[])]),
        package("holdfast-cli", "cli", &[("holdfast-server", &[]), ("holdfast-trust", &[]), ("tough", &[])]),
        package("holdfast-device-client", "device-client", &[("holdfast-delta", &["encode"]), ("tokio", &[])]),
        package("holdfast-extra", "core/extra", &[]),
    ]});
    let broken = broken_arrows(&parse(&planted, "/work"));
    let expected = [
        "holdfast-decide -> tokio: inv",
        "holdfast-trust -> holdfast-tpm with `device`",
        "holdfast-trust -> tough: invariant 1,",
        "holdfast-trust -> tough: invariant 10,",
        "holdfast-cli -> holdfast-server: the architecture",
        "holdfast-device-client -> holdfast-delta with `encode`",
        "holdfast-extra stands in core/extra",
    ];
    assert_eq!(broken.len(), expected.len(), "{broken:#?}");
    for text in expected {
        assert!(broken.iter().any(|line| line.starts_with(text)), "{text:?} is not in {broken:#?}");
    }
}

fn package(name: &str, folder: &str, needs: &[(&str, &[&str])]) -> Value {
    let needs: Vec<Value> = needs
        .iter()
        .map(|(name, features)| serde_json::json!({"name": name, "kind": null, "features": features}))
        .collect();
    serde_json::json!({"name": name, "manifest_path": format!("/work/{folder}/Cargo.toml"), "dependencies": needs})
}
