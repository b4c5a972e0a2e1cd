-- The update repository: signed metadata, small target files, blobs, releases, deltas.

CREATE TABLE tuf_metadata (
    tenant_id    TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    bytes        BLOB    NOT NULL,
    expires_at   INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, role, version)
) STRICT;

CREATE TABLE tuf_target (
    tenant_id TEXT NOT NULL,
    path      TEXT NOT NULL,
    sha256    TEXT NOT NULL,
    bytes     BLOB NOT NULL,
    PRIMARY KEY (tenant_id, path, sha256)
) STRICT;

-- The highest metadata version that any device says it trusts; ours jump above it.
CREATE TABLE tuf_seen (
    tenant_id TEXT    NOT NULL,
    role      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, role)
) STRICT;

CREATE TABLE blob (
    tenant_id  TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    length     INTEGER NOT NULL,
    block_root TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
) STRICT;

CREATE TABLE release (
    tenant_id        TEXT    NOT NULL,
    hardware         TEXT    NOT NULL,
    release          TEXT    NOT NULL,
    version          TEXT    NOT NULL,
    security_counter INTEGER NOT NULL,
    manifest_sha256  TEXT    NOT NULL,
    manifest         BLOB    NOT NULL,
    published_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, hardware, release)
) STRICT;

CREATE TABLE release_channel (
    tenant_id TEXT NOT NULL,
    channel   TEXT NOT NULL,
    hardware  TEXT NOT NULL,
    release   TEXT NOT NULL,
    PRIMARY KEY (tenant_id, channel, hardware, release)
) STRICT;

CREATE TABLE delta (
    tenant_id   TEXT    NOT NULL,
    base        TEXT    NOT NULL,
    output      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    codec       TEXT    NOT NULL,
    patch       TEXT    NOT NULL,
    length      INTEGER NOT NULL,
    ram_bytes   INTEGER NOT NULL,
    block_root  TEXT    NOT NULL,
    full_bytes  INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    bad_reports INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, base, output)
) STRICT;
