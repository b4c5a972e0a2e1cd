//! EdgeSecrets on a real kube-apiserver, with the controller under its own roles and nothing more, and a real service.
//!
//! One service, one API server and one controller serve all tests; each test has a namespace of its own. Tests that end
//! one of the three hold it alone.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_tests::controller::{
    self, ACCOUNT, Controller, NAMESPACE, await_condition, condition, edge_secret, grant, install,
    open_namespace, put,
};
use holdfast_tests::kube::{self, KubeHost};
use holdfast_tests::plant::{Plant, until};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

const SITE: &str = "plant-a";
const LIMIT: Duration = Duration::from_mins(1);

struct World {
    kube: &'static KubeHost,
    parts: RwLock<Parts>,
}

struct Parts {
    plant: Plant,
    controller: Controller,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::start().unwrap_or_else(|error| panic!("{error:#}")))
}

impl World {
    fn start() -> anyhow::Result<Self> {
        let kube = kube::shared();
        let plant = Plant::start(&Scratch::new("kubernetes").keep(), Lifetime::WithUs)?;
        install(kube)?;
        let token = controller::register(&plant, kube, SITE)?;
        let controller = Controller::start(kube, plant.root(), Some(&token), Lifetime::WithUs)?;
        await_condition(kube, ("", "holdfastsite", "default"), ("Connected", "True", "Connected"), LIMIT)?;
        Ok(Self { kube, parts: RwLock::new(Parts { plant, controller }) })
    }

    /// Beside other tests.
    fn shared(&self) -> RwLockReadGuard<'_, Parts> {
        self.parts.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Alone: to end service or controller.
    fn alone(&self) -> RwLockWriteGuard<'_, Parts> {
        self.parts.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A namespace in which the controller works, with these ServiceAccounts.
    fn namespace(&self, name: &str, accounts: &[&str]) -> anyhow::Result<()> {
        open_namespace(self.kube, name, accounts)
    }

    fn apply(&self, object: &Value) -> anyhow::Result<()> {
        Ok(self.kube.apply(&object.to_string()).map(drop)?)
    }

    /// Waits for a condition of an EdgeSecret.
    fn until(&self, of: (&str, &str), wanted: (&str, &str, &str)) -> anyhow::Result<Value> {
        await_condition(self.kube, (of.0, "edgesecret", of.1), wanted, LIMIT)
    }

    fn values(&self, namespace: &str, name: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        values(&self.kube.get(namespace, "secret", name)?)
    }

    /// Waits until a Secret holds exactly this under one key.
    fn until_value(&self, namespace: &str, name: &str, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let wanted = [(key.to_owned(), value.to_vec())];
        let holds = |secret: &Value| values(secret).is_ok_and(|values| values == wanted);
        self.kube.watch_until((namespace, "secret", name), LIMIT, holds)?;
        Ok(())
    }
}

fn values(secret: &Value) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    data.into_iter()
        .map(|(key, text)| Ok((key, STANDARD.decode(text.as_str().context("no text")?)?)))
        .collect()
}

fn workload(namespace: &str, account: &str) -> String {
    format!("{SITE}/default/{namespace}/{account}")
}

