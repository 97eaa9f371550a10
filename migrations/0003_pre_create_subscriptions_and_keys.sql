-- Which account may use which model, and the keys that speak for it.

CREATE TABLE subscriptions (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id        bigint NOT NULL REFERENCES accounts (id),
    model_id          bigint NOT NULL REFERENCES models (id),
    status            text NOT NULL CHECK (status IN ('pending', 'active', 'denied', 'suspended', 'cancelled', 'expired')),
    reason            text CHECK (length(reason) <= 1000),
    expires_at        timestamptz,
    -- Set when the owner cancelled it while active: only then may it come back without an approval.
    cancelled_active  boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, model_id)
);
CREATE INDEX subscriptions_model ON subscriptions (model_id);

CREATE TABLE subscription_history (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id  bigint NOT NULL REFERENCES subscriptions (id),
    from_status      text,
    to_status        text NOT NULL,
    actor            text NOT NULL,
    reason           text,
    at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscription_history_subscription ON subscription_history (subscription_id, id);

CREATE TABLE api_keys (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      bigint NOT NULL REFERENCES accounts (id),
    user_id         bigint REFERENCES users (id),                    -- NULL: a team's service key
    name            text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    digest          bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    pepper_version  smallint NOT NULL,
    last_four       text NOT NULL CHECK (length(last_four) = 4),
    allowed_ips     cidr[] NOT NULL DEFAULT '{}',                    -- empty: from anywhere
    expires_at      timestamptz,
    revoked_at      timestamptz,
    archived_at     timestamptz,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_account ON api_keys (account_id, id);
CREATE INDEX api_keys_user ON api_keys (user_id, id);

CREATE TABLE api_key_models (
    api_key_id  bigint NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    model_id    bigint NOT NULL REFERENCES models (id),
    PRIMARY KEY (api_key_id, model_id)
);
CREATE INDEX api_key_models_model ON api_key_models (model_id);
