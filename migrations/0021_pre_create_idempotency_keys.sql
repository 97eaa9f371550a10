-- Answers kept for a day under the key a caller gave his request, so that asking again makes nothing twice.

CREATE TABLE idempotency_keys (
    caller        text NOT NULL CHECK (length(caller) BETWEEN 1 AND 300),
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    request_hash  bytea NOT NULL CHECK (length(request_hash) = 32),
    -- NULL: at work, or its outcome was never learnt.
    status        smallint,
    -- Sealed: it may hold a key that was just made.
    answer        bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO %I',
        current_setting('litemaas.app_role'));
END $$;
