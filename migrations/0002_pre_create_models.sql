-- What LiteLLM serves, as it was last seen there, and what it costs: prices are versions, so that a ledger row can
-- name the one it used.

CREATE TABLE models (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255 AND position(',' IN name) = 0),
    provider           text CHECK (length(provider) <= 100),
    mode               text CHECK (length(mode) <= 50),
    description        text CHECK (length(description) <= 4000),
    max_input_tokens   bigint CHECK (max_input_tokens > 0),
    max_output_tokens  bigint CHECK (max_output_tokens > 0),
    capabilities       text[] NOT NULL DEFAULT '{}',
    deployments        integer NOT NULL DEFAULT 1,
    restricted         boolean NOT NULL DEFAULT false,
    hidden             boolean NOT NULL DEFAULT false,
    -- A person's decision; a sync never changes it.
    enabled            boolean NOT NULL DEFAULT true,
    -- Whether the last good sync saw it.
    listed             boolean NOT NULL DEFAULT true,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);

-- USD for one unit; NULL: not known, which is not 0.
CREATE TABLE model_prices (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id      bigint NOT NULL REFERENCES models (id),
    effective_at  timestamptz NOT NULL DEFAULT now(),
    source        text NOT NULL CHECK (source IN ('litellm', 'admin')),
    input         numeric CHECK (input >= 0),
    output        numeric CHECK (output >= 0),
    cached_input  numeric CHECK (cached_input >= 0),
    cache_write   numeric CHECK (cache_write >= 0),
    reasoning     numeric CHECK (reasoning >= 0),
    per_request   numeric CHECK (per_request >= 0),
    image         numeric CHECK (image >= 0),
    second        numeric CHECK (second >= 0),
    character     numeric CHECK (character >= 0),
    query         numeric CHECK (query >= 0),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_prices_newest ON model_prices (model_id, effective_at DESC, id DESC);