#[test]
fn an_edge_secret_becomes_a_secret_of_its_type_with_the_services_bytes() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("bytes", &["app"])?;
    let binary: Vec<u8> = (0..=255).collect();
    put(&parts.plant, "bytes/raw", &binary)?;
    put(&parts.plant, "bytes/pair", br#"{"tls.crt":"a certificate","tls.key":"a key"}"#)?;
    grant(&parts.plant, "bytes/**", &workload("bytes", "app"), &[])?;

    world.apply(&edge_secret(("bytes", "raw"), "app", &[("bytes/raw", "blob")], "raw"))?;
    let mut pair = edge_secret(("bytes", "pair"), "app", &[], "pair");
    pair["spec"]["items"] = json!([{"path": "bytes/pair"}]);
    pair["spec"]["target"]["type"] = json!("kubernetes.io/tls");
    pair["spec"]["target"]["labels"] = json!({"app": "broker"});
    world.apply(&pair)?;

    let edge = world.until(("bytes", "raw"), ("Ready", "True", "Synced"))?;
    assert_eq!(world.values("bytes", "raw")?, [("blob".to_owned(), binary)]);
    let secret = world.kube.get("bytes", "secret", "raw")?;
    assert_eq!(secret["type"], "Opaque");
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"], &owner["controller"]),
        (&json!("EdgeSecret"), &edge["metadata"]["uid"], &json!(true))
    );
    assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "holdfast.dev");
    assert_eq!(edge["status"]["observedGeneration"], edge["metadata"]["generation"]);
    assert_eq!(edge["status"]["source"]["versions"], json!([{"path": "bytes/raw", "version": 1}]));
    assert_eq!(edge["status"]["target"]["uid"], secret["metadata"]["uid"]);
    assert_eq!(condition(&edge, "Authorized").unwrap()["status"], "True");

    world.until(("bytes", "pair"), ("Ready", "True", "Synced"))?;
    let secret = world.kube.get("bytes", "secret", "pair")?;
    assert_eq!(
        (&secret["type"], &secret["metadata"]["labels"]["app"]),
        (&json!("kubernetes.io/tls"), &json!("broker"))
    );
    let wanted =
        [("tls.crt".to_owned(), b"a certificate".to_vec()), ("tls.key".to_owned(), b"a key".to_vec())];
    assert_eq!(world.values("bytes", "pair")?, wanted);

    // The service's trail names the workload, and nothing that passed through us holds the value.
    let audit =
        parts.plant.json("auditor", &["audit", "list", "--resource", "secret/bytes/raw"])?.to_string();
    assert!(audit.contains(&format!("workload/{}", workload("bytes", "app"))), "{audit}");
    assert!(!parts.controller.process.log_text().contains("a certificate"));
    Ok(())
}

#[test]
fn what_is_not_granted_makes_no_secret_until_it_is() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("denied", &["app", "other"])?;
    put(&parts.plant, "denied/one", b"1")?;
    grant(&parts.plant, "denied/one", &workload("denied", "other"), &[])?;
    world.apply(&edge_secret(("denied", "one"), "app", &[("denied/one", "one")], "one"))?;
    let edge = world.until(("denied", "one"), ("Authorized", "False", "NotGranted"))?;
    let why = condition(&edge, "Authorized").unwrap()["message"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("no grant"), "{why}");
    assert_eq!(condition(&edge, "Ready").unwrap()["status"], "False");
    assert!(world.kube.get("denied", "secret", "one").is_err(), "there is a Secret");

    // A tier that no workload has is no way in.
    grant(&parts.plant, "denied/one", &workload("denied", "app"), &["--min-tier", "T1"])?;
    world.kube.kubectl(&["-n", "denied", "annotate", "edgesecret", "one", "holdfast.dev/refresh=1"])?;
    let names_the_tier = |edge: &Value| {
        condition(edge, "Authorized").is_some_and(|one| one["message"].to_string().contains("T1"))
    };
    let tier = world.kube.watch_until(("denied", "edgesecret", "one"), LIMIT, names_the_tier)?;
    assert!(world.kube.get("denied", "secret", "one").is_err(), "{tier}");

    grant(&parts.plant, "denied/one", &workload("denied", "app"), &[])?;
    world.until(("denied", "one"), ("Ready", "True", "Synced"))?;
    world.until_value("denied", "one", "one", b"1")
}

