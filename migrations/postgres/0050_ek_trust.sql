-- Changes with every change of a tenant's anchors and denials: whoever has read those asks only for this.

CREATE TABLE ek_trust (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    version   TEXT NOT NULL
);
