//! The way to the service: who is spoken to ([`Site`]), as whom ([`Service`]), and what came back ([`Answer`]).
//!
//! One request at a time; a connection is kept for the next one. What proves something over a connection opens it
//! first ([`Service::connect`]), so that its exporter can be read before anything is sent.

mod link;
mod pace;
mod tls;

pub(crate) use tls::{is_certificate_refusal, is_told_expired};

use crate::clock;
use crate::config::Config;
use crate::error::DeviceError;
use crate::identity::Identity;
use crate::keystore::{KeyStore, Slot};
use crate::trust::{self, Known};
use holdfast_proto::Bytes;
use holdfast_proto::blob::DeviceBlob;
use holdfast_proto::problem::Problem;
use link::{Dialer, Prepared, Target};
use pace::{Kind, Limits, Patience};
use rustls::ClientConfig;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Response};
use ureq::unversioned::resolver::DefaultResolver;

/// Answers to enrolment, polls and secrets.
const ANSWER_MAX_BYTES: u64 = 4 << 20;
/// A connection that was idle for longer is opened anew rather than tried.
const KEPT: Duration = Duration::from_secs(15);
/// One that is held has no other to take its place; a TPM may think for long.
const HELD: Duration = Duration::from_hours(1);
/// The service ends a connection that is idle for 30 s.
const FRESH_MS: u64 = 10_000;

/// The service as this device knows it: its address, who vouches for it, and the time that is at least now.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    url: String,
    host: String,
    port: u16,
    /// DER; TUF's bundle once there is one, the blob's pinned roots before.
    roots: Vec<Bytes>,
    /// Unix seconds; no time before this is believed.
    pub(crate) floor: i64,
}

impl Site {
    /// What blob and trust state say.
    ///
    /// # Errors
    /// When the blob's URL is none.
    pub(crate) fn of(config: &Config, blob: &DeviceBlob) -> Result<Self, DeviceError> {
        Self::knowing(blob, trust::known(config)?)
    }

    /// As [`Site::of`], with what an open trust state says.
    ///
    /// # Errors
    /// As [`Site::of`].
    pub(crate) fn knowing(blob: &DeviceBlob, known: Known) -> Result<Self, DeviceError> {
        let wrong = || DeviceError::unusable(format!("{} is no https URL", blob.url));
        let rest = blob.url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, 443),
        };
        Ok(Self {
            url: blob.url.trim_end_matches('/').to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            roots: known.roots.unwrap_or_else(|| blob.ca_roots.clone()),
            floor: blob.minimum_time.max(known.signed_time.unwrap_or(0)),
        })
    }

    /// A server of a test on this host.
    #[cfg(test)]
    pub(crate) fn of_test(port: u16, root: Vec<u8>) -> Self {
        let (url, host) = (format!("https://localhost:{port}"), "localhost".to_owned());
        Self { url, host, port, roots: vec![root.into()], floor: crate::clock::wall() }
    }

    pub(crate) fn has_roots(&self, roots: &[Bytes]) -> bool {
        self.roots == roots
    }
}

/// How to reach the service, and as whom.
pub(crate) struct Service {
    target: Arc<Target>,
    /// Keeps one connection.
    agent: OnceLock<ureq::Agent>,
}

/// One connection and no other: what is proved over it holds nowhere else.
pub(crate) struct Held {
    agent: ureq::Agent,
    socket: TcpStream,
    opened_ms: u64,
    /// RFC 9266, 32 bytes.
    pub(crate) exporter: [u8; 32],
}

impl Held {
    /// Whether one more request may go over it that takes its time to prepare: it is open as far as this side can know,
    /// and not so old that the service will soon end it as idle.
    pub(crate) fn is_fresh(&self) -> bool {
        link::is_quiet(&self.socket) && clock::boottime_ms().saturating_sub(self.opened_ms) < FRESH_MS
    }
}

/// Status, headers and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer whose body is still to be read.
pub(crate) type Streaming = Response<ureq::Body>;

impl Service {
    /// Without a certificate: enrolment, recovery, the update repository's metadata.
    pub(crate) fn anonymous(site: &Site) -> Result<Self, DeviceError> {
        Self::with(site, tls::verified(site)?, |builder| Ok(builder.with_no_client_auth()))
    }

    /// With the device's certificate.
    pub(crate) fn as_device(
        site: &Site,
        identity: &Identity,
        keys: &dyn KeyStore,
        slot: Slot,
    ) -> Result<Self, DeviceError> {
        let chain =
            identity.certificate_chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        let certified = CertifiedKey::new(chain, keys.tls_key(slot)?);
        Self::with(site, tls::verified(site)?, |builder| {
            Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
        })
    }

