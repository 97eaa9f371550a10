-- Where news go, and the outbox that carries them: written in the transaction of what they tell of, sent behind its back.

CREATE TABLE webhooks (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint REFERENCES accounts (id),                     -- NULL: of everybody
    url         text NOT NULL CHECK (length(url) <= 2000),
    events      text[] NOT NULL,
    secret      bytea NOT NULL,                                      -- sealed: see admin_api/seals.py
    enabled     boolean NOT NULL DEFAULT true,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE deliveries (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),    -- the same at every try
    channel       text NOT NULL CHECK (channel IN ('webhook', 'email')),
    webhook_id    bigint REFERENCES webhooks (id) ON DELETE CASCADE,
    user_id       bigint REFERENCES users (id),
    event         text NOT NULL,
    payload       jsonb NOT NULL,
    tries         integer NOT NULL DEFAULT 0,
    next_try_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at  timestamptz,
    gave_up_at    timestamptz,
    last_error    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((channel = 'webhook') = (webhook_id IS NOT NULL)),
    CHECK ((channel = 'email') = (user_id IS NOT NULL))
);
CREATE INDEX deliveries_due ON deliveries (channel, next_try_at) WHERE delivered_at IS NULL AND gave_up_at IS NULL;
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, id DESC);
CREATE INDEX deliveries_age ON deliveries (created_at);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, deliveries TO %I',
        current_setting('litemaas.app_role'));
END $$;
