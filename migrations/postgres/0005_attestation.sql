-- What a device's TPM last proved, and which endorsement keys are refused whatever they show.

ALTER TABLE devices ADD COLUMN ak_public BYTEA;
ALTER TABLE devices ADD COLUMN tpm_clock TEXT;
ALTER TABLE devices ADD COLUMN replaced_by TEXT;
ALTER TABLE devices ADD COLUMN claimed_ak_name BYTEA;

CREATE TABLE ek_denials (
    tenant_id TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    added_by  TEXT    NOT NULL,
    added_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, kind, value)
);
