-- Rollouts, assignments and what devices report of them.

CREATE TABLE rollout (
    tenant_id    TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    hardware     TEXT    NOT NULL,
    release      TEXT    NOT NULL,
    -- The request, JSON.
    spec         TEXT    NOT NULL,
    -- Device ids, JSON; empty text while the cohort is live.
    frozen       TEXT    NOT NULL,
    author       TEXT    NOT NULL,
    approved_by  TEXT    NOT NULL,
    deltas_ready INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    phase        INTEGER NOT NULL,
    stage        TEXT    NOT NULL,
    phase_since  INTEGER NOT NULL,
    stage_since  INTEGER NOT NULL,
    -- 0: never.
    resumed_at   INTEGER NOT NULL,
    -- The planner's last words and counts, JSON.
    report       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE TABLE assignment (
    tenant_id    TEXT    NOT NULL,
    device_id    TEXT    NOT NULL,
    epoch        INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    rollout_id   TEXT    NOT NULL,
    purpose      TEXT    NOT NULL,
    phase        INTEGER NOT NULL,
    hardware     TEXT    NOT NULL,
    release      TEXT    NOT NULL,
    from_release TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    code         TEXT    NOT NULL,
    offered_at   INTEGER NOT NULL,
    lease_s      INTEGER NOT NULL,
    -- 0: never armed.
    armed_at     INTEGER NOT NULL,
    -- Report sequence, boot id and resetCount at Arming: what a confirmation must go beyond.
    armed_report INTEGER NOT NULL,
    armed_boot   TEXT    NOT NULL,
    armed_reset  INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    evidence     TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    codec        TEXT    NOT NULL,
    bytes        INTEGER NOT NULL,
    full_bytes   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, device_id, epoch, sequence)
) STRICT;

CREATE INDEX assignment_by_rollout ON assignment (tenant_id, rollout_id, device_id);

CREATE TABLE assignment_event (
    seq       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT    NOT NULL,
    device_id TEXT    NOT NULL,
    epoch     INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    word      TEXT    NOT NULL,
    detail    TEXT    NOT NULL
) STRICT;

CREATE INDEX assignment_event_by_device ON assignment_event (tenant_id, device_id, seq);

-- What a device last said of itself.
CREATE TABLE device_report (
    tenant_id   TEXT    NOT NULL,
    device_id   TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    boot_id     TEXT    NOT NULL,
    release     TEXT    NOT NULL,
    floor       INTEGER NOT NULL,
    ram_bytes   INTEGER NOT NULL,
    reset_count INTEGER NOT NULL,
    assignment  INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, device_id)
) STRICT;
