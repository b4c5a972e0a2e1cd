-- Secrets sealed one data key a version, the grants that open them, and the sites whose workloads ask.

CREATE TABLE secret (
    tenant_id       TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    current_version BIGINT  NOT NULL,
    content_type    TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    -- Over id, path and current_version, under the root.
    mac             BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, path)
);

CREATE TABLE secret_version (
    tenant_id    TEXT    NOT NULL,
    secret_id    TEXT    NOT NULL,
    version      BIGINT  NOT NULL,
    epoch        BIGINT  NOT NULL,
    content_type TEXT    NOT NULL,
    length       BIGINT  NOT NULL,
    sealed       BYTEA NOT NULL,
    created_at   BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, secret_id, version)
);

CREATE TABLE access_grant (
    tenant_id   TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    proposal    TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    proposed_by TEXT    NOT NULL,
    approved_by TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    version     BIGINT  NOT NULL,
    -- Over every column but this one, under the root.
    mac         BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE site (
    tenant_id  TEXT    NOT NULL,
    site       TEXT    NOT NULL,
    cluster    TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    jwks       TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, site)
);

CREATE TABLE controller_token (
    tenant_id  TEXT    NOT NULL,
    hash       BYTEA NOT NULL,
    site       TEXT    NOT NULL,
    expires_at BIGINT  NOT NULL,
    used_at    BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, hash)
);