#[test]
fn a_new_version_is_synced_and_a_key_that_goes_from_the_spec_goes_from_the_secret() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("rotate", &["app"])?;
    put(&parts.plant, "rotate/a", b"first")?;
    put(&parts.plant, "rotate/b", b"other")?;
    grant(&parts.plant, "rotate/*", &workload("rotate", "app"), &[])?;
    let both = edge_secret(("rotate", "r"), "app", &[("rotate/a", "a"), ("rotate/b", "b")], "r");
    world.apply(&both)?;
    let first = world.until(("rotate", "r"), ("Ready", "True", "Synced"))?;
    assert_eq!(world.values("rotate", "r")?.len(), 2);
    let uid = first["status"]["target"]["uid"].clone();

    world.apply(&edge_secret(("rotate", "r"), "app", &[("rotate/a", "a")], "r"))?;
    world.until_value("rotate", "r", "a", b"first")?;
    put(&parts.plant, "rotate/a", b"second")?;
    world.until_value("rotate", "r", "a", b"second")?;
    let secret = world.kube.get("rotate", "secret", "r")?;
    assert_eq!(secret["metadata"]["uid"], uid, "it was replaced, not patched");

    // Pinned to a version, it stays there.
    let mut pinned = edge_secret(("rotate", "r"), "app", &[("rotate/a", "a")], "r");
    pinned["spec"]["items"][0]["version"] = json!(1);
    world.apply(&pinned)?;
    world.until_value("rotate", "r", "a", b"first")?;

    // One that was deleted by hand comes back with the next refresh that is asked for.
    world.kube.kubectl(&["-n", "rotate", "delete", "secret", "r"])?;
    world.kube.kubectl(&["-n", "rotate", "annotate", "edgesecret", "r", "holdfast.dev/refresh=1"])?;
    world.until_value("rotate", "r", "a", b"first")
}

#[test]
fn a_withdrawn_grant_takes_the_values_away() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("withdrawn", &["app"])?;
    put(&parts.plant, "withdrawn/a", b"value")?;
    let id = grant(&parts.plant, "withdrawn/a", &workload("withdrawn", "app"), &[])?;
    world.apply(&edge_secret(("withdrawn", "w"), "app", &[("withdrawn/a", "a")], "w"))?;
    world.until(("withdrawn", "w"), ("Ready", "True", "Synced"))?;
    world.until_value("withdrawn", "w", "a", b"value")?;

    parts.plant.json("grant-admin", &["grant", "withdraw", &id])?;
    let edge = world.until(("withdrawn", "w"), ("Authorized", "False", "NotGranted"))?;
    assert_eq!(condition(&edge, "Ready").unwrap()["status"], "False");
    // The key stays, so that a file that is mounted is replaced by an empty one.
    assert_eq!(world.values("withdrawn", "w")?, [("a".to_owned(), Vec::new())]);

    // Granted again, they come back.
    grant(&parts.plant, "withdrawn/a", &workload("withdrawn", "app"), &[])?;
    world.until_value("withdrawn", "w", "a", b"value")
}

#[test]
fn the_controllers_account_reads_no_secret() -> anyhow::Result<()> {
    let world = world();
    let _parts = world.shared();
    world.namespace("fence", &[])?;
    world.kube.kubectl(&["-n", "fence", "create", "secret", "generic", "foreign", "--from-literal=a=b"])?;
    let kubeconfig = world.kube.write_kubeconfig_for_service_account(NAMESPACE, ACCOUNT)?;
    for args in [
        &["-n", "fence", "get", "secret", "foreign"][..],
        &["-n", "fence", "get", "secrets"],
        &["get", "secrets", "--all-namespaces"],
        &["-n", "fence", "delete", "secret", "foreign"],
        &["-n", "default", "create", "token", "default"],
    ] {
        let refused = world.kube.kubectl_as(&kubeconfig, args).expect_err("it was let in").to_string();
        assert!(refused.contains("orbidden"), "{args:?}: {refused}");
    }
    // The same account may do what its roles say: the refusals above are not those of a broken kubeconfig.
    world.kube.kubectl_as(&kubeconfig, &["get", "edgesecrets", "--all-namespaces"])?;
    let site = world.kube.get("", "holdfastsite", "default")?;
    assert_eq!(condition(&site, "Fenced").unwrap()["status"], "True");
    assert!(site["status"]["lastSeen"].is_string());
    Ok(())
}

