-- Who pays and who acts: an account is a user's personal one or a team's, and all limits and usage hang on it.

CREATE TABLE users (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL CHECK (email = lower(email) AND email LIKE '%_@_%' AND length(email) <= 254),
    name        text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    role        text NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'admin-readonly', 'user')),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deactivated')),
    locale      text CHECK (locale IN ('en', 'es', 'fr')),          -- NULL: the browser's
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (email)
);

CREATE TABLE accounts (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('personal', 'team')),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 254),
    owner_user_id  bigint UNIQUE REFERENCES users (id),              -- the person of a personal account; NULL for a team
    time_zone      text NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) BETWEEN 1 AND 64),
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    -- Counters in Redis that carry a lower epoch are seeded anew from the ledger (together with redis_runs).
    epoch          bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'personal') = (owner_user_id IS NOT NULL))
);
CREATE UNIQUE INDEX accounts_team_name ON accounts (lower(name)) WHERE kind = 'team';

CREATE TABLE team_members (
    account_id  bigint NOT NULL REFERENCES accounts (id),
    user_id     bigint NOT NULL REFERENCES users (id),
    role        text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member')),
    joined_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, user_id)
);
CREATE INDEX team_members_user ON team_members (user_id);

-- Each run of a Redis server that a gateway has met. A run not met before may hold an old snapshot, so the number
-- of rows is the part of every account's epoch that all accounts share.
CREATE TABLE redis_runs (
    run_id   text PRIMARY KEY CHECK (length(run_id) BETWEEN 1 AND 64),
    seen_at  timestamptz NOT NULL DEFAULT now()
);
