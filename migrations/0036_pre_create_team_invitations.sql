-- Owners of a team invite; the person becomes an owner, or a member, when they accept.

CREATE TABLE team_invitations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts (id),
    user_id     bigint NOT NULL REFERENCES users (id),
    role        text NOT NULL CHECK (role IN ('owner', 'member')),
    invited_by  bigint REFERENCES users (id),                        -- NULL: an admin who is no user, as the CLI
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    UNIQUE (account_id, user_id)
);
CREATE INDEX team_invitations_user ON team_invitations (user_id, id);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON team_invitations TO %I', current_setting('litemaas.app_role'));
END $$;
