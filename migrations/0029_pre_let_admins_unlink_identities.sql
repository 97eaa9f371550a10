-- Admins unlink a user from a person at an identity provider who is no more: each link has a number to name it by, and
-- what the provider said before that (a JWT outlives it) links nobody again.

ALTER TABLE identities ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE;
ALTER TABLE users ADD COLUMN unlinked_at timestamptz;
