-- Lists go from page to page in the order of ids: without these, each page is cut from all rows of the tenant, sorted.
CREATE INDEX devices_by_tenant ON devices (tenant_id, id);
CREATE INDEX enrollments_by_tenant ON enrollments (tenant_id, id);
-- Whether a rollout that has ended still has an open assignment is asked at every run of the planner; its assignments
-- are read in the order of devices.
CREATE INDEX assignment_by_state ON assignment (tenant_id, rollout_id, state);
CREATE INDEX assignment_in_order ON assignment (tenant_id, rollout_id, device_id, epoch, sequence);
DROP INDEX assignment_by_rollout;
