//! The HoldfastSite: enrols, keeps the connection to the service, tries the fence again, says how it goes.

use super::apply;
use super::condition::{self, Truth, next, rfc3339};
use super::crd::{HoldfastSite, HoldfastSiteSpec, HoldfastSiteStatus, SITE_NAME};
use super::fence::{self, FenceError};
use super::identity::{Identity, Keep, Pending};
use super::reconcile::{Context, chain};
use super::service::{Failure, Refused, Service};
use anyhow::Context as _;
use holdfast_proto::api::site::EnrollController;
use holdfast_trust::workload::audience;
use kube::api::Api;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use zeroize::Zeroizing;

const TICK: Duration = Duration::from_secs(10);
const TICK_WHILE_AWAY: Duration = Duration::from_secs(2);
/// How often `lastSeen` is written, seconds.
const SEEN_S: i64 = 60;

/// The connection that rounds use.
#[derive(Clone, Default)]
pub struct Link(Arc<RwLock<Option<Arc<Connected>>>>);

/// A way to the service that shows our certificate.
pub struct Connected {
    pub service: Service,
    /// Of this site's tokens.
    pub audience: String,
    spec: HoldfastSiteSpec,
    not_after: i64,
}

impl Link {
    pub fn current(&self) -> Option<Arc<Connected>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connected: Option<Arc<Connected>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = connected;
    }
}

/// The keeper of the connection.
pub struct SiteKeeper {
    pub ctx: Arc<Context>,
    pub keep: Keep,
    /// Holds the one-time token until it was used.
    pub bootstrap_token: Option<PathBuf>,
    spent: Option<Zeroizing<String>>,
    written: Option<(HoldfastSiteStatus, i64)>,
}

/// Why there is no connection: one word, one sentence.
struct Apart {
    reason: &'static str,
    message: String,
}

