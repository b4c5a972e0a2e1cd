//! The way to the service: one TLS connection at a time, whose exporter can be read before anything is sent.

use crate::clock::TlsTime;
use crate::config::Config;
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::keystore::{self, KeyStore, Slot};
use holdfast_proto::api::secret::SecretValue;
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::enroll::EXPORTER_LABEL;
use holdfast_proto::problem::Problem;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const IO_TIMEOUT: Duration = Duration::from_secs(120);
/// Answers to enrolment, polls and secrets.
const ANSWER_MAX_BYTES: u64 = 4 << 20;
const BUFFER_BYTES: usize = 16 << 10;

/// How to reach the service, and as whom.
pub(crate) struct Service {
    url: String,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

/// Status, headers and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Service {
    /// Without a certificate: enrolment and recovery.
    pub(crate) fn anonymous(blob: &DeviceBlob) -> Result<Self, DeviceError> {
        Self::with(blob, |builder| Ok(builder.with_no_client_auth()))
    }

    /// With the device's certificate.
    pub(crate) fn as_device(blob: &DeviceBlob, identity: &Identity, keys: &dyn KeyStore, slot: Slot) -> Result<Self, DeviceError> {
        let chain = identity.certificate_chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        let certified = CertifiedKey::new(chain, keys.tls_key(slot)?);
        Self::with(blob, |builder| Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))))
    }

    fn with(
        blob: &DeviceBlob,
        finish: impl FnOnce(rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>) -> Result<ClientConfig, DeviceError>,
    ) -> Result<Self, DeviceError> {
        let wrong = || DeviceError::unusable(format!("{} is no https URL", blob.url));
        let rest = blob.url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, 443),
        };
        let mut roots = RootCertStore::empty();
        for root in &blob.ca_roots {
            roots.add(CertificateDer::from(root.0.clone()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let time = Arc::new(TlsTime { floor: blob.minimum_time });
        let builder = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let tls = Arc::new(finish(builder)?);
        Ok(Self { url: blob.url.trim_end_matches('/').to_owned(), host: host.trim_matches(['[', ']']).to_owned(), port, tls })
    }

    /// Opens one connection and finishes its handshake.
    pub(crate) fn connect(&self) -> Result<Link, DeviceError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| DeviceError::Unreachable { url: self.url.clone(), source };
        let mut last = None;
        let addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(|error| failed(error.into()))?;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return self.handshake(stream).map_err(failed),
                Err(error) => last = Some(error),
            }
        }
        Err(failed(last.map_or_else(|| "the name has no address".into(), Into::into)))
    }

    fn handshake(&self, stream: TcpStream) -> Result<Link, Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let name = ServerName::try_from(self.host.clone())?;
        let mut connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut stream = stream;
        connection.complete_io(&mut stream)?;
        let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let buffers = LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES);
        Ok(Link { stream: StreamOwned::new(connection, stream), buffers, exporter })
    }

    /// Sends one request over a connection that is open already.
    pub(crate) fn send(
        &self,
        link: Link,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, DeviceError> {
        let agent = ureq::Agent::with_parts(
            ureq::Agent::config_builder().http_status_as_error(false).max_idle_connections(0).max_redirects(0).build(),
            Prepared(Mutex::new(Some(link))),
            DefaultResolver::default(),
        );
        let failed = |source: ureq::Error| DeviceError::Unreachable { url: self.url.clone(), source: source.into() };
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(body).map_err(DeviceError::unusable)?;
        let mut answer = agent.run(request).map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec().map_err(failed)?;
        Ok(Answer { status, body })
    }

    /// One request on a connection of its own; other statuses than 2xx are refusals.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, String)], body: &[u8]) -> Result<Answer, DeviceError> {
        let answer = self.send(self.connect()?, method, path, headers, body)?;
        answer.accepted(path)
    }
}

impl Answer {
    /// Itself for 2xx; else the problem that the service told.
    pub(crate) fn accepted(self, path: &str) -> Result<Self, DeviceError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Err(DeviceError::Refused(Box::new(problem))),
            Err(_) => Err(DeviceError::Status { path: path.to_owned(), status: self.status }),
        }
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, DeviceError> {
        let wrong = |error: serde_json::Error| DeviceError::Answer { path: path.to_owned(), why: error.to_string() };
        serde_json::from_slice(&self.body).map_err(wrong)
    }
}

/// One TLS connection, its handshake done.
pub(crate) struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffers: LazyBuffers,
    /// RFC 9266, 32 bytes.
    pub(crate) exporter: [u8; 32],
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        // Unwrap safety: ureq asks for no more than it wrote into this buffer.
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Gives the one connection that was opened before.
#[derive(Debug)]
struct Prepared(Mutex<Option<Link>>);

impl Connector<()> for Prepared {
    type Out = Link;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, ureq::Error> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        link.map(Some).ok_or(ureq::Error::ConnectionFailed)
    }
}

/// `secret PATH`: reads a secret and writes its value to standard output.
pub(crate) fn read_secret(config: &Config, path: &str) -> Result<(), DeviceError> {
    let (blob, identity, keys) = (config.read_blob()?, Identity::required(config)?, keystore::open(config)?);
    let service = Service::as_device(&blob, &identity, keys.as_ref(), Slot::Current)?;
    let path = format!("/v1/secret/{path}");
    let value: SecretValue = service.call("GET", &path, &[], &[])?.json(&path)?;
    let written = std::io::stdout().write_all(&value.value).and_then(|()| std::io::stdout().flush());
    written.map_err(|source| DeviceError::Write { path: "standard output".into(), source })
}
