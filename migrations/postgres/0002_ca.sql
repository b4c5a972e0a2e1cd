-- Our certificate authorities, every certificate that they issued, and the anchors of endorsement keys.

CREATE TABLE authorities (
    tenant_id   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    certificate BYTEA   NOT NULL,
    fingerprint TEXT    NOT NULL PRIMARY KEY,
    serial      TEXT    NOT NULL,
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE UNIQUE INDEX authorities_one_active ON authorities (tenant_id, name) WHERE state = 'active';

CREATE TABLE certificates (
    tenant_id     TEXT    NOT NULL,
    serial        TEXT    NOT NULL PRIMARY KEY,
    issuer        TEXT    NOT NULL,
    profile       TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    not_before    BIGINT NOT NULL,
    not_after     BIGINT NOT NULL,
    state         TEXT    NOT NULL,
    revoked_at    BIGINT,
    revoke_reason TEXT,
    certificate   BYTEA   NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE INDEX certificates_by_subject ON certificates (tenant_id, profile, subject, created_at);

CREATE TABLE ek_roots (
    tenant_id     TEXT    NOT NULL,
    id            TEXT    NOT NULL PRIMARY KEY,
    fingerprint   TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    class         TEXT    NOT NULL,
    certifies     TEXT    NOT NULL,
    certificate   BYTEA   NOT NULL,
    intermediates TEXT    NOT NULL,
    not_after     BIGINT NOT NULL,
    added_by      TEXT    NOT NULL,
    added_at      BIGINT NOT NULL
);

CREATE UNIQUE INDEX ek_roots_by_fingerprint ON ek_roots (tenant_id, fingerprint);
