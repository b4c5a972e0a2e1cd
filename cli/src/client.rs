//! The operators' API over HTTPS: one place that knows the token, the trust root and what a problem looks like.

use anyhow::{Context as _, bail};
use holdfast_proto::problem::Problem;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Answers above this are refused.
const ANSWER_MAX_BYTES: u64 = 64 << 20;

/// Where the service is and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// Base URL of the service
    #[arg(long, env = "HOLDFAST_URL", global = true)]
    pub(crate) url: Option<String>,
    /// Service token; see also --token-file
    #[arg(long, env = "HOLDFAST_TOKEN", global = true, hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The service's tokens.json: the role named by --as picks the token
    #[arg(long, env = "HOLDFAST_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Role whose token of --token-file is used
    #[arg(id = "as", long = "as", global = true, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// CA certificate (PEM) that verifies the service
    #[arg(long, env = "HOLDFAST_CA", global = true)]
    pub(crate) ca: Option<PathBuf>,
}

/// A refusal by the service, with its problem document.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", .0.title, .0.detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
pub(crate) struct Refused(pub(crate) Problem);

/// An open way to the service.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    pub(crate) fn open(connection: &Connection) -> anyhow::Result<Self> {
        let base = connection
            .url
            .as_deref()
            .context("which service? give --url or set HOLDFAST_URL")?
            .trim_end_matches('/')
            .to_owned();
        let ca = connection
            .ca
            .as_deref()
            .context("which CA verifies the service? give --ca or set HOLDFAST_CA (holdfastd writes ca.pem into its data folder)")?;
        let agent = ureq::Agent::config_builder()
            .tls_config(tls(ca)?)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(2)))
            .build()
            .new_agent();
        Ok(Self { agent, base, token: token(connection)? })
    }

    /// To a server of a test, without TLS.
    #[cfg(test)]
    pub(crate) fn plain(base: String) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { agent, base, token: "test".into() }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.agent.get(self.at(path)).header("authorization", self.bearer()).call();
        self.read(answer, path)
    }

    /// The body as it is, or none for 404.
    pub(crate) fn get_raw(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let answer = self.agent.get(self.at(path)).header("authorization", self.bearer()).call();
        let mut answer = answer.with_context(|| self.unreachable())?;
        if answer.status() == 404 {
            return Ok(None);
        }
        self.fail_on_problem(&mut answer, path)?;
        Ok(Some(answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec()?))
    }

    pub(crate) fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> anyhow::Result<T> {
        let answer = self.agent.post(self.at(path)).header("authorization", self.bearer()).send_json(body);
        self.read(answer, path)
    }

    pub(crate) fn put<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> anyhow::Result<T> {
        let answer = self.agent.put(self.at(path)).header("authorization", self.bearer()).send_json(body);
        self.read(answer, path)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.agent.delete(self.at(path)).header("authorization", self.bearer()).call();
        self.read(answer, path)
    }

    /// Uploads `length` bytes from a reader.
    pub(crate) fn put_stream<T: DeserializeOwned>(
        &self,
        path: &str,
        mut body: impl Read,
        length: u64,
    ) -> anyhow::Result<T> {
        let answer = self
            .agent
            .put(self.at(path))
            .header("authorization", self.bearer())
            .header("content-type", "application/octet-stream")
            .header("content-length", length.to_string())
            .send(ureq::SendBody::from_reader(&mut body));
        self.read(answer, path)
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn unreachable(&self) -> String {
        format!("the service at {} cannot be reached: is it up, and does --ca name its CA?", self.base)
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        path: &str,
    ) -> anyhow::Result<T> {
        let mut answer = answer.with_context(|| self.unreachable())?;
        self.fail_on_problem(&mut answer, path)?;
        let bytes = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec()?;
        let bytes = if bytes.is_empty() { b"null".to_vec() } else { bytes };
        serde_json::from_slice(&bytes)
            .with_context(|| format!("the service's answer to {path} is not what this version expects"))
    }

    fn fail_on_problem(
        &self,
        answer: &mut ureq::http::Response<ureq::Body>,
        path: &str,
    ) -> anyhow::Result<()> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.body_mut().with_config().limit(1 << 20).read_to_vec().unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Refused(problem).into()),
            Err(_) => bail!(
                "{} answered {status} to {path} without a problem document: is this URL a Holdfast service?",
                self.base
            ),
        }
    }
}

/// `text` as one path segment or query value.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn tls(ca: &Path) -> anyhow::Result<ureq::tls::TlsConfig> {
    let pem = std::fs::read(ca).with_context(|| format!("the CA file {} cannot be read", ca.display()))?;
    let roots: Vec<ureq::tls::Certificate<'static>> = CertificateDer::pem_slice_iter(&pem)
        .map(|der| der.map(|der| ureq::tls::Certificate::from_der(&der).to_owned()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} holds no PEM certificate", ca.display()))?;
    if roots.is_empty() {
        bail!("{} holds no PEM certificate", ca.display());
    }
    Ok(ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
        .build())
}

fn token(connection: &Connection) -> anyhow::Result<String> {
    if let (Some(file), Some(role)) = (&connection.token_file, &connection.role) {
        let bytes = std::fs::read(file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?;
        let tokens: std::collections::BTreeMap<String, String> =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no token file", file.display()))?;
        return tokens.get(role).cloned().with_context(|| {
            format!(
                "{} has no token for the role {role}; it has {}",
                file.display(),
                tokens.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        });
    }
    if let Some(role) = &connection.role {
        bail!("--as {role} needs --token-file (or HOLDFAST_TOKEN_FILE)");
    }
    connection
        .token
        .clone()
        .context("no token: give --token, set HOLDFAST_TOKEN, or use --token-file with --as ROLE")
}

#[cfg(test)]
mod tests {
    #[test]
    fn path_segments_are_escaped_byte_by_byte() {
        assert_eq!(super::escaped("a/b c=é"), "a%2Fb%20c%3D%C3%A9");
    }
}
