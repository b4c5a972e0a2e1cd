//! Conditions of a status, as Kubernetes has them. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One condition.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One stable word.
    pub reason: String,
    /// For people; never a secret.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}

/// What a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    pub fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Finds a condition by its type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// True if the condition is there and `True`.
pub fn holds(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// The condition as it is now; its transition time moves only when its status does.
pub fn next(
    before: &[Condition],
    kind: &str,
    (truth, reason, message): (Truth, &str, &str),
    observed_generation: Option<i64>,
    now: i64,
) -> Condition {
    let same = find(before, kind).filter(|condition| condition.status == truth.as_str());
    Condition {
        kind: kind.to_owned(),
        status: truth.as_str().to_owned(),
        reason: reason.to_owned(),
        // Kubernetes' own cap is 32 KiB; one sentence is enough.
        message: message.chars().take(1024).collect(),
        observed_generation,
        last_transition_time: same
            .map_or_else(|| rfc3339(now), |condition| condition.last_transition_time.clone()),
    }
}

/// Unix seconds as Kubernetes writes times.
pub fn rfc3339(now: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_and_not_with_the_reason() {
        let first = next(&[], "Ready", (Truth::False, "NotGranted", "no"), Some(1), 1_000);
        assert_eq!(first.last_transition_time, "1970-01-01T00:16:40Z");
        let second =
            next(std::slice::from_ref(&first), "Ready", (Truth::False, "TargetExists", "no"), Some(2), 2_000);
        assert_eq!(
            (&*second.reason, &second.last_transition_time),
            ("TargetExists", &first.last_transition_time)
        );
        let third = next(&[second], "Ready", (Truth::True, "Synced", ""), Some(2), 2_000);
        assert_eq!(third.last_transition_time, "1970-01-01T00:33:20Z");
    }
}
