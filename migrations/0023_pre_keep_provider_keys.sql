-- Keys of providers, kept for LiteLLM: sealed, for they have to be read back.

CREATE TABLE provider_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name ~ '^[A-Z][A-Z0-9_]{0,62}$'),
    provider    text NOT NULL CHECK (length(provider) BETWEEN 1 AND 100),
    sealed      bytea NOT NULL,                                      -- see admin_api/seals.py; bound to the name
    last_four   text NOT NULL CHECK (length(last_four) = 4),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_by  text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON provider_keys TO %I', current_setting('litemaas.app_role'));
END $$;
