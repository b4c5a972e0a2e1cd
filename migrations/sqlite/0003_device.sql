-- Devices: a row is a claim until it has proved itself.

CREATE TABLE devices (
    tenant_id             TEXT    NOT NULL,
    id                    TEXT    NOT NULL PRIMARY KEY,
    serial                TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    state                 TEXT    NOT NULL,
    kind                  TEXT,
    tier                  TEXT,
    root_class            TEXT,
    site                  TEXT,
    labels                TEXT    NOT NULL,
    claimed_ek_hash       TEXT,
    ek_hash               TEXT,
    ak_name               BLOB,
    device_key            BLOB,
    certificate_serial    TEXT,
    certificate_not_after INTEGER,
    release_name          TEXT,
    slot                  TEXT,
    last_seen             INTEGER,
    state_reason          TEXT    NOT NULL DEFAULT '',
    created_by            TEXT    NOT NULL,
    created_at            INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    version               INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX devices_by_serial ON devices (tenant_id, serial);
CREATE UNIQUE INDEX devices_by_ek ON devices (tenant_id, ek_hash);
CREATE INDEX devices_by_claimed_ek ON devices (tenant_id, claimed_ek_hash);

CREATE TABLE join_tokens (
    tenant_id  TEXT    NOT NULL,
    id         TEXT    NOT NULL PRIMARY KEY,
    device_id  TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    spent_at   INTEGER
) STRICT;