/// What the threat model says of a stolen ServiceAccount of the controller: `patch` answers with the whole object.
#[test]
fn a_stolen_controllers_account_reads_by_patch_where_it_is_bound_and_nowhere_else() -> anyhow::Result<()> {
    let world = world();
    let _parts = world.shared();
    world.namespace("bound", &[])?;
    world.kube.create_namespace("unbound")?;
    for namespace in ["bound", "unbound"] {
        let literal = "--from-literal=a=theirs";
        world.kube.kubectl(&["-n", namespace, "create", "secret", "generic", "foreign", literal])?;
    }
    let token = world.kube.token(NAMESPACE, ACCOUNT, kube::TOKEN_ISSUER, 600)?;
    let agent = agent(world.kube.ca_pem().as_bytes(), None)?;
    let patch = |namespace: &str| -> anyhow::Result<(u16, Value)> {
        let url = format!("{}/api/v1/namespaces/{namespace}/secrets/foreign?dryRun=All", world.kube.url());
        let request = agent.patch(url).header("authorization", format!("Bearer {token}"));
        let mut answer = request.content_type("application/merge-patch+json").send("{}")?;
        Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
    };
    let (status, answer) = patch("bound")?;
    assert_eq!((status, &answer["data"]["a"]), (200, &json!(STANDARD.encode("theirs"))), "{answer}");
    let (status, answer) = patch("unbound")?;
    assert_eq!((status, &answer["reason"]), (403, &json!("Forbidden")), "{answer}");
    Ok(())
}

#[test]
fn an_edge_secret_reaches_no_account_of_another_namespace() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("rich", &["app"])?;
    world.namespace("poor", &[])?;
    put(&parts.plant, "rich/a", b"value")?;
    grant(&parts.plant, "rich/a", &workload("rich", "app"), &[])?;

    world.apply(&edge_secret(("poor", "p"), "app", &[("rich/a", "a")], "p"))?;
    world.until(("poor", "p"), ("Authorized", "False", "ServiceAccountMissing"))?;
    world.kube.create_service_account("poor", "app")?;
    world.until(("poor", "p"), ("Authorized", "False", "NotGranted"))?;
    assert!(world.kube.get("poor", "secret", "p").is_err());

    for name in ["rich/app", "rich:app", "../rich/serviceaccounts/app", "app?x=y", "app%2f"] {
        let object = edge_secret(("poor", "q"), name, &[("rich/a", "a")], "q");
        let refused = world.kube.apply(&object.to_string()).expect_err("it was taken").to_string();
        assert!(refused.contains("serviceAccountName"), "{name}: {refused}");
    }
    // And the account whose it is reads it.
    world.apply(&edge_secret(("rich", "p"), "app", &[("rich/a", "a")], "p"))?;
    world.until(("rich", "p"), ("Ready", "True", "Synced")).map(drop)
}

#[test]
fn a_secret_that_is_not_ours_is_left_alone_unless_adopted() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("foreign", &["app"])?;
    put(&parts.plant, "foreign/a", b"ours")?;
    grant(&parts.plant, "foreign/a", &workload("foreign", "app"), &[])?;
    world.kube.kubectl(&[
        "-n",
        "foreign",
        "create",
        "secret",
        "generic",
        "taken",
        "--from-literal=a=theirs",
    ])?;
    let mut object = edge_secret(("foreign", "f"), "app", &[("foreign/a", "a")], "taken");
    world.apply(&object)?;
    let edge = world.until(("foreign", "f"), ("Synced", "False", "TargetExists"))?;
    assert_eq!(condition(&edge, "Authorized").unwrap()["status"], "True");
    assert_eq!(world.values("foreign", "taken")?, [("a".to_owned(), b"theirs".to_vec())]);

    object["spec"]["adopt"] = json!(true);
    world.apply(&object)?;
    world.until_value("foreign", "taken", "a", b"ours")?;
    world.until(("foreign", "f"), ("Ready", "True", "Synced"))?;

    // Two EdgeSecrets do not fight over one Secret, not even where the second would adopt.
    let mut second = edge_secret(("foreign", "g"), "app", &[("foreign/a", "b")], "taken");
    second["spec"]["adopt"] = json!(true);
    world.apply(&second)?;
    world.until(("foreign", "g"), ("Synced", "False", "TargetExists"))?;
    world.until_value("foreign", "taken", "a", b"ours")
}

