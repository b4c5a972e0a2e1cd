//! Tables `rollout`, `assignment`, `assignment_event`.

use crate::db::{Error, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A rollout as its table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RolloutSql {
    pub(super) id: String,
    pub(super) hardware: String,
    pub(super) release: String,
    pub(super) spec: String,
    pub(super) frozen: String,
    pub(super) author: String,
    pub(super) approved_by: String,
    pub(super) deltas_ready: bool,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) phase: i64,
    pub(super) stage: String,
    pub(super) phase_since: i64,
    pub(super) stage_since: i64,
    pub(super) resumed_at: i64,
    pub(super) report: String,
    pub(super) created_at: i64,
    pub(super) version: i64,
}

/// An assignment as its table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AssignmentSql {
    pub(super) device_id: String,
    pub(super) epoch: i64,
    pub(super) sequence: i64,
    pub(super) rollout_id: String,
    pub(super) purpose: String,
    pub(super) phase: i64,
    pub(super) hardware: String,
    pub(super) release: String,
    pub(super) from_release: String,
    pub(super) attempt: i64,
    pub(super) state: String,
    pub(super) code: String,
    pub(super) offered_at: i64,
    pub(super) lease_s: i64,
    pub(super) armed_at: i64,
    pub(super) armed_report: i64,
    pub(super) armed_boot: String,
    pub(super) armed_reset: i64,
    pub(super) since: i64,
    pub(super) evidence: String,
    pub(super) detail: String,
    pub(super) codec: String,
    pub(super) bytes: i64,
    pub(super) full_bytes: i64,
}

const ROLLOUT: &str = "id, hardware, release, spec, frozen, author, approved_by, deltas_ready, state, reason, phase, \
     stage, phase_since, stage_since, resumed_at, report, created_at, version";
const ASSIGNMENT: &str = "device_id, epoch, sequence, rollout_id, purpose, phase, hardware, release, from_release, \
     attempt, state, code, offered_at, lease_s, armed_at, armed_report, armed_boot, armed_reset, since, evidence, \
     detail, codec, bytes, full_bytes";

fn rollout(row: &AnyRow) -> Result<RolloutSql, Error> {
    Ok(RolloutSql {
        id: row.try_get(0)?,
        hardware: row.try_get(1)?,
        release: row.try_get(2)?,
        spec: row.try_get(3)?,
        frozen: row.try_get(4)?,
        author: row.try_get(5)?,
        approved_by: row.try_get(6)?,
        deltas_ready: row.try_get::<i64, _>(7)? != 0,
        state: row.try_get(8)?,
        reason: row.try_get(9)?,
        phase: row.try_get(10)?,
        stage: row.try_get(11)?,
        phase_since: row.try_get(12)?,
        stage_since: row.try_get(13)?,
        resumed_at: row.try_get(14)?,
        report: row.try_get(15)?,
        created_at: row.try_get(16)?,
        version: row.try_get(17)?,
    })
}

fn assignment(row: &AnyRow) -> Result<AssignmentSql, Error> {
    Ok(AssignmentSql {
        device_id: row.try_get(0)?,
        epoch: row.try_get(1)?,
        sequence: row.try_get(2)?,
        rollout_id: row.try_get(3)?,
        purpose: row.try_get(4)?,
        phase: row.try_get(5)?,
        hardware: row.try_get(6)?,
        release: row.try_get(7)?,
        from_release: row.try_get(8)?,
        attempt: row.try_get(9)?,
        state: row.try_get(10)?,
        code: row.try_get(11)?,
        offered_at: row.try_get(12)?,
        lease_s: row.try_get(13)?,
        armed_at: row.try_get(14)?,
        armed_report: row.try_get(15)?,
        armed_boot: row.try_get(16)?,
        armed_reset: row.try_get(17)?,
        since: row.try_get(18)?,
        evidence: row.try_get(19)?,
        detail: row.try_get(20)?,
        codec: row.try_get(21)?,
        bytes: row.try_get(22)?,
        full_bytes: row.try_get(23)?,
    })
}

fn select(columns: &str, rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {columns} FROM {rest}"))
}

