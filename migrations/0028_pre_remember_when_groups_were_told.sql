-- When the identity provider said what groups a person is in, so that what it said before can not undo it: a JWT outlives
-- the group it names.

ALTER TABLE identities ADD COLUMN groups_told_at timestamptz;
