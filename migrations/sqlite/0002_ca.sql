-- Our certificate authorities, every certificate that they issued, and the anchors of endorsement keys.

CREATE TABLE authorities (
    tenant_id   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    certificate BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL PRIMARY KEY,
    serial      TEXT    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX authorities_one_active ON authorities (tenant_id, name) WHERE state = 'active';

CREATE TABLE certificates (
    tenant_id     TEXT    NOT NULL,
    serial        TEXT    NOT NULL PRIMARY KEY,
    issuer        TEXT    NOT NULL,
    profile       TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    not_before    INTEGER NOT NULL,
    not_after     INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    revoked_at    INTEGER,
    revoke_reason TEXT,
    certificate   BLOB    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX certificates_by_subject ON certificates (tenant_id, profile, subject, created_at);

CREATE TABLE ek_roots (
    tenant_id     TEXT    NOT NULL,
    id            TEXT    NOT NULL PRIMARY KEY,
    fingerprint   TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    class         TEXT    NOT NULL,
    certifies     TEXT    NOT NULL,
    certificate   BLOB    NOT NULL,
    intermediates TEXT    NOT NULL,
    not_after     INTEGER NOT NULL,
    added_by      TEXT    NOT NULL,
    added_at      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX ek_roots_by_fingerprint ON ek_roots (tenant_id, fingerprint);
