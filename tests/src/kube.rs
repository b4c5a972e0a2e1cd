//! The real Kubernetes API server with etcd, on loopback; no node, no controllers.
//!
//! Lives here: its PKI, its flags, kubeconfig files, kubectl. Must not live here: Holdfast's own objects.
//! Invariant: every wait has a deadline and fails when the process waited for is gone; the end is SIGKILL by id (after
//! SIGTERM the API server lingers on its port).
//!
//! Without a controller manager nobody makes `default` ServiceAccounts, finishes a namespace's deletion or collects
//! garbage by ownerReference. TokenRequest, RBAC, CRDs, admission policies and server-side apply are all real.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::Value;

use crate::cache::{Missing, kube_tool};
use crate::ports::free_port;
use crate::process::{Lifetime, Process, ProcessError, Spawn, run};
use crate::scratch::Scratch;

const READY_LIMIT: Duration = Duration::from_secs(90);

/// The issuer that stands in ServiceAccount tokens.
pub const TOKEN_ISSUER: &str = "https://kubernetes.default.svc";

/// Why there is no API server, or why it said no.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// It was not built.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// kubectl printed what is not JSON.
    #[error("kubectl printed no JSON")]
    Json(#[from] serde_json::Error),
    /// An object did not become what was waited for.
    #[error("{kind}/{name}: not within {limit:?}; {said} it was {last}")]
    Late {
        /// Of the object.
        kind: String,
        /// Of the object.
        name: String,
        /// How long.
        limit: Duration,
        /// What kubectl had to say.
        said: String,
        /// The object as it was seen last.
        last: Box<Value>,
    },
}

/// A running API server.
#[derive(Debug)]
pub struct KubeHost {
    pki: Pki,
    port: u16,
    kubectl: PathBuf,
    admin: PathBuf,
    api: Process,
    etcd: Process,
    etcd_url: String,
    lifetime: Lifetime,
    folder: PathBuf,
    // Dropped last: both processes are gone before their files are.
    _scratch: Option<Scratch>,
}

/// The one API server of this test process, started when it is first asked for. Use a namespace of your own in it.
///
/// # Panics
/// When it does not start: the message says why.
pub fn shared() -> &'static KubeHost {
    static SHARED: OnceLock<KubeHost> = OnceLock::new();
    SHARED.get_or_init(|| KubeHost::start().unwrap_or_else(|error| panic!("kube-apiserver: {error}")))
}

impl KubeHost {
    /// Starts etcd and the API server and waits until it is ready (about 3 s).
    pub fn start() -> Result<Self, KubeError> {
        let scratch = Scratch::new("kube");
        let host = Self::start_in(scratch.path(), Lifetime::WithUs)?;
        Ok(Self { _scratch: Some(scratch), ..host })
    }

    /// As [`KubeHost::start`], with all its files in this folder.
    pub fn start_in(folder: &Path, lifetime: Lifetime) -> Result<Self, KubeError> {
        let (apiserver, kubectl) = (kube_tool("kube-apiserver")?, kube_tool("kubectl")?);
        let folder = folder.to_owned();
        let pki = Pki::make(&folder.join("pki"))?;
        let (mut etcd, etcd_url) = start_etcd(&folder, lifetime)?;
        let health =
            |etcd_url: &str| run(Command::new(&kubectl).args(["get", "--raw", "/health", "-s", etcd_url]));
        etcd.wait_for("etcd answers", READY_LIMIT, || health(&etcd_url).is_ok())?;
        let port = free_port();
        let api = spawn_apiserver(&apiserver, (&folder, lifetime), &pki, &etcd_url, port)?;
        let admin = folder.join("admin.kubeconfig");
        let mut host =
            Self { admin, pki, port, kubectl, api, etcd, etcd_url, lifetime, folder, _scratch: None };
        host.write_kubeconfig_for("admin", &["system:masters"])?;
        host.wait_ready()?;
        Ok(host)
    }

