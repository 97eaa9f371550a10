-- What machines log in to the admin API with: personal access tokens, hashed as keys are.

CREATE TABLE personal_tokens (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         bigint NOT NULL REFERENCES users (id),
    name            text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    role            text NOT NULL CHECK (role IN ('admin', 'admin-readonly', 'user')),
    digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    pepper_version  smallint NOT NULL,
    last_four       text NOT NULL CHECK (length(last_four) = 4),
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    last_used_at    timestamptz,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX personal_tokens_user ON personal_tokens (user_id, id);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON personal_tokens TO %I', current_setting('litemaas.app_role'));
END $$;
