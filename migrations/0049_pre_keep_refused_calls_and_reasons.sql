-- Why an account is suspended, or a user deactivated; those whom it concerns can read it. NULL: no reason was given.

ALTER TABLE accounts ADD COLUMN status_reason text CHECK (length(status_reason) <= 1000);
ALTER TABLE users ADD COLUMN status_reason text CHECK (length(status_reason) <= 1000);
-- The names a model had before it was renamed: who calls it by one of them reads its name of today.

ALTER TABLE models ADD COLUMN former_names text[] NOT NULL DEFAULT '{}';
-- Refused calls, to be looked up by their request ids: a few of each account and minute, for some days. They are no
-- ledger rows: those refused cost nothing.

CREATE TABLE refused_calls (
    request_id         uuid PRIMARY KEY,
    at                 timestamptz NOT NULL,
    account_id         bigint NOT NULL,
    user_id            bigint,
    api_key_id         bigint NOT NULL,
    model_asked        text CHECK (length(model_asked) <= 255),      -- NULL: the call did not get so far
    endpoint           text,                                         -- NULL: none that is forwarded
    status             smallint NOT NULL,
    code               text NOT NULL,
    message            text NOT NULL CHECK (length(message) <= 1000),
    param              text,
    details            jsonb NOT NULL,
    client_request_id  text
);
CREATE INDEX refused_calls_at ON refused_calls (at);
-- Refusals of all accounts, newest first.
CREATE INDEX refusals_hour ON refusals (hour DESC, account_id, user_id, api_key_id, model_id, limit_id, code);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON refused_calls TO %I', current_setting('litemaas.app_role'));
END $$;
