//! The way to the service: mutual TLS, bounded answers, a breaker.
//!
//! Its refusals are sorted here into what they mean for an EdgeSecret ([`Refused`]).

use super::crd::HoldfastSiteSpec;
use super::identity::Identity;
use crate::clock::Clock;
use anyhow::{Context as _, ensure};
use holdfast_proto::api::secret::{ReadForWorkload, SecretValue};
use holdfast_proto::api::site::{ControllerIssued, ControllerSite, EnrollController, RenewController};
use holdfast_proto::problem::Problem;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes as Body;
use hyper::{Method, Request, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;
use zeroize::Zeroizing;

const TIMEOUT: Duration = Duration::from_secs(15);
/// A value of 1 MiB in base64, with room.
const ANSWER_MAX_BYTES: usize = 2 << 20;
/// The breaker stays open no longer than this, seconds.
const BREAKER_MAX_S: u64 = 30;

/// A service with or without our certificate.
pub struct Service {
    client: Client<HttpsConnector<HttpConnector>, Full<Body>>,
    base: String,
    breaker: Breaker,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the service cannot be reached")]
    Unreachable(#[source] anyhow::Error),
    #[error("the service was not reached a moment ago: it is asked again soon")]
    BreakerOpen,
    #[error("{}", .0.detail.as_deref().unwrap_or(&.0.title))]
    Refused(Problem),
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This workload may not.
    Denied,
    /// It may, and there is none.
    Missing,
    /// The workload's token does not count.
    TokenRefused,
    /// Our own certificate does not count.
    ControllerRefused,
    /// Not now.
    Busy,
    /// The request itself.
    Malformed,
}

impl Refused {
    /// By the problem's stable code, and its status where the code is not known here.
    pub fn of(problem: &Problem) -> Self {
        match (problem.code.as_str(), problem.status) {
            ("not-granted", _) => Self::Denied,
            ("not-found", _) => Self::Missing,
            (
                "no-client-certificate"
                | "certificate-unknown"
                | "certificate-revoked"
                | "certificate-expired"
                | "wrong-certificate-profile",
                _,
            ) => Self::ControllerRefused,
            (code, 403) if code.starts_with("token-") => Self::TokenRefused,
            (_, 408 | 429 | 500..) => Self::Busy,
            _ => Self::Malformed,
        }
    }
}

impl Service {
    /// Opens the way; `identity` is what we show.
    pub fn open(spec: &HoldfastSiteSpec, identity: Option<&Identity>) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&spec.trust.ca_bundle, identity)?)
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(8).build(connector);
        Ok(Self { client, base: spec.server.trim_end_matches('/').to_owned(), breaker: Breaker::default() })
    }

    pub async fn enroll(&self, body: &EnrollController) -> Result<ControllerIssued, Failure> {
        self.ask(Method::POST, "/v1/site/enroll", Some(body)).await
    }

    pub async fn renew(&self, csr: Vec<u8>) -> Result<ControllerIssued, Failure> {
        self.ask(Method::POST, "/v1/site/renew", Some(&RenewController { csr: csr.into() })).await
    }

    /// Who the service takes us for.
    pub async fn hello(&self) -> Result<ControllerSite, Failure> {
        self.ask(Method::GET, "/v1/site", None::<&()>).await
    }

    /// Reads for a workload. While the service was not reached a moment ago nobody is asked.
    pub async fn read(&self, body: &ReadForWorkload, clock: &Clock) -> Result<SecretValue, Failure> {
        if self.breaker.is_open(clock.now()) {
            return Err(Failure::BreakerOpen);
        }
        let answer = self.ask(Method::POST, "/v1/site/secret", Some(body)).await;
        match &answer {
            Err(Failure::Unreachable(_)) => self.breaker.failed(clock.now()),
            _ => self.breaker.answered(),
        }
        answer
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let exchange = async {
            let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.base))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Body::from(body)))?;
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let read = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
            let bytes =
                read.map_err(|error| anyhow::anyhow!("the answer breaks off or is too long: {error}"))?;
            anyhow::Ok((status.is_success(), status.as_u16(), Zeroizing::new(bytes.to_bytes().to_vec())))
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let late = || anyhow::anyhow!("it did not answer within {} s", TIMEOUT.as_secs());
        let (good, status, bytes) =
            answered.map_err(|_| Failure::Unreachable(late()))?.map_err(Failure::Unreachable)?;
        if good {
            // The parser's error may quote what it read, which may be a value.
            let unreadable = || anyhow::anyhow!("its answer is not of the form wanted");
            return serde_json::from_slice(&bytes).map_err(|_| Failure::Unreachable(unreadable()));
        }
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
            kind: "about:blank".to_owned(),
            title: format!("the service answered {status}"),
            status,
            code: String::new(),
            detail: None,
            record: None,
        });
        Err(Failure::Refused(Problem { status, ..problem }))
    }
}

fn tls(ca_bundle: &str, identity: Option<&Identity>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots
            .add(certificate.context("trust.caBundle is no PEM")?)
            .context("trust.caBundle holds what is no CA")?;
    }
    ensure!(!roots.is_empty(), "trust.caBundle holds no certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    Ok(match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.tls();
            config.with_client_auth_cert(chain, key).context("the controller's certificate cannot be used")?
        }
    })
}

/// Closed while the service answers; after each failure open for longer, by chance, so that a site's objects do not
/// all come back at once.
#[derive(Default)]
struct Breaker {
    failures: AtomicU32,
    open_until: AtomicI64,
}

impl Breaker {
    fn is_open(&self, now: i64) -> bool {
        now < self.open_until.load(Ordering::SeqCst)
    }

    fn failed(&self, now: i64) {
        let failures = self.failures.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let most = (1_u64 << failures.min(6)).min(BREAKER_MAX_S);
        self.open_until.store(now + 1 + crate::chance::below(most) as i64, Ordering::SeqCst);
    }

    fn answered(&self) {
        self.failures.store(0, Ordering::SeqCst);
        self.open_until.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_sorted_by_their_stable_code() {
        let problem = |code: &str, status: u16| Problem {
            kind: String::new(),
            title: String::new(),
            status,
            code: code.to_owned(),
            detail: None,
            record: None,
        };
        for (code, status, meaning) in [
            ("not-granted", 403, Refused::Denied),
            ("not-found", 404, Refused::Missing),
            ("token-audience", 403, Refused::TokenRefused),
            ("certificate-revoked", 401, Refused::ControllerRefused),
            ("sealed", 503, Refused::Busy),
            ("database-busy", 503, Refused::Busy),
            ("too-many-requests", 429, Refused::Busy),
            ("internal", 500, Refused::Busy),
            ("malformed-path", 400, Refused::Malformed),
            // What does not say that the workload may not must never empty a Secret.
            ("", 403, Refused::Malformed),
        ] {
            assert_eq!(Refused::of(&problem(code, status)), meaning, "{code}");
        }
    }

    #[test]
    fn the_breaker_opens_for_longer_with_each_failure_and_closes_with_an_answer() {
        let breaker = Breaker::default();
        assert!(!breaker.is_open(100));
        for _ in 0..100 {
            breaker.failed(100);
            assert!(breaker.is_open(100) && !breaker.is_open(101 + BREAKER_MAX_S as i64));
        }
        breaker.answered();
        assert!(!breaker.is_open(100));
    }
}
