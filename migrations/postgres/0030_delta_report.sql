-- Which devices say that a delta does not give its output: each counts once.

CREATE TABLE delta_bad_report (
    tenant_id TEXT   NOT NULL,
    base      TEXT   NOT NULL,
    output    TEXT   NOT NULL,
    device_id TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, base, output, device_id)
);
