-- When keys were last used and users last logged in, for lists and for keys that end because nobody uses them. Batches of
-- the ledger note the use of a key, to the hour: most calls write nothing.

ALTER TABLE users ADD COLUMN last_login_at timestamptz;              -- NULL: never
CREATE INDEX users_idle ON users ((coalesce(last_login_at, created_at)), id);

-- Beside api_keys, whose changes make gateways read the key again. One row for each key.
CREATE TABLE api_key_uses (
    api_key_id    bigint NOT NULL PRIMARY KEY,
    account_id    bigint NOT NULL,
    user_id       bigint,
    last_used_at  timestamptz,                                       -- NULL: never
    idle_since    timestamptz NOT NULL,                              -- its last use, or when it was created
    ended         boolean NOT NULL,                                  -- revoked or archived
    announced_at  timestamptz                                        -- that it will end because it is idle
);

CREATE FUNCTION note_new_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO api_key_uses (api_key_id, account_id, user_id, idle_since, ended)
    SELECT id, account_id, user_id, created_at, revoked_at IS NOT NULL OR archived_at IS NOT NULL FROM new_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_note_new AFTER INSERT ON api_keys REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_new_keys();

CREATE FUNCTION note_ended_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_uses AS u SET ended = n.revoked_at IS NOT NULL OR n.archived_at IS NOT NULL FROM new_rows AS n
    WHERE u.api_key_id = n.id AND u.ended <> (n.revoked_at IS NOT NULL OR n.archived_at IS NOT NULL);
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_note_ended AFTER UPDATE ON api_keys REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_ended_keys();

-- A row that another batch is changing is left to it: batches never wait for each other here.
CREATE FUNCTION note_key_uses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH used AS (
        SELECT api_key_id, max(started_at) AS at FROM new_rows GROUP BY api_key_id
    ), due AS MATERIALIZED (
        SELECT u.api_key_id, used.at FROM used JOIN api_key_uses AS u USING (api_key_id)
        WHERE u.last_used_at IS NULL OR u.last_used_at < used.at - interval '1 hour'
        FOR NO KEY UPDATE OF u SKIP LOCKED
    )
    UPDATE api_key_uses AS u SET last_used_at = due.at, idle_since = greatest(u.idle_since, due.at)
    FROM due WHERE u.api_key_id = due.api_key_id;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_logs_note_uses AFTER INSERT ON usage_logs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_key_uses();

-- After the triggers, whose locks keep new keys waiting until the end: none is left out.
INSERT INTO api_key_uses
SELECT k.id, k.account_id, k.user_id, used.at, coalesce(used.at, k.created_at),
    k.revoked_at IS NOT NULL OR k.archived_at IS NOT NULL
FROM api_keys AS k LEFT JOIN (
    SELECT api_key_id, max(day)::timestamp AT TIME ZONE 'UTC' AS at FROM usage_days GROUP BY api_key_id
) AS used ON used.api_key_id = k.id;
CREATE INDEX api_key_uses_idle ON api_key_uses (idle_since, api_key_id) WHERE NOT ended;
CREATE INDEX api_key_uses_account ON api_key_uses (account_id, idle_since, api_key_id) WHERE NOT ended;
CREATE INDEX api_key_uses_user ON api_key_uses (user_id, idle_since, api_key_id) WHERE NOT ended;


DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON api_key_uses TO %I', current_setting('litemaas.app_role'));
END $$;
