-- People ask for more than a limit allows, and to join teams; an admin, or an owner of the team, decides.

CREATE TABLE limit_requests (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    limit_id    bigint NOT NULL REFERENCES limits (id) ON DELETE CASCADE,
    user_id     bigint NOT NULL REFERENCES users (id),               -- who asks
    amount      bigint NOT NULL CHECK (amount > 0),                  -- that they ask for
    reason      text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied', 'withdrawn')),
    granted     bigint CHECK (granted >= 0),                         -- NULL unless it was approved
    answer      text CHECK (length(answer) <= 1000),
    decided_by  text,
    decided_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX limit_requests_pending ON limit_requests (limit_id) WHERE status = 'pending';
CREATE INDEX limit_requests_limit ON limit_requests (limit_id);
CREATE INDEX limit_requests_user ON limit_requests (user_id, id);
CREATE INDEX limit_requests_status ON limit_requests (status, id);

CREATE TABLE team_join_requests (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts (id),
    user_id     bigint NOT NULL REFERENCES users (id),
    reason      text NOT NULL CHECK (length(reason) <= 1000),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, user_id)
);
CREATE INDEX team_join_requests_user ON team_join_requests (user_id, id);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON limit_requests TO %I', current_setting('litemaas.app_role'));
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON team_join_requests TO %I',
        current_setting('litemaas.app_role'));
END $$;
