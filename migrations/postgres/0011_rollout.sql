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
    deltas_ready BIGINT NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    phase        BIGINT NOT NULL,
    stage        TEXT    NOT NULL,
    phase_since  BIGINT NOT NULL,
    stage_since  BIGINT NOT NULL,
    -- 0: never.
    resumed_at   BIGINT NOT NULL,
    -- The planner's last words and counts, JSON.
    report       TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE assignment (
    tenant_id    TEXT    NOT NULL,
    device_id    TEXT    NOT NULL,
    epoch        BIGINT NOT NULL,
    sequence     BIGINT NOT NULL,
    rollout_id   TEXT    NOT NULL,
    purpose      TEXT    NOT NULL,
    phase        BIGINT NOT NULL,
    hardware     TEXT    NOT NULL,
    release      TEXT    NOT NULL,
    from_release TEXT    NOT NULL,
    attempt      BIGINT NOT NULL,
    state        TEXT    NOT NULL,
    code         TEXT    NOT NULL,
    offered_at   BIGINT NOT NULL,
    lease_s      BIGINT NOT NULL,
    -- 0: never armed.
    armed_at     BIGINT NOT NULL,
    -- Report sequence, boot id and resetCount at Arming: what a confirmation must go beyond.
    armed_report BIGINT NOT NULL,
    armed_boot   TEXT    NOT NULL,
    armed_reset  BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    evidence     TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    codec        TEXT    NOT NULL,
    bytes        BIGINT NOT NULL,
    full_bytes   BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, device_id, epoch, sequence)
);

CREATE INDEX assignment_by_rollout ON assignment (tenant_id, rollout_id, device_id);

CREATE TABLE assignment_event (
    seq       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id TEXT    NOT NULL,
    device_id TEXT    NOT NULL,
    epoch     BIGINT NOT NULL,
    sequence  BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    word      TEXT    NOT NULL,
    detail    TEXT    NOT NULL
);

CREATE INDEX assignment_event_by_device ON assignment_event (tenant_id, device_id, seq);

-- What a device last said of itself.
CREATE TABLE device_report (
    tenant_id   TEXT    NOT NULL,
    device_id   TEXT    NOT NULL,
    sequence    BIGINT NOT NULL,
    boot_id     TEXT    NOT NULL,
    release     TEXT    NOT NULL,
    floor       BIGINT NOT NULL,
    ram_bytes   BIGINT NOT NULL,
    reset_count BIGINT NOT NULL,
    assignment  BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, device_id)
);
