//! Flushes when devices were last seen: one batch a minute.

use crate::device;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;

/// Writes what the polls since the last run noted.
pub async fn flush(state: AppState) -> Result<(), Refusal> {
    let seen = state.seen.take();
    if seen.is_empty() {
        return Ok(());
    }
    tx!(state.db, "checkin.flush", |tx| {
        device::ops::record_seen(tx, state.tenant(), &seen).await?;
        Ok::<_, Refusal>(())
    })
}
