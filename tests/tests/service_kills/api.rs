//! The service as its callers see it: one request, and whether its end is known.

use anyhow::{Context as _, bail};
use holdfast_tests::plant::{Device, Plant};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 2xx: acknowledged.
    Done(Value),
    /// Another status: nothing was done.
    Refused(u16, Value),
    /// No answer came: it was done, or it was not.
    Lost,
    /// Nobody listens: it was not even asked for.
    Away,
}

/// One caller.
pub(crate) struct Api {
    agent: ureq::Agent,
    url: String,
    bearer: Option<String>,
}

impl Api {
    /// An operator, by the first token of a role.
    pub(crate) fn operator(plant: &Plant, role: &str) -> anyhow::Result<Self> {
        let tokens: Value = serde_json::from_slice(&std::fs::read(plant.data().join("tokens.json"))?)?;
        let token = tokens[role].as_str().with_context(|| format!("no token for {role}"))?;
        let agent = agent(&plant.data().join("ca.pem"), None)?;
        Ok(Self { agent, url: plant.url.clone(), bearer: Some(format!("Bearer {token}")) })
    }

    /// A device that keeps its key in a file, by its certificate.
    pub(crate) fn device(url: &str, ca: &Path, device: &Device) -> anyhow::Result<Self> {
        let key = std::fs::read(device.folder.join("state/key.pk8"))?;
        let chain: Vec<_> = chain(device)?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(pem(&key).as_bytes())?;
        Ok(Self { agent: agent(ca, Some((chain, key)))?, url: url.to_owned(), bearer: None })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        ended(request.call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.agent.post(format!("{}{path}", self.url)), body)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.agent.put(format!("{}{path}", self.url)), body)
    }

    /// Only if the record is still of this version.
    pub(crate) fn put_if_match(&self, path: &str, body: &Value, version: i64) -> Answer {
        let request = self.agent.put(format!("{}{path}", self.url));
        self.send(request.header("if-match", format!("\"{version}\"")), body)
    }

    fn send(&self, mut request: ureq::RequestBuilder<ureq::typestate::WithBody>, body: &Value) -> Answer {
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        ended(request.send_json(body))
    }

    /// What a request that must succeed answers: the service is up and stays up.
    pub(crate) fn read(&self, path: &str) -> anyhow::Result<Value> {
        match self.get(path) {
            Answer::Done(value) => Ok(value),
            other => bail!("{path}: {other:?}"),
        }
    }

    /// Every page of a list.
    pub(crate) fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.read(&format!("{path}{join}limit=1000{cursor}"))?;
            items.extend(page["items"].as_array().context("no items")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }
}

fn ended(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Answer::Away;
        }
        Err(_) => return Answer::Lost,
    };
    let status = answer.status().as_u16();
    match (status, answer.body_mut().read_json()) {
        (200..=299, Ok(value)) => Answer::Done(value),
        // Whoever was told to come again does not know either.
        (500.., _) | (_, Err(_)) => Answer::Lost,
        (_, Ok(problem)) => Answer::Refused(status, problem),
    }
}

/// One connection a request: a connection that a kill has closed is no answer.
fn agent(
    ca: &Path,
    identity: Option<(Vec<Certificate<'static>>, PrivateKey<'static>)>,
) -> anyhow::Result<ureq::Agent> {
    let root = Certificate::from_pem(&std::fs::read(ca)?)?.to_owned();
    let identity = identity.map(|(chain, key)| ClientCert::new_with_certs(&chain, key));
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&[root]))
        .client_cert(identity)
        .build();
    Ok(ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent())
}

/// A device's certificates, leaf first, DER.
fn chain(device: &Device) -> anyhow::Result<Vec<Vec<u8>>> {
    let identity: Value = serde_json::from_slice(&std::fs::read(device.folder.join("state/identity.json"))?)?;
    let chain = identity["certificate_chain"].as_array().context("no chain")?;
    chain.iter().map(from_base64).collect()
}

/// The serial of a device's certificate, lower-case hex.
pub(crate) fn certificate_serial(device: &Device) -> anyhow::Result<String> {
    let chain = chain(device)?;
    let leaf = chain.first().context("no certificate")?;
    // RFC 5280: version [0] { INTEGER 2 }, then serialNumber; ours is short enough for one octet of length.
    let version = [0xA0, 0x03, 0x02, 0x01, 0x02, 0x02];
    let at = leaf.windows(version.len()).position(|bytes| bytes == version).context("no version")?;
    let rest = leaf.get(at + version.len()..).context("no serial")?;
    let (length, rest) = rest.split_first().context("no length")?;
    let serial = rest.get(..usize::from(*length)).context("a short serial")?;
    let octet = |mut hex: String, byte: &u8| {
        _ = write!(hex, "{byte:02x}");
        hex
    };
    Ok(serial.iter().fold(String::new(), octet))
}

pub(crate) fn from_base64(value: &Value) -> anyhow::Result<Vec<u8>> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::STANDARD.decode(value.as_str().context("no text")?)?)
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn pem(pkcs8: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", to_base64(pkcs8))
}
