-- Lifting a deny takes two persons: who wished it gone first. Under the row's MAC once it is not empty.

ALTER TABLE access_grant ADD COLUMN withdraw_proposed_by TEXT NOT NULL DEFAULT '';