pub(super) async fn rollout_insert(tx: &mut Tx, tenant: &str, row: &RolloutSql) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rollout (tenant_id, id, hardware, release, spec, frozen, author, approved_by, deltas_ready, state, \
         reason, phase, stage, phase_since, stage_since, resumed_at, report, created_at, version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(tenant)
    .bind(&row.id)
    .bind(&row.hardware)
    .bind(&row.release)
    .bind(&row.spec)
    .bind(&row.frozen)
    .bind(&row.author)
    .bind(&row.approved_by)
    .bind(i64::from(row.deltas_ready))
    .bind(&row.state)
    .bind(&row.reason)
    .bind(row.phase)
    .bind(&row.stage)
    .bind(row.phase_since)
    .bind(row.stage_since)
    .bind(row.resumed_at)
    .bind(&row.report)
    .bind(row.created_at)
    .bind(row.version)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Compare-and-set on the version before.
pub(super) async fn rollout_change(tx: &mut Tx, tenant: &str, row: &RolloutSql) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE rollout SET frozen = $4, approved_by = $5, deltas_ready = $6, state = $7, reason = $8, phase = $9, \
         stage = $10, phase_since = $11, stage_since = $12, resumed_at = $13, version = $14 \
         WHERE tenant_id = $1 AND id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(&row.id)
    .bind(row.version - 1)
    .bind(&row.frozen)
    .bind(&row.approved_by)
    .bind(i64::from(row.deltas_ready))
    .bind(&row.state)
    .bind(&row.reason)
    .bind(row.phase)
    .bind(&row.stage)
    .bind(row.phase_since)
    .bind(row.stage_since)
    .bind(row.resumed_at)
    .bind(row.version)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The planner's words: no new version, they are no change of the rollout.
pub(super) async fn rollout_report(tx: &mut Tx, tenant: &str, id: &str, report: &str) -> Result<(), Error> {
    sqlx::query("UPDATE rollout SET report = $3 WHERE tenant_id = $1 AND id = $2 AND report <> $3")
        .bind(tenant)
        .bind(id)
        .bind(report)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn rollout_row(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<RolloutSql>, Error> {
    let row = sqlx::query(select(ROLLOUT, "rollout WHERE tenant_id = $1 AND id = $2"))
        .bind(tenant)
        .bind(id)
        .fetch_optional(tx.conn())
        .await?;
    row.as_ref().map(rollout).transpose()
}

pub(super) async fn rollout_list(
    tx: &mut Tx,
    tenant: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<RolloutSql>, Error> {
    let rows = sqlx::query(select(ROLLOUT, "rollout WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"))
        .bind(tenant)
        .bind(after)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(rollout).collect()
}

/// Asked at every run of the planner, over every rollout that ever was.
pub(super) const OPEN: &str = "rollout r WHERE tenant_id = $1 AND (state NOT IN ('Draft', 'Completed', 'RolledBack', \
     'Cancelled', 'Superseded', 'Rejected') OR EXISTS (SELECT 1 FROM assignment a WHERE a.tenant_id = r.tenant_id \
     AND a.rollout_id = r.id AND a.state IN ('Offered', 'Accepted', 'Fetching', 'Staged', 'Arming', 'Trial'))) ORDER BY id";

pub(super) const OF_ROLLOUT: &str =
    "assignment WHERE tenant_id = $1 AND rollout_id = $2 ORDER BY device_id, epoch, sequence";

/// Rollouts that are not over, or whose assignments are not.
pub(super) async fn rollout_open(tx: &mut Tx, tenant: &str) -> Result<Vec<RolloutSql>, Error> {
    let rows = sqlx::query(select(ROLLOUT, OPEN)).bind(tenant).fetch_all(tx.conn()).await?;
    rows.iter().map(rollout).collect()
}

pub(super) async fn assignment_insert(tx: &mut Tx, tenant: &str, row: &AssignmentSql) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO assignment (tenant_id, device_id, epoch, sequence, rollout_id, purpose, phase, hardware, release, \
         from_release, attempt, state, code, offered_at, lease_s, armed_at, armed_report, armed_boot, armed_reset, since, \
         evidence, detail, codec, bytes, full_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
         $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)",
    )
    .bind(tenant)
    .bind(&row.device_id)
    .bind(row.epoch)
    .bind(row.sequence)
    .bind(&row.rollout_id)
    .bind(&row.purpose)
    .bind(row.phase)
    .bind(&row.hardware)
    .bind(&row.release)
    .bind(&row.from_release)
    .bind(row.attempt)
    .bind(&row.state)
    .bind(&row.code)
    .bind(row.offered_at)
    .bind(row.lease_s)
    .bind(row.armed_at)
    .bind(row.armed_report)
    .bind(&row.armed_boot)
    .bind(row.armed_reset)
    .bind(row.since)
    .bind(&row.evidence)
    .bind(&row.detail)
    .bind(&row.codec)
    .bind(row.bytes)
    .bind(row.full_bytes)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Compare-and-set from the state and code before.
pub(super) async fn assignment_change(
    tx: &mut Tx,
    tenant: &str,
    (from, code): (&str, &str),
    row: &AssignmentSql,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE assignment SET state = $7, code = $8, armed_at = $9, armed_report = $10, armed_boot = $11, \
         armed_reset = $12, since = $13, evidence = $14, detail = $15, codec = $16, bytes = $17, full_bytes = $18 \
         WHERE tenant_id = $1 AND device_id = $2 AND epoch = $3 AND sequence = $4 AND state = $5 AND code = $6",
    )
    .bind(tenant)
    .bind(&row.device_id)
    .bind(row.epoch)
    .bind(row.sequence)
    .bind(from)
    .bind(code)
    .bind(&row.state)
    .bind(&row.code)
    .bind(row.armed_at)
    .bind(row.armed_report)
    .bind(&row.armed_boot)
    .bind(row.armed_reset)
    .bind(row.since)
    .bind(&row.evidence)
    .bind(&row.detail)
    .bind(&row.codec)
    .bind(row.bytes)
    .bind(row.full_bytes)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A device's newest assignment.
pub(super) async fn assignment_newest(
    tx: &mut Tx,
    tenant: &str,
    device: &str,
) -> Result<Option<AssignmentSql>, Error> {
    let row = sqlx::query(select(
        ASSIGNMENT,
        "assignment WHERE tenant_id = $1 AND device_id = $2 ORDER BY epoch DESC, sequence DESC LIMIT 1",
    ))
    .bind(tenant)
    .bind(device)
    .fetch_optional(tx.conn())
    .await?;
    row.as_ref().map(assignment).transpose()
}

pub(super) async fn assignment_at(
    tx: &mut Tx,
    tenant: &str,
    device: &str,
    (epoch, sequence): (i64, i64),
) -> Result<Option<AssignmentSql>, Error> {
    let row = sqlx::query(select(
        ASSIGNMENT,
        "assignment WHERE tenant_id = $1 AND device_id = $2 AND epoch = $3 AND sequence = $4",
    ))
    .bind(tenant)
    .bind(device)
    .bind(epoch)
    .bind(sequence)
    .fetch_optional(tx.conn())
    .await?;
    row.as_ref().map(assignment).transpose()
}

/// Those of one rollout.
pub(super) async fn assignment_of(
    tx: &mut Tx,
    tenant: &str,
    rollout: &str,
) -> Result<Vec<AssignmentSql>, Error> {
    let query = sqlx::query(select(ASSIGNMENT, OF_ROLLOUT)).bind(tenant).bind(rollout);
    let rows = query.fetch_all(tx.conn()).await?;
    rows.iter().map(assignment).collect()
}

/// By device, epoch and sequence, after the cursor `device/epoch/sequence`.
pub(super) async fn assignment_list(
    tx: &mut Tx,
    tenant: &str,
    rollout: &str,
    (device, epoch, sequence): (&str, i64, i64),
    limit: i64,
) -> Result<Vec<AssignmentSql>, Error> {
    let rows = sqlx::query(select(
        ASSIGNMENT,
        "assignment WHERE tenant_id = $1 AND ($2 = '' OR rollout_id = $2) AND (device_id > $3 OR (device_id = $3 AND \
         (epoch > $4 OR (epoch = $4 AND sequence > $5)))) ORDER BY device_id, epoch, sequence LIMIT $6",
    ))
    .bind(tenant)
    .bind(rollout)
    .bind(device)
    .bind(epoch)
    .bind(sequence)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(assignment).collect()
}

pub(super) async fn event(
    tx: &mut Tx,
    tenant: &str,
    row: &AssignmentSql,
    detail: &str,
    now: i64,
) -> Result<(), Error> {
    let word = if row.code.is_empty() { row.state.clone() } else { format!("{}({})", row.state, row.code) };
    sqlx::query(
        "INSERT INTO assignment_event (tenant_id, device_id, epoch, sequence, at, word, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tenant)
    .bind(&row.device_id)
    .bind(row.epoch)
    .bind(row.sequence)
    .bind(now)
    .bind(word)
    .bind(detail)
    .execute(tx.conn())
    .await?;
    Ok(())
}
