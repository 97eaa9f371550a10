-- What the identity provider last reported of a person, so that a user follows its changes, and what a person or an admin
-- changed here since stays.

ALTER TABLE identities
    ADD COLUMN reported_email text CHECK (length(reported_email) <= 254),    -- verified; NULL: not reported yet
    ADD COLUMN reported_name text CHECK (length(reported_name) <= 200);