    fn wait_ready(&mut self) -> Result<(), KubeError> {
        let (kubectl, admin) = (self.kubectl.clone(), self.admin.clone());
        let port = self.port;
        // Starting kubectl takes from the API server the very time in which it starts: the first question is cheap.
        let ready = || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                && run(kubectl_command(&kubectl, &admin).args(["get", "--raw", "/readyz"])).is_ok()
        };
        Ok(self.api.wait_for("kube-apiserver is ready", READY_LIMIT, ready)?)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The CA that signed its certificate and its users' certificates, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pki.ca_pem
    }

    /// The key that verifies ServiceAccount tokens (RSA-2048, RS256), PEM.
    pub fn token_public_key_pem(&self) -> Result<String, KubeError> {
        let path = self.pki.directory.join("sa.pub");
        fs::read_to_string(&path).map_err(|source| KubeError::File { path, source })
    }

    /// The keys that verify ServiceAccount tokens, as the server publishes them (JWKS).
    pub fn token_keys_jwks(&self) -> Result<String, KubeError> {
        self.kubectl(&["get", "--raw", "/openid/v1/jwks"])
    }

    /// The kubectl that fits it.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// The kubeconfig of an administrator to whom nothing is forbidden.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// A kubeconfig with a client certificate for `user` in `groups`; what it may do is up to RBAC.
    pub fn write_kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, KubeError> {
        let (certificate, key) = self.pki.client(user, groups)?;
        let fields = format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            STANDARD.encode(certificate),
            STANDARD.encode(key)
        );
        self.write_kubeconfig(user, &fields)
    }

    /// A kubeconfig that carries a ServiceAccount's token for the API server itself, as a pod would; for a day.
    pub fn write_kubeconfig_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf, KubeError> {
        let token = self.token(namespace, name, TOKEN_ISSUER, 86_400)?;
        self.write_kubeconfig(&format!("{namespace}-{name}"), &format!("token: {token}"))
    }

    fn write_kubeconfig(&self, user: &str, user_fields: &str) -> Result<PathBuf, KubeError> {
        let path = self.folder.join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters:\n- name: it\n  cluster:\n    server: {}\n    certificate-authority-data: {}\n\
             users:\n- name: it\n  user:\n    {user_fields}\n\
             contexts:\n- name: it\n  context: {{cluster: it, user: it}}\n",
            self.url(),
            STANDARD.encode(&self.pki.ca_pem),
        );
        put(&path, &text)?;
        Ok(path)
    }

    /// Runs kubectl as the administrator and returns what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, KubeError> {
        self.kubectl_as(&self.admin, args)
    }

    /// Runs kubectl with another kubeconfig.
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<String, KubeError> {
        let output = run(kubectl_command(&self.kubectl, kubeconfig).args(args))?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Reads one object as JSON.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Value, KubeError> {
        Ok(serde_json::from_str(&self.kubectl(&["-n", namespace, "get", kind, name, "-o", "json"])?)?)
    }

    /// Watches an object, which need not be there yet, until `is_wanted` holds for it; the object as it is then.
    pub fn watch_until(
        &self,
        (namespace, kind, name): (&str, &str, &str),
        limit: Duration,
        is_wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value, KubeError> {
        let mut command = kubectl_command(&self.kubectl, &self.admin);
        command
            .args(["-n", namespace, "get", kind, "--field-selector", &format!("metadata.name={name}")])
            .args(["--watch", "--output-watch-events", "-o", "json"])
            // kubectl ends the watch by itself: the read below never waits for ever.
            .arg(format!("--request-timeout={}s", limit.as_secs()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |source| ProcessError::Start { program: "kubectl".into(), source };
        let mut child = command.spawn().map_err(failed)?;
        let seen = child.stdout.take().map(|stdout| first_wanted(stdout, is_wanted)).transpose();
        // It may have ended already; then there is nothing to kill.
        drop(child.kill());
        let said = child.wait_with_output().map_err(failed)?.stderr;
        match seen?.unwrap_or(Err(Value::Null)) {
            Ok(object) => Ok(object),
            Err(last) => {
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                Err(KubeError::Late {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    limit,
                    said,
                    last: last.into(),
                })
            }
        }
    }

    /// Server-side apply of YAML or JSON documents as the administrator.
    pub fn apply(&self, documents: &str) -> Result<String, KubeError> {
        self.apply_as(&self.admin, documents)
    }

    /// Server-side apply with another kubeconfig.
    pub fn apply_as(&self, kubeconfig: &Path, documents: &str) -> Result<String, KubeError> {
        let mut command = kubectl_command(&self.kubectl, kubeconfig);
        command.args(["apply", "--server-side", "--validate=strict", "-f", "-"]);
        run_with_input(command, documents)
    }

    /// Makes a namespace.
    pub fn create_namespace(&self, name: &str) -> Result<(), KubeError> {
        self.kubectl(&["create", "namespace", name]).map(drop)
    }

    /// Makes a ServiceAccount.
    pub fn create_service_account(&self, namespace: &str, name: &str) -> Result<(), KubeError> {
        self.kubectl(&["-n", namespace, "create", "serviceaccount", name]).map(drop)
    }

    /// Asks TokenRequest for a token of a ServiceAccount (at least 600 s).
    pub fn token(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
        ttl_s: u32,
    ) -> Result<String, KubeError> {
        let ttl = format!("--duration={ttl_s}s");
        let token =
            self.kubectl(&["-n", namespace, "create", "token", name, "--audience", audience, &ttl])?;
        Ok(token.trim().to_owned())
    }

    /// Kills the API server; etcd and everything stored stay.
    pub fn kill_api(&mut self) -> Result<(), KubeError> {
        self.api.kill()?;
        Ok(())
    }

    /// Starts the API server again on the same port and store.
    pub fn restart_api(&mut self) -> Result<(), KubeError> {
        self.api.kill()?;
        self.api = spawn_apiserver(
            &kube_tool("kube-apiserver")?,
            (&self.folder, self.lifetime),
            &self.pki,
            &self.etcd_url,
            self.port,
        )?;
        self.wait_ready()
    }

    /// The logs of both processes, for a failing test.
    pub fn log_paths(&self) -> [&Path; 2] {
        [self.api.log_path(), self.etcd.log_path()]
    }
}

fn start_etcd(folder: &Path, lifetime: Lifetime) -> Result<(Process, String), KubeError> {
    let client = format!("http://127.0.0.1:{}", free_port());
    let peer = format!("http://127.0.0.1:{}", free_port());
    let etcd = Spawn::new("etcd", folder.join("etcd.log"))
        .lifetime(lifetime)
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .arg("--unsafe-no-fsync")
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .start()?;
    Ok((etcd, client))
}

fn spawn_apiserver(
    program: &Path,
    (folder, lifetime): (&Path, Lifetime),
    pki: &Pki,
    etcd_url: &str,
    port: u16,
) -> Result<Process, KubeError> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.directory.join(name).display());
    let process = Spawn::new(program, folder.join("kube-apiserver.log"))
        .lifetime(lifetime)
        .arg(format!("--etcd-servers={etcd_url}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        .arg(file("client-ca-file", "ca.crt"))
        .arg(file("tls-cert-file", "api.crt"))
        .arg(file("tls-private-key-file", "api.key"))
        .arg(format!("--service-account-issuer={TOKEN_ISSUER}"))
        .arg(file("service-account-key-file", "sa.pub"))
        .arg(file("service-account-signing-key-file", "sa.key"))
        .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC"])
        // Nobody makes `default` ServiceAccounts here, so the plugin that injects them would refuse every pod.
        .args(["--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=ServiceAccount"])
        .args(["--endpoint-reconciler-type=none", "--profiling=false"])
        .start()?;
    Ok(process)
}

fn kubectl_command(kubectl: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG");
    // Its discovery cache belongs to one server; beside the kubeconfig it goes with it.
    if let Some(directory) = kubeconfig.parent() {
        command.arg("--cache-dir").arg(directory.join("kubectl-cache"));
    }
    command
}

/// The first object of a stream of watch events that is there and wanted, or the last that was seen.
fn first_wanted(
    events: impl Read,
    mut is_wanted: impl FnMut(&Value) -> bool,
) -> Result<Result<Value, Value>, serde_json::Error> {
    let mut last = Value::Null;
    for event in serde_json::Deserializer::from_reader(BufReader::new(events)).into_iter::<Value>() {
        let mut event = event?;
        last = event["object"].take();
        if event["type"] != "DELETED" && is_wanted(&last) {
            return Ok(Ok(last));
        }
    }
    Ok(Err(last))
}

fn run_with_input(mut command: Command, input: &str) -> Result<String, KubeError> {
    let failed = |source| ProcessError::Start { program: "kubectl".into(), source };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A kubectl that stops reading says why on its error output, which is what is reported.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(said(&output.stdout));
    }
    let (status, output) = (output.status.to_string(), said(&output.stderr));
    Err(ProcessError::Failed { program: "kubectl".into(), status, output }.into())
}

/// The cluster's CA and what it signed.
struct Pki {
    directory: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Pki {
    fn make(directory: &Path) -> Result<Self, KubeError> {
        fs::create_dir_all(directory)
            .map_err(|source| KubeError::File { path: directory.to_owned(), source })?;
        let mut ca = parameters("kube-ca", &[]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let pki = Self { directory: directory.to_owned(), ca_pem, issuer: Issuer::new(ca, ca_key) };
        put(&directory.join("ca.crt"), &pki.ca_pem)?;

        let mut api = parameters("kube-apiserver", &[]);
        api.subject_alt_names =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?.subject_alt_names;
        api.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = pki.sign(&api)?;
        put(&directory.join("api.crt"), &certificate)?;
        put(&directory.join("api.key"), &key)?;
        make_token_keys(directory)?;
        Ok(pki)
    }

    fn client(&self, user: &str, groups: &[&str]) -> Result<(String, String), KubeError> {
        let mut client = parameters(user, groups);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&client)
    }

    fn sign(&self, parameters: &CertificateParams) -> Result<(String, String), KubeError> {
        let key = KeyPair::generate()?;
        Ok((parameters.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// Kubernetes reads the user from CN and the groups from O.
fn parameters(user: &str, groups: &[&str]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, user);
    for group in groups {
        parameters.distinguished_name.push(DnType::OrganizationName, *group);
    }
    // Wide, so that no machine's clock makes a test fail.
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2120, 1, 1);
    parameters
}

/// RSA, as nearly every real cluster has it (RS256).
fn make_token_keys(directory: &Path) -> Result<(), KubeError> {
    let (private, public) = (directory.join("sa.key"), directory.join("sa.pub"));
    run(Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(&private))?;
    run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
    Ok(())
}

/// Writes a file that only its owner reads.
fn put(path: &Path, text: &str) -> Result<(), KubeError> {
    let write = || -> io::Result<()> {
        let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| KubeError::File { path: path.to_owned(), source })
}
