-- Enrolment: spent nonces, attempts, and the evidence behind each decision.

CREATE TABLE enroll_nonces (
    tenant_id  TEXT    NOT NULL,
    nonce      BLOB    NOT NULL PRIMARY KEY,
    enrollment TEXT    NOT NULL,
    m3         TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX enroll_nonces_by_end ON enroll_nonces (expires_at);

CREATE TABLE enrollments (
    tenant_id          TEXT    NOT NULL,
    id                 TEXT    NOT NULL PRIMARY KEY,
    purpose            TEXT    NOT NULL,
    kind               TEXT    NOT NULL,
    state              TEXT    NOT NULL,
    serial             TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    device_id          TEXT,
    reason             TEXT    NOT NULL,
    ek_hash            TEXT,
    tier               TEXT,
    root_class         TEXT,
    checks             TEXT    NOT NULL,
    inputs             TEXT    NOT NULL,
    policy_version     TEXT    NOT NULL,
    roots_version      TEXT    NOT NULL,
    signer             TEXT,
    certificate_serial TEXT,
    exporter           BLOB,
    labels             TEXT    NOT NULL DEFAULT '{}',
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    version            INTEGER NOT NULL
) STRICT;

CREATE INDEX enrollments_by_state ON enrollments (tenant_id, state, id);
CREATE INDEX enrollments_by_device ON enrollments (tenant_id, device_id, id);
CREATE INDEX enrollments_by_claim ON enrollments (tenant_id, serial, ek_hash);

CREATE TABLE evidence_inputs (
    tenant_id  TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    bytes      BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
) STRICT;
