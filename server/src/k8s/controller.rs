//! Puts the controller together: fence first, then the site's keeper and the rounds, until told to stop.

use super::crd::EdgeSecret;
use super::fence::{self, FenceError};
use super::identity::Keep;
use super::reconcile::{Context, REFRESH, after_error, chain, round};
use super::site::{SiteKeeper, say_unfenced};
use crate::clock::Clock;
use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Config, ReconcileRequest, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Api, Client, ResourceExt as _};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Rounds at once.
const CONCURRENCY: u16 = 8;

/// What the role is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// None: the pod's own ServiceAccount, or the user's kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub bootstrap_token: Option<PathBuf>,
}

/// Runs until `stop` ends, or a fence does not hold.
pub async fn run(options: Options, clock: Clock, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    // kube asks rustls for the process's provider; a second call finds ours there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = client(options.kubeconfig.as_deref()).await?;
    let (objects, writer) = reflector::store();
    let ctx = Arc::new(Context::new(client, clock, objects));
    let keep = Keep::in_folder(&options.data_dir)?;
    let mut stop = std::pin::pin!(stop);
    tokio::select! {
        ended = fenced(&ctx) => ended?,
        () = &mut stop => return Ok(()),
    }
    let mut open_fence = ctx.open_fence.subscribe();
    let keeper = SiteKeeper::new(Arc::clone(&ctx), keep, options.bootstrap_token);
    tokio::select! {
        () = keeper.run() => {}
        () = rounds(&ctx, writer) => {}
        () = &mut stop => return Ok(()),
        _ = open_fence.wait_for(Option::is_some) => {}
    }
    let message = open_fence.borrow().clone();
    match message {
        Some(message) => stopped_unfenced(&ctx, &message).await,
        None => bail!("the watch of EdgeSecrets ended"),
    }
}

async fn client(kubeconfig: Option<&std::path::Path>) -> anyhow::Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("{} is no kubeconfig", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("no cluster: give --kubeconfig, or run in a pod")?,
    };
    Ok(Client::try_from(config)?)
}

/// Waits until the fence was tried and holds.
async fn fenced(ctx: &Context) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        match fence::check(&ctx.client, None).await {
            Ok(()) => return Ok(()),
            Err(error @ FenceError::Open { .. }) => return stopped_unfenced(ctx, &error.to_string()).await,
            Err(error) => {
                failures += 1;
                tracing::warn!(error = %chain(&error), failures, "the fence is tried again");
                tokio::time::sleep(Duration::from_millis(500 + crate::chance::below(500 << failures.min(5))))
                    .await;
            }
        }
    }
}

async fn stopped_unfenced(ctx: &Context, message: &str) -> anyhow::Result<()> {
    if let Err(error) = say_unfenced(ctx, message).await {
        tracing::warn!(error = %format!("{error:#}"), "the HoldfastSite could not be told that the fence is open");
    }
    bail!("Fenced=False: {message}")
}

/// A round for each EdgeSecret whose spec or refresh annotation changed, and again when its time comes. Only metadata
/// is kept of them.
async fn rounds(ctx: &Arc<Context>, writer: Writer<PartialObjectMeta<EdgeSecret>>) {
    let api: Api<PartialObjectMeta<EdgeSecret>> = Api::all(ctx.client.clone());
    let queue = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|meta| {
            meta.managed_fields_mut().clear();
            meta.annotations_mut().retain(|name, _| name == REFRESH);
            meta.labels_mut().clear();
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            kube::runtime::Predicate::combine(predicates::generation, predicates::annotations),
            PredicateConfig::default(),
        )
        .map_ok(|meta| ReconcileRequest::from(ObjectRef::from_obj(&meta)))
        .boxed();
    let run = |meta, ctx| Box::pin(round(meta, ctx));
    let config = Config::default().concurrency(CONCURRENCY);
    applier(run, after_error, Arc::clone(ctx), ctx.objects.clone(), queue, config)
        .for_each(|ended| async {
            if let Err(error) = ended {
                tracing::debug!(error = %chain(&error), "a round ended with an error");
            }
        })
        .await;
}
