-- A rotated key works beside the new one until its grace is over. One row with two digests: so its limits, its counters
-- and its usage go on, and nobody rotates around a budget.

ALTER TABLE api_keys
    ADD COLUMN previous_digest bytea UNIQUE CHECK (length(previous_digest) = 32),
    ADD COLUMN previous_pepper_version smallint,
    ADD COLUMN previous_last_four text CHECK (length(previous_last_four) = 4),
    ADD COLUMN previous_ends_at timestamptz,
    ADD COLUMN rotated_at timestamptz,
    ADD CONSTRAINT api_keys_previous CHECK (num_nulls(previous_digest, previous_pepper_version, previous_last_four,
        previous_ends_at) IN (0, 4));

-- What admins set at run time, an entry a name; what is not here is at its default. No secrets.
CREATE TABLE settings (
    name        text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    value       jsonb NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON settings TO %I', current_setting('litemaas.app_role'));
END $$;
