//! `holdfastd controller` in a cluster: its kinds, its roles and nothing more, its site, its process.
//!
//! Lives here: what an operator would do by hand. Must not live here: what the controller should then do.

use crate::kube::KubeHost;
use crate::plant::{Plant, write};
use crate::process::{Lifetime, Process, Spawn, run};
use crate::programs::program;
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the controller's ServiceAccount lives.
pub const NAMESPACE: &str = "holdfast-system";
/// Its ServiceAccount.
pub const ACCOUNT: &str = "controller";
/// The site's cluster.
pub const CLUSTER: &str = "default";

/// A controller and where it keeps its things.
#[derive(Debug)]
pub struct Controller {
    /// Its process.
    pub process: Process,
    /// Its data folder.
    pub data: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    lifetime: Lifetime,
}

/// Applies the kinds and the roles that `holdfastd crd` prints, and binds the cluster-wide one.
///
/// # Errors
/// When the API server refuses.
pub fn install(kube: &KubeHost) -> anyhow::Result<()> {
    let holdfastd = program("holdfastd")?;
    for args in [&["crd"][..], &["crd", "--roles"]] {
        let printed = run(Command::new(&holdfastd).args(args))?;
        kube.apply(&String::from_utf8(printed)?)?;
    }
    kube.create_namespace(NAMESPACE)?;
    kube.create_service_account(NAMESPACE, ACCOUNT)?;
    let subject = format!("--serviceaccount={NAMESPACE}:{ACCOUNT}");
    kube.kubectl(&[
        "create",
        "clusterrolebinding",
        "holdfast-controller",
        "--clusterrole=holdfast-controller",
        &subject,
    ])?;
    kube.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/edgesecrets.holdfast.dev",
        "crd/holdfastsites.holdfast.dev",
    ])?;
    Ok(())
}

/// Makes a namespace in which the controller may work, with these ServiceAccounts.
///
/// # Errors
/// When the API server refuses.
pub fn open_namespace(kube: &KubeHost, namespace: &str, accounts: &[&str]) -> anyhow::Result<()> {
    let account = |name: &&str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}});
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"namespace": namespace, "name": "holdfast-controller"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "holdfast-controller-namespace",
            },
            "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": ACCOUNT}],
        }),
    ];
    items.extend(accounts.iter().map(account));
    kube.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    Ok(())
}

/// Registers the cluster's site at the service, its token keys pinned, and names the service in the cluster. Returns
/// the file with the controller's one-time token.
///
/// # Errors
/// When either refuses.
pub fn register(plant: &Plant, kube: &KubeHost, site: &str) -> anyhow::Result<PathBuf> {
    let folder = plant.root().join("controller");
    let jwks = folder.join("jwks.json");
    write(&jwks, kube.token_keys_jwks()?.as_bytes())?;
    let jwks = jwks.display().to_string();
    let args = [
        "site",
        "register",
        site,
        "--cluster",
        CLUSTER,
        "--issuer",
        crate::kube::TOKEN_ISSUER,
        "--jwks",
        &jwks,
    ];
    plant.json("tenant-admin", &args)?;
    let token = plant.json("tenant-admin", &["site", "controller-token", site])?;
    let path = folder.join("bootstrap-token");
    write(&path, token["token"].as_str().context("no token")?.as_bytes())?;
    let ca = std::fs::read_to_string(plant.data().join("ca.pem"))?;
    let object = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "HoldfastSite", "metadata": {"name": "default"},
        "spec": {"server": plant.url, "tenant": "default", "site": site, "trust": {"caBundle": ca}},
    });
    kube.apply(&object.to_string())?;
    Ok(path)
}

impl Controller {
    /// Starts it with its ServiceAccount's own rights.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        kube: &KubeHost,
        root: &Path,
        bootstrap_token: Option<&Path>,
        lifetime: Lifetime,
    ) -> anyhow::Result<Self> {
        let kubeconfig = kube.write_kubeconfig_for_service_account(NAMESPACE, ACCOUNT)?;
        let (data, log) = (root.join("controller/data"), root.join("logs/controller.log"));
        let process = spawn((&kubeconfig, &data, &log), bootstrap_token, lifetime)?;
        Ok(Self { process, data, kubeconfig, log, lifetime })
    }

    /// Kills it and starts it again, without a token: it has its certificate.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process = spawn((&self.kubeconfig, &self.data, &self.log), None, self.lifetime)?;
        Ok(())
    }
}

fn spawn(
    (kubeconfig, data, log): (&Path, &Path, &Path),
    bootstrap_token: Option<&Path>,
    lifetime: Lifetime,
) -> anyhow::Result<Process> {
    let mut spawn =
        Spawn::new(program("holdfastd")?, log).arg("controller").arg("--kubeconfig").arg(kubeconfig);
    spawn = spawn.arg("--data-dir").arg(data).lifetime(lifetime);
    if let Some(token) = bootstrap_token {
        spawn = spawn.arg("--bootstrap-token-file").arg(token);
    }
    Ok(spawn.start()?)
}

/// One item of an EdgeSecret: path and key.
pub type Item<'a> = (&'a str, &'a str);

/// An EdgeSecret that is asked for anew every second.
pub fn edge_secret(
    (namespace, name): (&str, &str),
    account: &str,
    items: &[Item<'_>],
    target: &str,
) -> Value {
    let items: Vec<Value> = items.iter().map(|(path, key)| json!({"path": path, "key": key})).collect();
    json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "EdgeSecret",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "serviceAccountName": account, "items": items, "refresh": {"intervalSeconds": 1},
            "target": {"name": target},
        },
    })
}

/// The condition of an object, once it has it.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// Waits until a condition has this status and reason; the object as it is then.
///
/// # Errors
/// When it does not within `limit`: with the object as it was.
pub fn await_condition(
    kube: &KubeHost,
    (namespace, kind, name): (&str, &str, &str),
    (condition_kind, status, reason): (&str, &str, &str),
    limit: Duration,
) -> anyhow::Result<Value> {
    let holds = |object: &Value| {
        condition(object, condition_kind)
            .is_some_and(|one| one["status"] == status && one["reason"] == reason)
    };
    let seen = kube.watch_until((namespace, kind, name), limit, holds);
    seen.with_context(|| format!("{kind}/{name} with {condition_kind}={status} {reason}"))
}

/// Proposes and approves a grant of this path to a workload of the site; its id.
///
/// # Errors
/// When the service refuses.
pub fn grant(plant: &Plant, path: &str, workload: &str, more: &[&str]) -> anyhow::Result<String> {
    let mut args = vec!["grant", "propose", path, "--workload", workload];
    args.extend(more);
    let grant = plant.json("grant-admin", &args)?;
    let id = grant["id"].as_str().context("the grant has no id")?.to_owned();
    let approved = plant.json("grant-approver", &["grant", "approve", &id])?;
    ensure!(approved["state"] == "active", "the grant is {}", approved["state"]);
    Ok(id)
}

/// Writes a version of a secret.
///
/// # Errors
/// When the service refuses.
pub fn put(plant: &Plant, path: &str, value: &[u8]) -> anyhow::Result<()> {
    let args = ["secret", "put", path];
    plant.holdfast_with("secret-writer", &args, value)?.well(&args).map(drop)
}
