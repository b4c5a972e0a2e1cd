-- What every noun stands on: leases, the audit trail, sealed keys, operators' tokens.

CREATE TABLE leases (
    tenant_id  TEXT    NOT NULL DEFAULT 'default',
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    fence      INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    seq       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    resource  TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    reason    TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant_id, seq);
CREATE INDEX audit_by_resource ON audit (tenant_id, resource, seq);

CREATE TABLE keyring_head (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT;

CREATE TABLE keyring (
    tenant_id  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    kek_id     TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT;

CREATE TABLE tokens (
    tenant_id  TEXT    NOT NULL,
    id         TEXT    NOT NULL PRIMARY KEY,
    hash       BLOB    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    roles      TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    principal  TEXT    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX tokens_by_tenant ON tokens (tenant_id, id);
