//! The worker that builds deltas (one at a time, each costed by every codec, the cheapest published), and the one
//! that keeps the online metadata young.

use super::{ops, sql};
use crate::refusal::Refusal;
use crate::repo::BlobRow;
use crate::state::AppState;
use crate::tx;
use holdfast_delta::encode::{Budget, Cancelled, EncodeError};
use holdfast_delta::plan::{Plan, cheapest};
use holdfast_proto::Digest;
use holdfast_proto::manifest::DeltaCustom;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// RAM that every device has for applying (updates: at most 8 MiB in all for plain images).
const DEVICE_RAM_BYTES: u64 = 8 << 20;

/// The timestamp is signed anew so often (updates: every 6 h or on change).
const TIMESTAMP_AGE_S: i64 = 6 * 3600;

/// Signs the online roles anew when they are due, and after each start, since the database may be a restored one.
pub async fn renew_metadata(state: AppState) -> Result<(), Refusal> {
    let now = state.now();
    let Some(newest) = state.repo.metadata("timestamp", None).await? else { return Ok(()) };
    let jump = state.repo.must_jump(now).await?;
    if newest.published_at < state.started_at || jump {
        ops::renew(&state.repo, ops::Renew::Everything, now).await?;
        if jump {
            state.repo.jumped(now);
        }
        Ok(())
    } else if now - newest.published_at >= TIMESTAMP_AGE_S {
        ops::renew(&state.repo, ops::Renew::Timestamp, now).await
    } else {
        Ok(())
    }
}

/// Builds every delta that waits. May run twice: the second finds its row no longer queued.
pub async fn build(state: AppState) -> Result<(), Refusal> {
    let tenant = state.repo.tenant.clone();
    while let Some((base, output)) = sql::delta_next(&mut state.db.read().await?, &tenant).await? {
        if state.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        match build_one(&state, base, output).await {
            Ok(Built::Declined(reason)) => decline(&state, &tenant, base, output, &reason).await?,
            Ok(Built::Published) => {}
            // It stays queued for the next start.
            Ok(Built::BrokenOff) => return Ok(()),
            Err(refusal) => {
                tracing::warn!(delta.base = %base, delta.output = %output, error.chain = %refusal.chain(), "a delta could not be built");
                decline(
                    &state,
                    &tenant,
                    base,
                    output,
                    "it could not be built within its limits; the log has the cause",
                )
                .await?;
            }
        }
        state.wake_rollouts.wake();
    }
    Ok(())
}

async fn decline(
    state: &AppState,
    tenant: &str,
    base: Digest,
    output: Digest,
    reason: &str,
) -> Result<(), Refusal> {
    tx!(state.db, "delta.decline", |tx| {
        sql::delta_declined(tx, tenant, base, output, reason).await?;
        Ok::<_, Refusal>(())
    })
}

/// What came of a build.
enum Built {
    Published,
    /// With the reason.
    Declined(String),
    /// The service ends.
    BrokenOff,
}

async fn build_one(state: &AppState, base: Digest, output: Digest) -> Result<Built, Refusal> {
    let (repo, builder) = (state.repo.clone(), state.clone());
    let plan = tokio::task::spawn_blocking(move || -> Result<Option<Plan>, Refusal> {
        let read = |digest: Digest| {
            let path =
                repo.blobs.path(digest).ok_or_else(|| Refusal::not_found(format_args!("blob {digest}")))?;
            std::fs::read(path).map_err(Refusal::internal)
        };
        let (old, new) = (read(base)?, read(output)?);
        let keep_going = || if builder.stopping.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) };
        let budget =
            Budget { keep_going: &keep_going, ..Budget::for_images(old.len() as u64, new.len() as u64) };
        match cheapest(&old, &new, DEVICE_RAM_BYTES, &budget) {
            Ok(plan) => Ok(Some(plan)),
            Err(EncodeError::Cancelled(_)) => Ok(None),
            Err(error) => Err(Refusal::internal(error)),
        }
    })
    .await
    .map_err(Refusal::internal)??;
    let Some(plan) = plan else { return Ok(Built::BrokenOff) };
    let full_bytes = plan.full_bytes;
    let Some(best) =
        plan.candidates.into_iter().find(|candidate| candidate.codec != holdfast_delta::Codec::Full)
    else {
        let why: Vec<String> = plan.refused.iter().map(|(codec, why)| format!("{codec}: {why:?}")).collect();
        return Ok(Built::Declined(format!(
            "no delta is worth it against {full_bytes} bytes in full ({})",
            why.join("; ")
        )));
    };
    let now = state.now();
    let bytes = Arc::new(best.encoded.bytes);
    let patch = crate::repo::publish::sha256(&bytes);
    let store = Arc::clone(&state.repo.blobs);
    let to_store = Arc::clone(&bytes);
    let stored = tokio::task::spawn_blocking(move || {
        let mut incoming = store.begin(patch, to_store.len() as u64)?;
        incoming.write(&to_store)?;
        incoming.finish()
    })
    .await
    .map_err(Refusal::internal)??;
    let custom = DeltaCustom {
        base,
        output,
        codec: best.codec.to_string(),
        ram_bytes: best.ram,
        block_root: stored.block_root,
    };
    let built = sql::OfferedDelta { custom, patch, length: stored.length };
    let repo = &state.repo;
    tx!(state.db, "delta.publish", |tx| {
        let row = BlobRow { sha256: stored.sha256, length: stored.length, block_root: stored.block_root };
        repo.blob_note(tx, &row, now).await?;
        if sql::delta_built(tx, &repo.tenant, &built).await? {
            ops::offer_deltas(repo, tx, now).await?;
            let resource = format!("delta/{base}-{output}");
            let reason = format!("{}: {} of {full_bytes} bytes", built.custom.codec, built.length);
            ops::note(
                repo,
                tx,
                &crate::audit::Actor::Service("delta-worker"),
                "delta.publish",
                &resource,
                &reason,
                now,
            )
            .await?;
        }
        Ok::<_, Refusal>(Built::Published)
    })
}
