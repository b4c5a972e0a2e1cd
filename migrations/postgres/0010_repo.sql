-- The update repository: signed metadata, small target files, blobs, releases, deltas.

CREATE TABLE tuf_metadata (
    tenant_id    TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    version      BIGINT  NOT NULL,
    bytes        BYTEA NOT NULL,
    expires_at   BIGINT  NOT NULL,
    published_at BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, role, version)
);

CREATE TABLE tuf_target (
    tenant_id TEXT NOT NULL,
    path      TEXT NOT NULL,
    sha256    TEXT NOT NULL,
    bytes     BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, path, sha256)
);

-- The highest metadata version that any device says it trusts; ours jump above it.
CREATE TABLE tuf_seen (
    tenant_id TEXT    NOT NULL,
    role      TEXT    NOT NULL,
    version   BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, role)
);

CREATE TABLE blob (
    tenant_id  TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    length     BIGINT  NOT NULL,
    block_root TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);

CREATE TABLE release (
    tenant_id        TEXT    NOT NULL,
    hardware         TEXT    NOT NULL,
    release          TEXT    NOT NULL,
    version          TEXT    NOT NULL,
    security_counter BIGINT  NOT NULL,
    manifest_sha256  TEXT    NOT NULL,
    manifest         BYTEA NOT NULL,
    published_at     BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, hardware, release)
);

CREATE TABLE release_channel (
    tenant_id TEXT NOT NULL,
    channel   TEXT NOT NULL,
    hardware  TEXT NOT NULL,
    release   TEXT NOT NULL,
    PRIMARY KEY (tenant_id, channel, hardware, release)
);

CREATE TABLE delta (
    tenant_id   TEXT    NOT NULL,
    base        TEXT    NOT NULL,
    output      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    codec       TEXT    NOT NULL,
    patch       TEXT    NOT NULL,
    length      BIGINT  NOT NULL,
    ram_bytes   BIGINT  NOT NULL,
    block_root  TEXT    NOT NULL,
    full_bytes  BIGINT  NOT NULL,
    reason      TEXT    NOT NULL,
    bad_reports BIGINT  NOT NULL DEFAULT 0,
    created_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, base, output)
);
