//! One round of one EdgeSecret: ask the service, write the Secret, say how it went. May run twice.

use super::apply::{self, ApplyError, Writer};
use super::condition;
use super::crd::{EdgeSecret, EdgeSecretStatus, SourceStatus};
use super::edge_secret::{self, Desired, Outcome, READY, Value, desired, interval_s, kept_until};
use super::fence::{self, FenceError};
use super::service::{Failure, Refused};
use super::site::Link;
use super::token::Tokens;
use crate::clock::Clock;
use holdfast_proto::api::secret::ReadForWorkload;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// An unchanged Secret is applied again after this long, by chance up to a tenth sooner: that repairs drift.
const REAPPLY_S: i64 = 3_600;
/// A namespace's fence holds this long before it is tried again.
const FENCE_S: i64 = 600;
/// Rounds that failed are tried again after no longer than this.
const BACKOFF_MAX_S: u64 = 30;

/// A change of this annotation asks for a round now, and for the Secret to be applied anew.
pub const REFRESH: &str = "holdfast.dev/refresh";

/// What every round stands on.
pub struct Context {
    pub client: Client,
    pub clock: Clock,
    pub link: Link,
    /// Told once when a fence does not hold.
    pub open_fence: tokio::sync::watch::Sender<Option<String>>,
    /// Metadata of every EdgeSecret that there is, as the watch keeps it.
    pub objects: Store<PartialObjectMeta<EdgeSecret>>,
    tokens: Tokens,
    known: Mutex<HashMap<Key, Known>>,
    fenced: Mutex<HashMap<String, i64>>,
}

type Key = ObjectRef<PartialObjectMeta<EdgeSecret>>;

/// What is kept of an EdgeSecret between rounds.
#[derive(Default, Clone)]
struct Known {
    uid: Option<String>,
    generation: Option<i64>,
    /// Of the annotation that asks for a round.
    refresh: Option<String>,
    source: Option<SourceStatus>,
    apply_again_at: i64,
    last_good: Option<i64>,
    is_empty: bool,
    failures: u32,
    is_synced: bool,
}

