-- Alerts: a limit of a window reached a share of its amount. Once for a threshold in a window, and again only after the
-- use had fallen below it (a raised limit) and reached it anew.

CREATE TABLE alerts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES accounts (id),
    user_id          bigint REFERENCES users (id),                   -- whose key or limit it is; NULL: the account's
    level            text NOT NULL CHECK (level IN ('key', 'key_model', 'subscription', 'user', 'team')),
    scope            text NOT NULL,                                  -- as counters name it
    kind             text NOT NULL CHECK (kind IN ('requests', 'tokens', 'cost')),
    window_kind      text NOT NULL CHECK (window_kind IN ('day', 'week', 'month', 'year', 'lifetime')),
    window_start     timestamptz NOT NULL,
    window_end       timestamptz,                                    -- NULL: never
    threshold        smallint NOT NULL CHECK (threshold BETWEEN 1 AND 1000),
    used             bigint NOT NULL,
    amount           bigint NOT NULL,
    forecast_at      timestamptz,                                    -- NULL: not within the window at this pace
    about            jsonb NOT NULL,                                 -- names, as they were then
    created_at       timestamptz NOT NULL DEFAULT now(),
    cleared_at       timestamptz,
    acknowledged_at  timestamptz,
    acknowledged_by  text
);
CREATE UNIQUE INDEX alerts_once ON alerts (account_id, scope, kind, window_kind, window_start, threshold)
    WHERE cleared_at IS NULL;
CREATE INDEX alerts_account ON alerts (account_id, id DESC);
CREATE INDEX alerts_user ON alerts (user_id, id DESC);

-- Accounts whose use or limits changed, for the next pass: it looks at no others. Appended by each batch of the ledger,
-- taken by one pass in the transaction of its alerts. No key, so that neither ever waits for the other.
CREATE TABLE accounts_to_check (account_id bigint NOT NULL);

CREATE FUNCTION note_account_to_check() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts_to_check (account_id) SELECT DISTINCT account_id FROM new_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER check_after_insert AFTER INSERT ON usage_logs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();
CREATE TRIGGER check_after_update AFTER UPDATE ON usage_logs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();
CREATE TRIGGER check_after_insert AFTER INSERT ON limits REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();
CREATE TRIGGER check_after_update AFTER UPDATE ON limits REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();
CREATE TRIGGER check_after_delete AFTER DELETE ON limits REFERENCING OLD TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();
-- A boost that ends changes the limit in force without a change of any row.
CREATE INDEX limits_ending ON limits (expires_at) WHERE expires_at IS NOT NULL;

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON alerts, accounts_to_check TO %I',
        current_setting('litemaas.app_role'));
END $$;