#[test]
fn the_api_server_refuses_what_the_kinds_do_not_allow() -> anyhow::Result<()> {
    let world = world();
    let _parts = world.shared();
    world.namespace("rules", &["app"])?;
    let good = edge_secret(("rules", "r"), "app", &[("a/b", "a")], "r");
    world.apply(&good)?;
    type Change = fn(&mut Value);
    let table: &[(&str, Change)] = &[
        ("name and type stay", |o| o["spec"]["target"]["name"] = json!("s")),
        ("name and type stay", |o| o["spec"]["target"]["type"] = json!("kubernetes.io/tls")),
        // Kubernetes itself would fill one with a token, of the other make one who may join the cluster.
        ("credential of the cluster", |o| {
            o["spec"]["target"]["type"] = json!("kubernetes.io/service-account-token");
        }),
        ("credential of the cluster", |o| {
            o["spec"]["target"]["type"] = json!("bootstrap.kubernetes.io/token");
        }),
        ("path", |o| o["spec"]["items"][0]["path"] = json!("a/../b c")),
        ("key", |o| o["spec"]["items"][0]["key"] = json!("a/b")),
        ("items", |o| o["spec"]["items"] = json!([])),
        ("intervalSeconds", |o| o["spec"]["refresh"]["intervalSeconds"] = json!(0)),
        ("version", |o| o["spec"]["items"][0]["version"] = json!(0)),
    ];
    for (words, change) in table {
        let mut object = good.clone();
        change(&mut object);
        let refused = world.kube.apply(&object.to_string()).expect_err("it was taken").to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let other = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "HoldfastSite", "metadata": {"name": "other"},
        "spec": {"server": "https://example.org", "tenant": "default", "site": "x", "trust": {"caBundle": "x"}},
    });
    let refused = world.kube.apply(&other.to_string()).expect_err("it was taken").to_string();
    assert!(refused.contains("named default"), "{refused}");
    Ok(())
}

/// Waits until the API server's authorizer knows whether the controller may do this.
fn until_authorizer_says(world: &World, verdict: &str, args: &[&str]) -> anyhow::Result<()> {
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    let mut args = [&["auth", "can-i"][..], args].concat();
    args.push(&account);
    until(&format!("the authorizer to say {verdict}"), LIMIT, || {
        // `no` is told by the exit status, too.
        let said = world.kube.kubectl(&args).unwrap_or_else(|error| error.to_string());
        let is_yes = said.trim() == "yes";
        Ok((is_yes == (verdict == "yes")).then_some(()))
    })
}

/// HTTP with these roots alone; an answer that says no is an answer.
fn agent(ca_pem: &[u8], certificate: Option<ureq::tls::ClientCert>) -> anyhow::Result<ureq::Agent> {
    let root = ureq::tls::Certificate::from_pem(ca_pem)?.to_owned();
    let tls = ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .client_cert(certificate)
        .build();
    Ok(ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().new_agent())
}

/// A way to the service with the controller's own certificate, as whoever stole it would have it.
fn stolen(parts: &Parts) -> anyhow::Result<impl Fn(&Value) -> anyhow::Result<(u16, Value)> + use<>> {
    let kept: Value = serde_json::from_slice(&std::fs::read(parts.controller.data.join("controller.json"))?)?;
    let bytes = |value: &Value| -> anyhow::Result<Vec<u8>> {
        Ok(STANDARD.decode(value.as_str().context("no text")?)?)
    };
    let chain = kept["chain"]
        .as_array()
        .context("no chain")?
        .iter()
        .map(bytes)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let chain: Vec<_> = chain.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    let pkcs8 = kept["key_pkcs8"].as_str().context("no key")?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pkcs8}\n-----END PRIVATE KEY-----\n");
    let key = ureq::tls::PrivateKey::from_pem(pem.as_bytes())?;
    let ca = std::fs::read(parts.plant.data().join("ca.pem"))?;
    let agent = agent(&ca, Some(ureq::tls::ClientCert::new_with_certs(&chain, key)))?;
    let url = format!("{}/v1/site/secret", parts.plant.url);
    Ok(move |body: &Value| {
        let mut answer = agent.post(&url).send_json(body)?;
        Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
    })
}

