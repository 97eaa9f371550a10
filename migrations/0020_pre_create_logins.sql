-- Logins of people: who they are at an identity provider, their sessions, and the two sources of a role.

-- `role` is what counts: the stronger of what a person gave and what the provider's groups said at the last login.
ALTER TABLE users ADD COLUMN assigned_role text NOT NULL DEFAULT 'user'
    CHECK (assigned_role IN ('admin', 'admin-readonly', 'user'));
ALTER TABLE users ADD COLUMN group_role text CHECK (group_role IN ('admin', 'admin-readonly', 'user'));
UPDATE users SET assigned_role = role;

CREATE TABLE identities (
    issuer      text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 500),
    subject     text NOT NULL CHECK (length(subject) BETWEEN 1 AND 500),
    user_id     bigint NOT NULL REFERENCES users (id),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject),
    -- An address that goes to somebody else at the provider must not hand him this user.
    UNIQUE (user_id, issuer)
);

CREATE TABLE sessions (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         bigint NOT NULL REFERENCES users (id),
    digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    provider        text NOT NULL CHECK (provider IN ('oidc', 'openshift')),
    ip              inet,
    user_agent      text CHECK (length(user_agent) <= 300),
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id, id);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON identities, sessions TO %I',
        current_setting('litemaas.app_role'));
END $$;