/// What was found out at the service.
enum Observed {
    Values(Vec<Value>),
    Denied { reason: &'static str, message: String },
    Unproven { reason: &'static str, message: String },
    Faulty { reason: &'static str, message: String },
    Away { reason: &'static str, message: String },
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    #[error("the API server did not answer well")]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Fence(#[from] FenceError),
}

impl Context {
    pub fn new(client: Client, clock: Clock, objects: Store<PartialObjectMeta<EdgeSecret>>) -> Self {
        let (open_fence, _) = tokio::sync::watch::channel(None);
        let (tokens, known, fenced) = (Tokens::default(), Mutex::default(), Mutex::default());
        Self { client, clock, link: Link::default(), open_fence, objects, tokens, known, fenced }
    }

    /// EdgeSecrets that are synced, and all that there are. What was known of others is forgotten: no round comes for
    /// an object that is gone.
    pub fn synced(&self) -> (usize, usize) {
        let mut known = lock(&self.known);
        known.retain(|key, _| self.objects.get(key).is_some());
        (known.values().filter(|one| one.is_synced).count(), self.objects.len())
    }

    async fn fence(&self, namespace: &str) -> Result<(), FenceError> {
        let now = self.clock.now();
        if lock(&self.fenced).get(namespace).is_some_and(|until| now < *until) {
            return Ok(());
        }
        match fence::check(&self.client, Some(namespace)).await {
            Ok(()) => {
                lock(&self.fenced).insert(namespace.to_owned(), now + FENCE_S);
                Ok(())
            }
            Err(error) => {
                if matches!(error, FenceError::Open { .. }) {
                    self.open_fence.send_replace(Some(error.to_string()));
                }
                Err(error)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One round.
pub async fn round(
    meta: Arc<PartialObjectMeta<EdgeSecret>>,
    ctx: Arc<Context>,
) -> Result<Action, RoundError> {
    let key = ObjectRef::from_obj(&*meta);
    let (namespace, name) = (meta.namespace().unwrap_or_default(), meta.name_any());
    let api: Api<EdgeSecret> = Api::namespaced(ctx.client.clone(), &namespace);
    let edge = match api.get_opt(&name).await? {
        Some(edge) if edge.metadata.deletion_timestamp.is_none() => edge,
        // Its Secret goes with it, by the ownerReference.
        _ => {
            lock(&ctx.known).remove(&key);
            return Ok(Action::await_change());
        }
    };
    ctx.fence(&namespace).await?;
    let mut known = lock(&ctx.known).get(&key).cloned().unwrap_or_default();
    if known.uid != edge.uid() {
        known = Known { uid: edge.uid(), ..Known::default() };
    }
    let observed = observe(&ctx, &edge, &namespace).await;
    let now = ctx.clock.now();
    let (outcome, max_ttl_s) = act(&ctx, &edge, observed, &mut known, now).await;
    let status = edge_secret::status(edge.status.as_ref(), edge.metadata.generation, &outcome, now);
    known.is_synced = matches!(outcome, Outcome::Synced { .. });
    known.failures =
        if matches!(outcome, Outcome::Away { .. }) { known.failures.saturating_add(1) } else { 0 };
    let again_s = match &outcome {
        Outcome::Away { kept_until, .. } => {
            backoff_s(known.failures).min(kept_until.map_or(u64::MAX, |until| (until - now).max(1) as u64))
        }
        Outcome::Expired { .. } => backoff_s(5),
        _ => interval_s(&edge.spec, max_ttl_s),
    };
    lock(&ctx.known).insert(key, known);
    if edge.status.as_ref() != Some(&status) {
        let ready = condition::find(&status.conditions, READY);
        tracing::info!(
            edge_secret.namespace = %namespace, edge_secret.name = %name,
            ready = ready.map_or("", |ready| &ready.status), reason = ready.map_or("", |ready| &ready.reason),
            "an EdgeSecret changed its state"
        );
        apply::edge_secret_status(&ctx.client, &edge, &status).await?;
    }
    Ok(Action::requeue(Duration::from_secs(again_s)))
}

/// When a round that failed is tried again.
pub fn after_error(
    meta: Arc<PartialObjectMeta<EdgeSecret>>,
    error: &RoundError,
    ctx: Arc<Context>,
) -> Action {
    let key = ObjectRef::from_obj(&*meta);
    let mut known = lock(&ctx.known);
    let known = known.entry(key).or_default();
    known.failures = known.failures.saturating_add(1);
    tracing::warn!(
        edge_secret.name = %meta.name_any(), error = %chain(error), failures = known.failures, "a round failed"
    );
    Action::requeue(Duration::from_secs(backoff_s(known.failures)))
}

/// Full jitter.
fn backoff_s(failures: u32) -> u64 {
    1 + crate::chance::below((1_u64 << failures.min(10)).min(BACKOFF_MAX_S))
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Asks for a token of the ServiceAccount and reads each item with it.
async fn observe(ctx: &Context, edge: &EdgeSecret, namespace: &str) -> Observed {
    let Some(link) = ctx.link.current() else {
        let message = "the controller has no connection to the service: see the HoldfastSite".to_owned();
        return Observed::Away { reason: "NotConnected", message };
    };
    let account = edge.spec.service_account_name.as_str();
    let mut values = Vec::new();
    for item in &edge.spec.items {
        let mut retried = false;
        let answer = loop {
            let of = (namespace, account);
            let token = match ctx.tokens.of(&ctx.client, of, &link.audience, ctx.clock.now()).await {
                Ok(token) => token,
                Err(error) => return no_token(account, &error),
            };
            let token = token.as_str().to_owned();
            let body =
                ReadForWorkload { path: item.path.clone(), version: item.version.map(|v| v as u64), token };
            let answer = link.service.read(&body, &ctx.clock).await;
            drop(Zeroizing::new(body.token));
            // It may be of an account that was made anew since, or under keys that the cluster has changed.
            if let Err(Failure::Refused(problem)) = &answer
                && Refused::of(problem) == Refused::TokenRefused
            {
                ctx.tokens.forget(namespace, account);
                if !std::mem::replace(&mut retried, true) {
                    continue;
                }
            }
            break answer;
        };
        match answer {
            Ok(value) => values.push(Value {
                path: value.path,
                version: value.version as i64,
                bytes: Zeroizing::new(value.value.0),
                max_ttl_s: value.max_ttl_s.map(|s| s as i64),
                max_offline_s: value.max_offline_s.map(|s| s as i64),
            }),
            Err(failure) => return not_read(&item.path, &failure),
        }
    }
    Observed::Values(values)
}

fn no_token(account: &str, error: &kube::Error) -> Observed {
    match error {
        kube::Error::Api(status) if status.code == 404 => Observed::Denied {
            reason: "ServiceAccountMissing",
            message: format!("this namespace has no ServiceAccount `{account}`"),
        },
        kube::Error::Api(status) if status.code == 403 => Observed::Unproven {
            reason: "TokenForbidden",
            message: format!(
                "the controller may not ask for tokens of `{account}`: bind its role in this namespace"
            ),
        },
        other => Observed::Away { reason: "ApiServerAway", message: chain(other) },
    }
}

fn not_read(path: &str, failure: &Failure) -> Observed {
    let message = format!("{path}: {}", chain(failure));
    match failure {
        Failure::Unreachable(_) | Failure::BreakerOpen => Observed::Away { reason: "ServiceAway", message },
        Failure::Refused(problem) => match Refused::of(problem) {
            Refused::Denied => Observed::Denied { reason: "NotGranted", message },
            Refused::TokenRefused => Observed::Unproven { reason: "TokenRefused", message },
            Refused::Missing => Observed::Faulty { reason: "SecretNotFound", message },
            Refused::Malformed => Observed::Faulty { reason: "RequestRefused", message },
            Refused::ControllerRefused => Observed::Away { reason: "ControllerRefused", message },
            Refused::Busy => Observed::Away { reason: "ServiceBusy", message },
        },
    }
}

/// Makes the Secret what it should be.
async fn act(
    ctx: &Context,
    edge: &EdgeSecret,
    observed: Observed,
    known: &mut Known,
    now: i64,
) -> (Outcome, Option<i64>) {
    let writer = Writer { client: &ctx.client, edge };
    let before = edge.status.as_ref();
    match observed {
        Observed::Values(values) => match desired(&edge.spec.items, &values) {
            Ok(desired) => (write(&writer, &desired, known, now).await, desired.max_ttl_s),
            Err(fault) => (Outcome::Faulty { reason: "ItemsDoNotFit", message: fault.to_string() }, None),
        },
        Observed::Denied { reason, message } => match empty(&writer, known).await {
            Ok(()) => (Outcome::Denied { reason, message }, None),
            Err(error) => {
                (Outcome::Away { reason: "ApiServerAway", message: chain(&error), kept_until: None }, None)
            }
        },
        Observed::Unproven { reason, message } => (Outcome::Unproven { reason, message }, None),
        Observed::Faulty { reason, message } => (Outcome::Faulty { reason, message }, None),
        Observed::Away { reason, message } => {
            (away(&writer, known, before, (reason, message), now).await, None)
        }
    }
}

async fn write(writer: &Writer<'_>, desired: &Desired, known: &mut Known, now: i64) -> Outcome {
    let edge = writer.edge;
    known.last_good = Some(now);
    known.is_empty = false;
    let target = edge.status.as_ref().and_then(|status| status.target.clone());
    let refresh = edge.annotations().get(REFRESH).cloned();
    let same = known.generation == edge.metadata.generation
        && known.refresh == refresh
        && known.source.as_ref() == Some(&desired.source);
    if same
        && now < known.apply_again_at
        && let Some(target) = target
    {
        return Outcome::Synced { source: desired.source.clone(), target };
    }
    known.source = None;
    match writer.write(&desired.data).await {
        Ok(target) => {
            known.source = Some(desired.source.clone());
            known.generation = edge.metadata.generation;
            known.refresh = refresh;
            known.apply_again_at = now + REAPPLY_S - crate::chance::below(REAPPLY_S as u64 / 10) as i64;
            Outcome::Synced { source: desired.source.clone(), target }
        }
        Err(error @ ApplyError::Exists) => {
            Outcome::Faulty { reason: "TargetExists", message: error.to_string() }
        }
        Err(error @ ApplyError::Rejected(_)) => {
            Outcome::Faulty { reason: "TargetRejected", message: error.to_string() }
        }
        Err(error) => Outcome::Away { reason: "ApiServerAway", message: chain(&error), kept_until: None },
    }
}

async fn away(
    writer: &Writer<'_>,
    known: &mut Known,
    before: Option<&EdgeSecretStatus>,
    (reason, message): (&'static str, String),
    now: i64,
) -> Outcome {
    let gone = |message: String| Outcome::Expired { message };
    let ready = before.and_then(|status| condition::find(&status.conditions, READY));
    if let Some(ready) = ready.filter(|ready| ready.reason == "KeptTooLong") {
        return gone(ready.message.clone());
    }
    let until = kept_until(before, known.last_good, now);
    if until.is_none_or(|until| now < until) {
        return Outcome::Away { reason, message, kept_until: until };
    }
    match empty(writer, known).await {
        Ok(()) => gone(format!(
            "the service was away for longer than the grants allow to keep the values: {message}"
        )),
        Err(error) => Outcome::Away { reason: "ApiServerAway", message: chain(&error), kept_until: until },
    }
}

async fn empty(writer: &Writer<'_>, known: &mut Known) -> Result<(), ApplyError> {
    known.source = None;
    if !known.is_empty {
        let keys = writer.empty().await?;
        known.is_empty = true;
        if keys > 0 {
            tracing::info!(target.name = %writer.edge.spec.target.name, keys, "the values of a Secret were removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::{reflector, watcher::Event};

    fn object(name: &str) -> PartialObjectMeta<EdgeSecret> {
        let metadata = serde_json::json!({"metadata": {"namespace": "line-1", "name": name}});
        serde_json::from_value(metadata).unwrap()
    }

    #[tokio::test]
    async fn an_edge_secret_that_was_deleted_unsynced_does_not_count_for_ever() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let (objects, mut writer) = reflector::store();
        let ctx = Context::new(Client::try_from(nowhere).unwrap(), Clock::standing_at(0), objects);
        for (name, is_synced) in [("good", true), ("bad", false)] {
            writer.apply_watcher_event(&Event::Apply(object(name)));
            let known = Known { is_synced, ..Known::default() };
            lock(&ctx.known).insert(ObjectRef::from_obj(&object(name)), known);
        }
        assert_eq!(ctx.synced(), (1, 2));
        writer.apply_watcher_event(&Event::Delete(object("bad")));
        assert_eq!(ctx.synced(), (1, 1));
        // One that no round has come to yet is not synced.
        writer.apply_watcher_event(&Event::Apply(object("new")));
        assert_eq!(ctx.synced(), (1, 2));
    }
}
