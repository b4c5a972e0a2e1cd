//! What an operator may make of a rollout: the moves that are nobody's but his.

use super::model::{Approval, PauseReason, RolloutRow, RolloutState, Stage};

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Start,
    /// By this principal.
    Approve {
        by: String,
    },
    Pause,
    /// Goes on although it stopped: what failed so far was seen and stays in view.
    Resume,
    /// The fleet goes back to the release before, where counters permit.
    Rollback,
    Cancel,
}

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("a rollout that is {state} cannot {order}")]
    NotFrom { state: RolloutState, order: &'static str },
    #[error("{author} made this rollout, another must approve it")]
    OwnRollout { author: String },
}

/// The row as the order leaves it; the caller stores it by compare-and-set with its audit row.
pub fn command(row: &RolloutRow, order: &Command, now: i64) -> Result<RolloutRow, CommandError> {
    use RolloutState as R;
    let mut next = row.clone();
    let not_from = |order| Err(CommandError::NotFrom { state: row.state, order });
    next.reason = None;
    next.state = match (order, row.state) {
        (Command::Start, R::Draft) => R::Validating,
        (Command::Start, _) => return not_from("start"),
        (Command::Approve { by }, R::AwaitingApproval) => {
            if *by == row.author {
                return Err(CommandError::OwnRollout { author: by.clone() });
            }
            next.approval = Approval::GivenBy(by.clone());
            R::AwaitingApproval
        }
        (Command::Approve { .. }, _) => return not_from("be approved"),
        (Command::Pause, R::Running | R::CompletedWithStragglers) => R::Paused(PauseReason::Operator),
        (Command::Pause, _) => return not_from("pause"),
        (Command::Resume, R::Paused(_)) => {
            next.resumed_at = Some(now);
            next.stage = Stage::Admit;
            next.stage_since = now;
            R::Running
        }
        (Command::Resume, _) => return not_from("resume"),
        (Command::Rollback, R::Running | R::Paused(_) | R::Completed | R::CompletedWithStragglers) => {
            R::RollingBack
        }
        (Command::Rollback, _) => return not_from("roll back"),
        (
            Command::Cancel,
            R::RollingBack | R::RolledBack | R::Completed | R::Cancelled | R::Superseded | R::Rejected,
        ) => return not_from("be cancelled"),
        (Command::Cancel, _) => R::Cancelled,
    };
    Ok(next)
}
