-- The playground's key. A user has one row of kind `session` in their personal account, so that limits at level key and
-- usage go on from one login to the next, and nobody logs in around a budget. Each session has its own digest for it.

ALTER TABLE api_keys
    ADD COLUMN kind text NOT NULL DEFAULT 'standard' CHECK (kind IN ('standard', 'session')),
    DROP CONSTRAINT api_keys_last_four_check,
    -- A session's key is never shown, not even its end.
    ADD CONSTRAINT api_keys_last_four_check CHECK (length(last_four) = CASE kind WHEN 'session' THEN 0 ELSE 4 END);
CREATE UNIQUE INDEX api_keys_session ON api_keys (user_id) WHERE kind = 'session';

CREATE TABLE session_keys (
    session_id      bigint PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    api_key_id      bigint NOT NULL REFERENCES api_keys (id),
    digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    expires_at      timestamptz NOT NULL
);
CREATE INDEX session_keys_api_key ON session_keys (api_key_id);

CREATE TRIGGER notify_insert AFTER INSERT ON session_keys REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change('k', 'api_key_id');
CREATE TRIGGER notify_update AFTER UPDATE ON session_keys REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change('k', 'api_key_id');
CREATE TRIGGER notify_delete AFTER DELETE ON session_keys REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION notify_change('k', 'api_key_id');

-- However a session ends, its key ends with it.
CREATE FUNCTION end_session_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM session_keys WHERE session_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_end_key AFTER UPDATE OF ended_at ON sessions FOR EACH ROW
    WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION end_session_key();

-- The key of a session is in no list of idle keys.
CREATE OR REPLACE FUNCTION note_new_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO api_key_uses (api_key_id, account_id, user_id, idle_since, ended)
    SELECT id, account_id, user_id, created_at, revoked_at IS NOT NULL OR archived_at IS NOT NULL OR kind = 'session'
    FROM new_rows;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION note_ended_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_uses AS u
    SET ended = n.revoked_at IS NOT NULL OR n.archived_at IS NOT NULL OR n.kind = 'session' FROM new_rows AS n
    WHERE u.api_key_id = n.id
        AND u.ended <> (n.revoked_at IS NOT NULL OR n.archived_at IS NOT NULL OR n.kind = 'session');
    RETURN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON session_keys TO %I', current_setting('litemaas.app_role'));
END $$;