    /// Whoever answers, and nothing is told to him: for `/v1/tuf` alone, whose files carry their own signatures, at
    /// first contact with a clock that makes every certificate look wrong.
    pub(crate) fn insecure_for_signed_metadata(site: &Site) -> Result<Self, DeviceError> {
        Self::with(site, tls::insecure_anyone(site), |builder| Ok(builder.with_no_client_auth()))
    }

    fn with(
        site: &Site,
        builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
        finish: impl FnOnce(
            rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
        ) -> Result<ClientConfig, DeviceError>,
    ) -> Result<Self, DeviceError> {
        let limits = Limits::default();
        let target = Target {
            url: site.url.clone(),
            host: site.host.clone(),
            port: site.port,
            tls: Arc::new(finish(builder)?),
            limits,
            patience: Patience::new(limits),
        };
        Ok(Self { target: Arc::new(target), agent: OnceLock::new() })
    }

    /// With less patience.
    #[cfg(test)]
    fn within(mut self, limits: Limits) -> Self {
        // Unwrap safety: it was just made, and nothing was connected by it.
        let target = Arc::get_mut(&mut self.target).unwrap();
        (target.limits, target.patience) = (limits, Patience::new(limits));
        self
    }

    /// Opens one connection and finishes its handshake.
    pub(crate) fn connect(&self) -> Result<Held, DeviceError> {
        let link = self.target.connect()?;
        let (socket, exporter) = (link.socket().map_err(DeviceError::unusable)?, link.exporter);
        let agent = ureq::Agent::with_parts(settings(HELD), Prepared::new(link), DefaultResolver::default());
        Ok(Held { agent, socket, opened_ms: clock::boottime_ms(), exporter })
    }

    /// One request over a connection that is held; an error, where that has ended.
    pub(crate) fn over(
        &self,
        held: &Held,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, DeviceError> {
        self.target.patience.begin(Kind::Answer);
        self.whole(self.run(&held.agent, method, path, headers, body)?)
    }

    /// One request over the connection that is kept; every status is an answer.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, DeviceError> {
        self.whole(self.stream(method, path, headers, body)?)
    }

    /// As [`Service::ask`], with the body still to be read.
    pub(crate) fn stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Streaming, DeviceError> {
        self.kept(Kind::Answer, method, path, headers, body)
    }

    /// A blob.
    pub(crate) fn blob(&self, path: &str, headers: &[(&str, String)]) -> Result<Streaming, DeviceError> {
        self.kept(Kind::Blob, "GET", path, headers, &[])
    }

    /// Over the connection that is kept.
    fn kept(
        &self,
        kind: Kind,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Streaming, DeviceError> {
        self.target.patience.begin(kind);
        let dialer = || Dialer(Arc::clone(&self.target));
        let agent = self
            .agent
            .get_or_init(|| ureq::Agent::with_parts(settings(KEPT), dialer(), DefaultResolver::default()));
        self.run(agent, method, path, headers, body)
    }

    /// As [`Service::ask`]; other statuses than 2xx are refusals.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, DeviceError> {
        self.ask(method, path, headers, body)?.accepted(path)
    }

    fn run(
        &self,
        agent: &ureq::Agent,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Streaming, DeviceError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.target.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let sent = if body.is_empty() {
            agent.run(request.body(()).map_err(DeviceError::unusable)?)
        } else {
            agent.run(
                request
                    .header("content-type", "application/json")
                    .body(body)
                    .map_err(DeviceError::unusable)?,
            )
        };
        sent.map_err(|error| self.target.failed(error))
    }

    fn whole(&self, mut answer: Streaming) -> Result<Answer, DeviceError> {
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec();
        Ok(Answer { status, headers, body: body.map_err(|error| self.target.failed(error))? })
    }
}

/// One connection, which may be idle for so long.
fn settings(idle: Duration) -> ureq::config::Config {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .max_idle_age(idle)
        .max_redirects(0)
        .build()
}

impl Answer {
    /// Itself for 2xx; else the problem that the service told.
    pub(crate) fn accepted(self, path: &str) -> Result<Self, DeviceError> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.refusal(path)) }
    }

    /// Why this is no answer that helps.
    pub(crate) fn refusal(&self, path: &str) -> DeviceError {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => DeviceError::Refused(Box::new(problem)),
            Err(_) => DeviceError::Status { path: path.to_owned(), status: self.status },
        }
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, DeviceError> {
        let wrong =
            |error: serde_json::Error| DeviceError::Answer { path: path.to_owned(), why: error.to_string() };
        serde_json::from_slice(&self.body).map_err(wrong)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Milliseconds of Retry-After, where it is a number of seconds.
    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        retry_after_ms(&self.headers)
    }
}

/// Milliseconds of Retry-After, where it is a number of seconds.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