#[test]
fn a_token_for_another_site_audience_or_life_opens_nothing() -> anyhow::Result<()> {
    let world = world();
    let parts = world.shared();
    world.namespace("tokens-of", &["app"])?;
    put(&parts.plant, "tokens-of/a", b"value")?;
    grant(&parts.plant, "tokens-of/a", &workload("tokens-of", "app"), &[])?;
    let ask = stolen(&parts)?;
    let token = |audience: &str, ttl_s| world.kube.token("tokens-of", "app", audience, ttl_s);
    let read = |token: &str| ask(&json!({"path": "tokens-of/a", "token": token}));

    let good = token("holdfast://default/plant-a", 600)?;
    let (status, answer) = read(&good)?;
    assert_eq!((status, &answer["version"]), (200, &json!(1)), "{answer}");
    assert_eq!(STANDARD.decode(answer["value"].as_str().unwrap_or_default())?, b"value");

    for (token, code) in [
        (token("holdfast://default/plant-b", 600)?, "token-audience"),
        (token("holdfast://acme/plant-a", 600)?, "token-audience"),
        (token(kube::TOKEN_ISSUER, 600)?, "token-audience"),
        (token("holdfast://default/plant-a", 3600)?, "token-lifetime"),
        (good[..good.len() - 6].to_owned(), "token-signature"),
        (String::new(), "token-malformed"),
    ] {
        let (status, answer) = read(&token)?;
        assert_eq!((status, &answer["code"]), (403, &json!(code)), "{answer}");
    }

    // Another cluster of the same issuer's name has other keys.
    let other = KubeHost::start()?;
    other.create_namespace("tokens-of")?;
    other.create_service_account("tokens-of", "app")?;
    let foreign = other.token("tokens-of", "app", "holdfast://default/plant-a", 600)?;
    let (status, answer) = read(&foreign)?;
    assert_eq!((status, &answer["code"]), (403, &json!("token-key-unknown")), "{answer}");
    Ok(())
}

#[test]
fn while_the_service_is_away_the_last_value_stays_as_long_as_its_grant_allows() -> anyhow::Result<()> {
    let world = world();
    let mut parts = world.alone();
    world.namespace("away", &["app", "strict"])?;
    put(&parts.plant, "away/a", b"value")?;
    grant(&parts.plant, "away/a", &workload("away", "app"), &[])?;
    grant(&parts.plant, "away/a", &workload("away", "strict"), &["--max-offline-s", "4"])?;
    world.apply(&edge_secret(("away", "lasting"), "app", &[("away/a", "a")], "lasting"))?;
    world.apply(&edge_secret(("away", "strict"), "strict", &[("away/a", "a")], "strict"))?;
    for name in ["lasting", "strict"] {
        world.until(("away", name), ("Ready", "True", "Synced"))?;
    }

    parts.plant.power_off()?;
    let edge = world.until(("away", "lasting"), ("Synced", "False", "ServiceAway"))?;
    assert_eq!(condition(&edge, "Authorized").unwrap()["status"], "True");
    assert_eq!(condition(&edge, "Ready").unwrap()["status"], "True");
    world.until(("away", "strict"), ("Ready", "False", "KeptTooLong"))?;
    assert_eq!(world.values("away", "strict")?, [("a".to_owned(), Vec::new())]);
    // A controller that starts meanwhile, and so has never seen a value, takes none away either.
    parts.controller.restart()?;
    world.kube.kubectl(&["-n", "away", "annotate", "edgesecret", "lasting", "holdfast.dev/refresh=1"])?;
    await_condition(
        world.kube,
        ("", "holdfastsite", "default"),
        ("Connected", "False", "ServiceAway"),
        LIMIT,
    )?;
    assert_eq!(world.values("away", "lasting")?, [("a".to_owned(), b"value".to_vec())]);

    parts.plant.power_on()?;
    parts.plant.await_ready()?;
    for name in ["lasting", "strict"] {
        world.until(("away", name), ("Ready", "True", "Synced"))?;
        world.until_value("away", name, "a", b"value")?;
    }
    // It came back by its certificate: the token was spent at the first start.
    await_condition(world.kube, ("", "holdfastsite", "default"), ("Connected", "True", "Connected"), LIMIT)?;
    Ok(())
}

