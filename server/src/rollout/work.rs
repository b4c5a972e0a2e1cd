//! The planner's job: no input; may run twice.

use super::ops;
use crate::refusal::Refusal;
use crate::state::AppState;

/// Plans over the embedded tenant.
pub async fn plan(state: AppState) -> Result<(), Refusal> {
    ops::plan_once(&state, state.tenant()).await.map(|_| ())
}
