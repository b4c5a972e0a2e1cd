-- Secrets sealed one data key a version, the grants that open them, and the sites whose workloads ask.

CREATE TABLE secret (
    tenant_id       TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    current_version INTEGER NOT NULL,
    content_type    TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    -- Over id, path and current_version, under the root.
    mac             BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, path)
) STRICT;

CREATE TABLE secret_version (
    tenant_id    TEXT    NOT NULL,
    secret_id    TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    content_type TEXT    NOT NULL,
    length       INTEGER NOT NULL,
    sealed       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, secret_id, version)
) STRICT;

CREATE TABLE access_grant (
    tenant_id   TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    proposal    TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    proposed_by TEXT    NOT NULL,
    approved_by TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    -- Over every column but this one, under the root.
    mac         BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE TABLE site (
    tenant_id  TEXT    NOT NULL,
    site       TEXT    NOT NULL,
    cluster    TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    jwks       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, site)
) STRICT;

CREATE TABLE controller_token (
    tenant_id  TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    site       TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, hash)
) STRICT;
