-- One table for every limit at every level: a new kind or level is a row, not a column.

CREATE TABLE limits (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES accounts (id),
    level            text NOT NULL CHECK (level IN ('key', 'key_model', 'subscription', 'user', 'team')),
    api_key_id       bigint REFERENCES api_keys (id) ON DELETE CASCADE,
    model_id         bigint REFERENCES models (id),
    subscription_id  bigint REFERENCES subscriptions (id),
    user_id          bigint REFERENCES users (id),
    kind             text NOT NULL CHECK (kind IN ('rpm', 'tpm', 'concurrency', 'requests', 'tokens', 'cost')),
    window_kind      text CHECK (window_kind IN ('day', 'week', 'month', 'year', 'lifetime')),
    amount           bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    burst            numeric(8, 3) NOT NULL DEFAULT 1 CHECK (burst BETWEEN 1 AND 1000),
    reserve          text NOT NULL DEFAULT 'expected' CHECK (reserve IN ('expected', 'maximum')),
    shadow           boolean NOT NULL DEFAULT false,
    set_by           text NOT NULL DEFAULT 'admin' CHECK (set_by IN ('admin', 'owner')),
    expires_at       timestamptz,
    reason           text CHECK (length(reason) <= 1000),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind IN ('requests', 'tokens', 'cost')) = (window_kind IS NOT NULL)),
    -- A bucket is counted in 1/60000 units and must stay below 2^53.
    CHECK (kind NOT IN ('rpm', 'tpm') OR amount * burst <= 100000000000),
    CHECK (kind IN ('rpm', 'tpm') OR burst = 1),
    CHECK ((level IN ('key', 'key_model')) = (api_key_id IS NOT NULL)),
    CHECK ((level = 'key_model') = (model_id IS NOT NULL)),
    CHECK ((level = 'subscription') = (subscription_id IS NOT NULL)),
    CHECK ((level = 'user') = (user_id IS NOT NULL))
);
-- NULLS NOT DISTINCT would need Postgres 15.
CREATE UNIQUE INDEX limits_one_of_a_kind ON limits (
    account_id, level, coalesce(api_key_id, 0), coalesce(model_id, 0), coalesce(subscription_id, 0),
    coalesce(user_id, 0), kind, coalesce(window_kind, ''), set_by, shadow, (expires_at IS NULL));
CREATE INDEX limits_key ON limits (api_key_id) WHERE api_key_id IS NOT NULL;
