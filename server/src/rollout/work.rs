//! The planner's job: no input; may run twice.

use super::ops;
use crate::refusal::Refusal;
use crate::state::AppState;

/// A run over 100,000 devices takes seconds, and on SQLite nobody else writes meanwhile; every report wakes the next.
const REST: u32 = 3;

/// Plans over the embedded tenant.
pub async fn plan(state: AppState) -> Result<(), Refusal> {
    crate::work::with_rest(REST, ops::plan_once(&state, state.tenant())).await.map(|_| ())
}