#[test]
fn a_controller_that_could_read_secrets_stops() -> anyhow::Result<()> {
    let world = world();
    let mut parts = world.alone();
    let subject = format!("--serviceaccount={NAMESPACE}:{ACCOUNT}");
    let ended = |parts: &mut Parts| -> anyhow::Result<()> {
        let status = parts.controller.process.wait(LIMIT)?;
        ensure!(!status.success(), "it ended as if all were well");
        let site = world.kube.get("", "holdfastsite", "default")?;
        let fenced = condition(&site, "Fenced").context("no condition Fenced")?;
        ensure!(fenced["status"] == "False" && fenced["reason"] == "SecretsReadable", "{fenced}");
        Ok(())
    };

    // At the start: a right in every namespace.
    world.kube.kubectl(&["create", "clusterrole", "reader", "--verb=get,list", "--resource=secrets"])?;
    world.kube.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", &subject])?;
    until_authorizer_says(world, "yes", &["list", "secrets", "--all-namespaces"])?;
    parts.controller.restart()?;
    ended(&mut parts)?;
    world.kube.kubectl(&["delete", "clusterrolebinding", "reader"])?;
    until_authorizer_says(world, "no", &["list", "secrets", "--all-namespaces"])?;
    parts.controller.restart()?;
    await_condition(world.kube, ("", "holdfastsite", "default"), ("Fenced", "True", "Refused"), LIMIT)?;

    // While it runs: a right in one namespace, before anything is written there.
    world.namespace("open", &["app"])?;
    put(&parts.plant, "open/a", b"value")?;
    grant(&parts.plant, "open/a", &workload("open", "app"), &[])?;
    world.kube.kubectl(&[
        "-n",
        "open",
        "create",
        "rolebinding",
        "reader",
        "--clusterrole=reader",
        &subject,
    ])?;
    until_authorizer_says(world, "yes", &["list", "secrets", "-n", "open"])?;
    world.apply(&edge_secret(("open", "o"), "app", &[("open/a", "a")], "o"))?;
    ended(&mut parts)?;
    assert!(world.kube.get("open", "secret", "o").is_err(), "it wrote although it was not fenced");

    world.kube.kubectl(&["-n", "open", "delete", "rolebinding", "reader"])?;
    until_authorizer_says(world, "no", &["list", "secrets", "-n", "open"])?;
    parts.controller.restart()?;
    world.until(("open", "o"), ("Ready", "True", "Synced")).map(drop)
}

#[test]
fn a_one_time_token_enrols_one_controller_once() -> anyhow::Result<()> {
    let world = world();
    let mut parts = world.alone();
    let scratch = Scratch::new("second-controller");
    let token = parts.plant.root().join("controller/bootstrap-token");
    let mut second = Controller::start(world.kube, scratch.path(), Some(&token), Lifetime::WithUs)?;
    // Its first word on the HoldfastSite is that the token was refused.
    let site = ("", "holdfastsite", "default");
    await_condition(world.kube, site, ("Connected", "False", "TokenRefused"), LIMIT)?;
    second.process.kill()?;
    assert!(!second.data.join("controller.json").exists());
    let sites = parts.plant.json("viewer", &["site", "list"])?;
    assert!(
        sites[0]["controller_certificate"].is_string(),
        "the first controller lost its certificate: {sites}"
    );
    parts.controller.restart()?;
    await_condition(world.kube, site, ("Connected", "True", "Connected"), LIMIT).map(drop)
}
