//! The demo's Kubernetes leg: an EdgeSecret becomes a Secret on a real API server and follows its source, and one that
//! is not granted becomes none.

use crate::controller::{
    Controller, await_condition, condition, edge_secret, grant, install, open_namespace, put, register,
};
use crate::kube::KubeHost;
use crate::plant::Plant;
use crate::process::Lifetime;
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

const SITE: &str = "plant-a";
const NAMESPACE: &str = "line-1";
const PATH: &str = "plant-a/broker/password";
const KEY: &str = "password";
const LIMIT: Duration = Duration::from_mins(1);

/// What the leg started: it ends with this, or stays where it was so asked.
#[derive(Debug)]
pub struct Leg {
    /// The API server.
    pub kube: KubeHost,
    /// `holdfastd controller`.
    pub controller: Controller,
    /// What was shown, read back from the API server: `kubernetes` of the demo's report.
    pub facts: Value,
}

/// Starts etcd, kube-apiserver and the controller below the plant's folder, and shows the leg.
///
/// # Errors
/// When something did not go as it should.
pub fn kubernetes_leg(plant: &Plant, lifetime: Lifetime) -> anyhow::Result<Leg> {
    println!(
        "\n[kubernetes] starting etcd, kube-apiserver, and holdfastd controller with no right to get, list or watch Secrets"
    );
    let kube = KubeHost::start_in(&plant.root().join("kube"), lifetime)?;
    let version: Value = serde_json::from_str(&kube.kubectl(&["get", "--raw", "/version"])?)?;
    let version = word(&version["gitVersion"]).to_owned();
    install(&kube)?;
    open_namespace(&kube, NAMESPACE, &["gateway", "intruder"])?;
    let token = register(plant, &kube, SITE)?;
    let controller = Controller::start(&kube, plant.root(), Some(&token), lifetime)?;
    let site =
        await_condition(&kube, ("", "holdfastsite", "default"), ("Connected", "True", "Connected"), LIMIT)?;
    println!(
        "  kube-apiserver {version} is ready, and the controller enrolled for {SITE}: {}",
        conditions(&site)
    );

    put(plant, PATH, b"the first password")?;
    grant(plant, PATH, &format!("{SITE}/default/{NAMESPACE}/gateway"), &[])?;
    println!("\n[kubernetes] {PATH} is granted to {NAMESPACE}/gateway; two EdgeSecrets ask for it");
    ask(&kube, "gateway")?;
    let first = await_value(&kube, "gateway", b"the first password", 1)?;
    ask(&kube, "intruder")?;
    let denied = await_edge(&kube, "intruder", ("Authorized", "False", "NotGranted"))?;
    ensure!(kube.get(NAMESPACE, "secret", "intruder").is_err(), "there is a Secret for one who may not");
    println!("  there is no Secret {NAMESPACE}/intruder");

    println!("\n[kubernetes] a new version of {PATH} is written");
    put(plant, PATH, b"the second password")?;
    let second = await_value(&kube, "gateway", b"the second password", 2)?;
    let facts = json!({
        "api_server": version, "site": {"name": SITE, "conditions": site["status"]["conditions"]},
        "edge_secrets": [first, second, fact(&denied, None)],
    });
    Ok(Leg { kube, controller, facts })
}

fn ask(kube: &KubeHost, account: &str) -> anyhow::Result<()> {
    let object = edge_secret((NAMESPACE, account), account, &[(PATH, KEY)], account);
    kube.apply(&object.to_string())?;
    println!("  EdgeSecret {NAMESPACE}/{account} is created: {PATH} as `{KEY}`");
    Ok(())
}

fn await_edge(kube: &KubeHost, name: &str, wanted: (&str, &str, &str)) -> anyhow::Result<Value> {
    let edge = await_condition(kube, (NAMESPACE, "edgesecret", name), wanted, LIMIT)?;
    println!("  EdgeSecret {NAMESPACE}/{name}: {}", conditions(&edge));
    let why = condition(&edge, wanted.0).context("the condition is gone")?;
    println!("    {}", word(&why["message"]));
    Ok(edge)
}

/// Waits until the Secret holds exactly this, and its EdgeSecret says so.
fn await_value(kube: &KubeHost, name: &str, value: &[u8], version: u64) -> anyhow::Result<Value> {
    let wanted = json!({KEY: STANDARD.encode(value)});
    let secret = kube.watch_until((NAMESPACE, "secret", name), LIMIT, |secret| secret["data"] == wanted)?;
    let says_so = |edge: &Value| {
        edge["status"]["source"]["versions"][0]["version"] == version
            && condition(edge, "Ready").is_some_and(|ready| ready["status"] == "True")
    };
    kube.watch_until((NAMESPACE, "edgesecret", name), LIMIT, says_so)?;
    let edge = await_edge(kube, name, ("Ready", "True", "Synced"))?;
    println!(
        "  Secret {NAMESPACE}/{name} ({}) holds the {} bytes of version {version} under `{KEY}`, and nothing else",
        word(&secret["type"]),
        value.len()
    );
    Ok(fact(&edge, Some((&secret, &wanted))))
}

fn fact(edge: &Value, secret: Option<(&Value, &Value)>) -> Value {
    let authorized = condition(edge, "Authorized");
    json!({
        "name": format!("{NAMESPACE}/{}", word(&edge["metadata"]["name"])), "path": PATH,
        "conditions": edge["status"]["conditions"], "versions": edge["status"]["source"]["versions"],
        "reason": authorized.map(|one| &one["message"]),
        "secret": secret.map(|(secret, put)| json!({
            "name": secret["metadata"]["name"], "type": secret["type"], "equals_the_value_put": secret["data"] == *put,
        })),
    })
}

fn conditions(object: &Value) -> String {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.map(|one| format!("{}={}", word(&one["type"]), word(&one["status"]))).collect::<Vec<_>>().join(" ")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