impl Apart {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl SiteKeeper {
    pub fn new(ctx: Arc<Context>, keep: Keep, bootstrap_token: Option<PathBuf>) -> Self {
        Self { ctx, keep, bootstrap_token, spent: None, written: None }
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        loop {
            let pause = match self.tick().await {
                Ok(true) => TICK,
                Ok(false) => TICK_WHILE_AWAY,
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "the HoldfastSite could not be looked after");
                    TICK_WHILE_AWAY
                }
            };
            tokio::time::sleep(pause + Duration::from_millis(crate::chance::below(500))).await;
        }
    }

    /// True: connected.
    async fn tick(&mut self) -> anyhow::Result<bool> {
        let api: Api<HoldfastSite> = Api::all(self.ctx.client.clone());
        let Some(site) = api.get_opt(SITE_NAME).await.context("the HoldfastSite cannot be read")? else {
            self.ctx.link.set(None);
            tracing::info!("there is no HoldfastSite `default` yet");
            return Ok(false);
        };
        match fence::check(&self.ctx.client, None).await {
            Err(error @ FenceError::Open { .. }) => {
                self.ctx.open_fence.send_replace(Some(error.to_string()));
                return Err(error.into());
            }
            other => other?,
        }
        let connected = self.connect(&site.spec).await;
        let says = match &connected {
            Ok(()) => (Truth::True, "Connected", "the service answers and knows this controller"),
            Err(apart) => (Truth::False, apart.reason, apart.message.as_str()),
        };
        self.say(&site, says).await?;
        Ok(connected.is_ok())
    }

    async fn say(&mut self, site: &HoldfastSite, connected: (Truth, &str, &str)) -> anyhow::Result<()> {
        let now = self.ctx.clock.now();
        let before = site.status.clone().unwrap_or_default();
        let (synced, all) = self.ctx.synced();
        let count = format!("{synced} of {all} EdgeSecrets are synced");
        let set = |kind: &str, says| next(&before.conditions, kind, says, site.metadata.generation, now);
        let fenced = (Truth::True, "Refused", "the API server refuses to show Secrets to the controller");
        let conditions = vec![
            set("Connected", connected),
            set("Fenced", fenced),
            set(
                "Synced",
                (Truth::of(synced == all), if synced == all { "Synced" } else { "NotAll" }, &count),
            ),
        ];
        let last_seen =
            if connected.0 == Truth::True { Some(rfc3339(now)) } else { before.last_seen.clone() };
        let status =
            HoldfastSiteStatus { observed_generation: site.metadata.generation, conditions, last_seen };
        let due = self.written.as_ref().is_none_or(|(written, at)| {
            written.conditions != status.conditions
                || before.conditions != status.conditions
                || now >= at + SEEN_S
        });
        if due {
            let moved = condition::find(&before.conditions, "Connected").map(|c| c.status.clone());
            if moved.as_deref() != Some(connected.0.as_str()) {
                tracing::info!(
                    reason = connected.1,
                    connected = connected.0.as_str(),
                    "the connection to the service changed"
                );
            }
            apply::site_status(&self.ctx.client, &status)
                .await
                .context("the HoldfastSite's status cannot be written")?;
            self.written = Some((status, now));
        }
        Ok(())
    }

    /// Sees to it that the link shows a certificate that is good, to the service that the HoldfastSite names.
    async fn connect(&mut self, spec: &HoldfastSiteSpec) -> Result<(), Apart> {
        let now = self.ctx.clock.now();
        let kept = self
            .keep
            .load(&spec.tenant, &spec.site)
            .map_err(|error| Apart::new("DataFolder", format!("{error:#}")))?;
        let identity = if let Some(identity) = kept.filter(|identity| !identity.is_over(now)) {
            identity
        } else {
            self.ctx.link.set(None);
            self.enroll(spec).await?
        };
        let identity = self.renewed(spec, identity).await;
        let current = self.ctx.link.current();
        let fits = |link: &Connected| link.spec == *spec && link.not_after == identity.not_after;
        let link = if let Some(link) = current.filter(|link| fits(link)) {
            link
        } else {
            let service = Service::open(spec, Some(&identity))
                .map_err(|error| Apart::new("Trust", format!("{error:#}")))?;
            let audience = audience(&spec.tenant, &spec.site);
            let link = Connected { service, audience, spec: spec.clone(), not_after: identity.not_after };
            let link = Arc::new(link);
            self.ctx.link.set(Some(Arc::clone(&link)));
            link
        };
        match link.service.hello().await {
            Ok(hello) if hello.tenant == spec.tenant && hello.site == spec.site => Ok(()),
            Ok(hello) => Err(Apart::new(
                "OtherSite",
                format!("the service takes this controller for {}/{}", hello.tenant, hello.site),
            )),
            Err(Failure::Refused(problem)) if Refused::of(&problem) == Refused::ControllerRefused => {
                // A new one-time token mends that.
                self.enroll(spec).await.map(drop)
            }
            Err(failure) => Err(apart(&failure)),
        }
    }

    /// The first certificate, for the one-time token. A token that was refused is not tried again.
    async fn enroll(&mut self, spec: &HoldfastSiteSpec) -> Result<Identity, Apart> {
        let wanted =
            "it needs a one-time token: `holdfast site controller-token SITE`, then --bootstrap-token-file";
        let path = self.bootstrap_token.as_ref().ok_or_else(|| Apart::new("NotEnrolled", wanted))?;
        let token = std::fs::read_to_string(path).map(Zeroizing::new);
        let token = token
            .map_err(|error| Apart::new("NotEnrolled", format!("{}: {error}; {wanted}", path.display())))?;
        let token = Zeroizing::new(token.trim().to_owned());
        if self.spent.as_ref() == Some(&token) {
            return Err(Apart::new(
                "TokenSpent",
                format!("the token in {} was used or refused; {wanted}", path.display()),
            ));
        }
        let broken = |error: anyhow::Error| Apart::new("DataFolder", format!("{error:#}"));
        let pending = Pending::make().map_err(broken)?;
        let service = Service::open(spec, None).map_err(|error| Apart::new("Trust", format!("{error:#}")))?;
        let body = EnrollController {
            site: spec.site.clone(),
            token: token.to_string(),
            csr: pending.csr.clone().into(),
        };
        let issued = service.enroll(&body).await;
        drop(Zeroizing::new(body.token));
        let issued = match issued {
            Ok(issued) => issued,
            Err(failure) => {
                if matches!(&failure, Failure::Refused(problem) if problem.code == "bootstrap-token") {
                    self.spent = Some(token);
                }
                return Err(apart(&failure));
            }
        };
        self.spent = Some(token);
        let identity = pending.issued(&spec.site, issued, self.ctx.clock.now()).map_err(broken)?;
        if identity.tenant != spec.tenant {
            return Err(Apart::new(
                "OtherSite",
                format!("the service's tenant is {}, not {}", identity.tenant, spec.tenant),
            ));
        }
        self.keep.save(&identity).map_err(broken)?;
        tracing::info!(site = %spec.site, "the controller enrolled");
        Ok(identity)
    }

    /// At half of its life; a renewal that fails is tried again at the next tick.
    async fn renewed(&self, spec: &HoldfastSiteSpec, identity: Identity) -> Identity {
        if !identity.is_due(self.ctx.clock.now()) {
            return identity;
        }
        match self.renew(spec, &identity).await {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the controller's certificate was not renewed");
                identity
            }
        }
    }

    async fn renew(&self, spec: &HoldfastSiteSpec, identity: &Identity) -> anyhow::Result<Identity> {
        let pending = Pending::make()?;
        let issued = Service::open(spec, Some(identity))?.renew(pending.csr.clone()).await?;
        let renewed = pending.issued(&spec.site, issued, self.ctx.clock.now())?;
        self.keep.save(&renewed)?;
        tracing::info!(site = %spec.site, "the controller's certificate was renewed");
        Ok(renewed)
    }
}

fn apart(failure: &Failure) -> Apart {
    let reason = match failure {
        Failure::Unreachable(_) | Failure::BreakerOpen => "ServiceAway",
        Failure::Refused(problem) if problem.code == "bootstrap-token" => "TokenRefused",
        Failure::Refused(_) => "Refused",
    };
    Apart::new(reason, chain(failure))
}

/// Says on the HoldfastSite that the fence does not hold: the controller's last word.
pub async fn say_unfenced(ctx: &Context, message: &str) -> anyhow::Result<()> {
    let api: Api<HoldfastSite> = Api::all(ctx.client.clone());
    let Some(site) = api.get_opt(SITE_NAME).await? else { return Ok(()) };
    let before = site.status.clone().unwrap_or_default();
    let mut conditions: Vec<_> =
        before.conditions.iter().filter(|one| one.kind != "Fenced").cloned().collect();
    let says = (Truth::False, "SecretsReadable", message);
    conditions.push(next(&before.conditions, "Fenced", says, site.metadata.generation, ctx.clock.now()));
    let status = HoldfastSiteStatus { observed_generation: site.metadata.generation, conditions, ..before };
    Ok(apply::site_status(&ctx.client, &status).await?)
}
