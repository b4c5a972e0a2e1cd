//! How long each device's offer still holds.

use super::sql::AssignmentSql;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// When each lease ends: in memory, so that a poll writes nothing. A restart gives every lease its full length
/// once more, from the restart.
#[derive(Debug, Default)]
pub struct Leases {
    started_at: i64,
    /// By device: epoch, sequence, end.
    until: Mutex<BTreeMap<String, (i64, i64, i64)>>,
}

impl Leases {
    pub fn since(started_at: i64) -> Self {
        Self { started_at, until: Mutex::default() }
    }

    /// A confirmed poll.
    pub fn renew(&self, device: &str, epoch: i64, sequence: i64, until: i64) {
        if let Ok(mut all) = self.until.lock() {
            all.insert(device.to_owned(), (epoch, sequence, until));
        }
    }

    pub(super) fn until(&self, row: &AssignmentSql) -> i64 {
        let renewed = self.until.lock().ok().and_then(|all| all.get(&row.device_id).copied());
        let renewed = renewed.filter(|(epoch, sequence, _)| (*epoch, *sequence) == (row.epoch, row.sequence));
        let renewed = renewed.map_or(0, |(_, _, until)| until);
        renewed.max(row.offered_at.max(self.started_at) + row.lease_s)
    }
}
