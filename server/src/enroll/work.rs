//! Forgets spent nonces whose sessions ended long ago: the session's end refuses them without a row.

use super::sql;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;

/// Beyond every session and every clock's error.
const KEPT_S: i64 = 86_400;

/// One run.
pub async fn forget_nonces(state: AppState) -> Result<(), Refusal> {
    let ended_before = state.now() - KEPT_S;
    let forgotten = tx!(state.db, "enroll.forget_nonces", |tx| Ok::<_, Refusal>(
        sql::nonce_forget(tx, ended_before).await?
    ))?;
    if forgotten > 0 {
        tracing::debug!(forgotten, "spent nonces of ended sessions were forgotten");
    }
    Ok(())
}
