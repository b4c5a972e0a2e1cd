-- Lists go from page to page in the order of ids: without these, each page is cut from all rows of the tenant, sorted.
CREATE INDEX devices_by_tenant ON devices (tenant_id, id);
CREATE INDEX enrollments_by_tenant ON enrollments (tenant_id, id);
