-- What every noun stands on: leases, the audit trail, sealed keys, operators' tokens.

CREATE TABLE leases (
    tenant_id  TEXT    NOT NULL DEFAULT 'default',
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at BIGINT NOT NULL,
    fence      BIGINT NOT NULL
);

CREATE TABLE audit (
    seq       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id TEXT    NOT NULL,
    at        BIGINT NOT NULL,
    actor     TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    resource  TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    reason    TEXT    NOT NULL
);

CREATE INDEX audit_by_tenant ON audit (tenant_id, seq);
CREATE INDEX audit_by_resource ON audit (tenant_id, resource, seq);

CREATE TABLE keyring_head (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);

CREATE TABLE keyring (
    tenant_id  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    generation BIGINT NOT NULL,
    kek_id     TEXT    NOT NULL,
    sealed     BYTEA   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE tokens (
    tenant_id  TEXT    NOT NULL,
    id         TEXT    NOT NULL PRIMARY KEY,
    hash       BYTEA   NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    roles      TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    principal  TEXT    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX tokens_by_tenant ON tokens (tenant_id, id);
