//! The demo's Kubernetes leg: an EdgeSecret becomes a Secret on a real API server, and one that is not granted does not.

use crate::controller::{
    Controller, admit, await_condition, condition, edge_secret, grant, install, put, register,
};
use crate::kube::KubeHost;
use crate::plant::Plant;
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

const SITE: &str = "plant-a";
const NAMESPACE: &str = "line-1";
const LIMIT: Duration = Duration::from_secs(60);

/// Starts etcd, kube-apiserver and the controller, shows the leg, ends them. What it showed, as rows of the report's
/// `secrets`.
///
/// # Errors
/// When something did not go as it should.
pub fn kubernetes_leg(plant: &Plant) -> anyhow::Result<Vec<Value>> {
    println!(
        "\n[kubernetes] starting etcd and kube-apiserver, and holdfastd controller with no right to read Secrets"
    );
    let kube = KubeHost::start()?;
    install(&kube)?;
    kube.create_namespace(NAMESPACE)?;
    admit(&kube, NAMESPACE)?;
    for account in ["gateway", "intruder"] {
        kube.create_service_account(NAMESPACE, account)?;
    }
    let token = register(plant, &kube, SITE)?;
    let _controller = Controller::start(&kube, plant.root(), Some(&token))?;
    let site =
        await_condition(&kube, ("", "holdfastsite", "default"), ("Connected", "True", "Connected"), LIMIT)?;
    let fenced = condition(&site, "Fenced").context("the site does not say whether it is fenced")?;
    println!(
        "  the controller enrolled for {SITE}; Fenced={}: {}",
        word(&fenced["status"]),
        word(&fenced["message"])
    );

    let path = "plant-a/broker/password";
    put(plant, path, b"a password for a pod")?;
    grant(plant, path, &format!("{SITE}/default/{NAMESPACE}/gateway"), &[])?;
    println!("\n[kubernetes] {path} is granted to {NAMESPACE}/gateway; two EdgeSecrets ask for it");
    let may = show(&kube, "gateway", path, ("Ready", "True", "Synced"))?;
    let secret = kube.get(NAMESPACE, "secret", "gateway")?;
    let bytes =
        STANDARD.decode(secret["data"]["password"].as_str().context("the Secret has no such key")?)?;
    ensure!(bytes == b"a password for a pod", "the Secret holds other bytes");
    println!(
        "  Secret {NAMESPACE}/gateway holds {} bytes under `password`, type {}",
        bytes.len(),
        word(&secret["type"])
    );
    let may_not = show(&kube, "intruder", path, ("Authorized", "False", "NotGranted"))?;
    ensure!(kube.get(NAMESPACE, "secret", "intruder").is_err(), "there is a Secret for one who may not");
    println!("  {NAMESPACE}/intruder gets no Secret");
    Ok(vec![may, may_not])
}

fn show(kube: &KubeHost, account: &str, path: &str, wanted: (&str, &str, &str)) -> anyhow::Result<Value> {
    kube.apply(&edge_secret((NAMESPACE, account), account, &[(path, "password")], account).to_string())?;
    let object = await_condition(kube, (NAMESPACE, "edgesecret", account), wanted, LIMIT)?;
    let authorized = condition(&object, "Authorized").context("no condition Authorized")?;
    println!(
        "  EdgeSecret {NAMESPACE}/{account}: Authorized={} ({})",
        word(&authorized["status"]),
        word(&authorized["message"])
    );
    Ok(json!({
        "workload": format!("{SITE}/default/{NAMESPACE}/{account}"), "path": path,
        "allowed": authorized["status"] == "True", "reason": authorized["message"],
    }))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
