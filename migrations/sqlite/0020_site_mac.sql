-- A pinned key set is as good as every secret of its site: a writer of the database must not be able to swap it.
-- Over every column but this one, under the root.

ALTER TABLE site ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
