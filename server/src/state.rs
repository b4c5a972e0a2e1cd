//! What every handler and every job can reach: one value, cheap to clone, built once at the start.

use crate::ca::Hierarchy;
use crate::checkin::nonce::NonceKey;
use crate::checkin::ops::Seen;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::enroll::ops::EkTrustCache;
use crate::http::limit::RateLimit;
use crate::http::tls::ServerCertificate;
use crate::keyring::kek::{FileKek, write_private};
use crate::keyring::{Keyring, Restored};
use crate::repo::Repo;
use crate::repo::blob::Files;
use crate::repo::sign::OnlineKeySet;
use crate::rollout::ops::Leases;
use crate::tx;
use crate::work::Wake;
use anyhow::Context as _;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The service's parts. A noun that needs a part of its own adds one field here.
pub struct Parts {
    pub config: Config,
    pub clock: Clock,
    pub db: Db,
    pub keyring: Keyring,
    pub ca: Hierarchy,
    /// Base URL that devices and commands use.
    pub public_url: String,
    pub server_certificate: Arc<ServerCertificate>,
    pub enroll_limit: RateLimit,
    pub sign_in_limit: RateLimit,
    /// Requests under way at once.
    pub places: tokio::sync::Semaphore,
    pub sessions: crate::enroll::session::SessionKey,
    /// True once the service ends: long builds break off.
    pub stopping: AtomicBool,
    /// When this process began, Unix seconds.
    pub started_at: i64,
    pub repo: Repo,
    pub leases: Leases,
    pub seen: Seen,
    pub ek_trust: EkTrustCache,
    pub nonce_key: NonceKey,
    /// Wakes the planner.
    pub wake_rollouts: Wake,
    /// Wakes the worker that builds deltas.
    pub wake_deltas: Wake,
    /// Wakes the worker that keeps the online metadata young.
    pub wake_metadata: Wake,
}

/// [`Parts`], shared. `State(state): State<AppState>` in a handler.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Unix seconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The folder of content-addressed blobs.
    pub fn blob_dir(&self) -> PathBuf {
        self.config.data_dir.join("blobs")
    }

    /// The one embedded tenant, for jobs. Handlers take the tenant from the caller.
    pub fn tenant(&self) -> &'static str {
        crate::db::DEFAULT_TENANT
    }
}

impl AppState {
    /// Opens database, keyring and authorities; makes what the first start makes. `local_url` is where the
    /// listener is bound.
    pub async fn open(
        config: Config,
        clock: Clock,
        local_url: &str,
        restored: Restored,
    ) -> anyhow::Result<Self> {
        let dir = &config.data_dir;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("the data folder {} cannot be made", dir.display()))?;
        let db = Db::open(&config.database_url(), config.database.max_connections)
            .await
            .context("the database cannot be opened")?;
        db.migrate().await.context("the database cannot be brought up to date")?;
        let tenant = crate::db::DEFAULT_TENANT;
        let now = clock.now();
        let kek = Arc::new(FileKek::open_or_create(dir)?);
        let keyring = Keyring::open_at(db.clone(), kek, tenant, restored).await?;
        let ca = Hierarchy::open_or_make(&db, &keyring, tenant, now).await?;
        write_private(&dir.join("ca.pem"), pem(&ca.root.certificate).as_bytes())?;
        let public_url = if config.listen.public_url.is_empty() {
            local_url.to_owned()
        } else {
            config.listen.public_url.trim_end_matches('/').to_owned()
        };
        let names = server_names(&config, &public_url);
        let (issued, key) = tx!(db, "ca.issue_server", |tx| ca.issue_server(tx, tenant, &names, now).await)?;
        let server_certificate = Arc::new(ServerCertificate::new(issued.chain, &key)?);
        let sessions = crate::enroll::session::SessionKey::open_or_make(&keyring, now).await?;
        let blobs = Files::open(&dir.join("blobs")).context("the blob folder cannot be opened")?;
        let online = OnlineKeySet::open_or_make(&keyring, now).await?;
        let repo = Repo::new(db.clone(), online, Arc::new(blobs), tenant, &ca.root.certificate);
        let nonce_key = NonceKey::open_or_make(&keyring, now).await?;
        crate::operator::ops::first_start(&db, dir, tenant, now).await?;
        let limits = &config.limits;
        let enroll_limit = RateLimit::new(limits.enroll_per_second, limits.enroll_burst);
        let sign_in_limit = RateLimit::new(limits.sign_in_per_second, limits.sign_in_burst);
        let places = tokio::sync::Semaphore::new(limits.concurrent_requests);
        Ok(Self(Arc::new(Parts {
            config,
            clock,
            db,
            keyring,
            ca,
            public_url,
            server_certificate,
            enroll_limit,
            sign_in_limit,
            places,
            sessions,
            stopping: AtomicBool::new(false),
            started_at: now,
            repo,
            leases: Leases::since(now),
            seen: Seen::default(),
            ek_trust: EkTrustCache::default(),
            nonce_key,
            wake_rollouts: Wake::default(),
            wake_deltas: Wake::default(),
            wake_metadata: Wake::default(),
        })))
    }

    /// A new certificate for the listener: long before the old one ends.
    pub async fn renew_server_certificate(&self) -> anyhow::Result<()> {
        let names = server_names(&self.config, &self.public_url);
        let now = self.now();
        let (issued, key) =
            tx!(self.db, "ca.issue_server", |tx| self.ca.issue_server(tx, self.tenant(), &names, now).await)?;
        self.server_certificate.replace(issued.chain, &key)?;
        Ok(())
    }
}

fn server_names(config: &Config, public_url: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(config.listen.names.iter().cloned());
    if let Some(host) = public_url.strip_prefix("https://") {
        let host = host.split('/').next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        names.push(host.trim_matches(['[', ']']).to_owned());
    }
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

/// PEM of one certificate.
pub fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
