-- What questions and seeds read instead of rows: sums by 15 minutes (every IANA offset is on a quarter of an hour)
-- and by day. Written in the transaction that writes the rows, so that ledger = rollups at every moment.

CREATE TABLE usage_quarter_hours (
    account_id               bigint NOT NULL,
    started_at               timestamptz NOT NULL,                   -- start of the quarter
    user_id                  bigint NOT NULL,                        -- 0: none
    api_key_id               bigint NOT NULL,
    model_id                 bigint NOT NULL,
    ending                   text NOT NULL,
    calls                    bigint NOT NULL,
    estimated_calls          bigint NOT NULL,
    prompt_tokens            bigint NOT NULL,
    completion_tokens        bigint NOT NULL,
    cached_tokens            bigint NOT NULL,
    cost_nano_usd            bigint NOT NULL,
    counted_requests         bigint NOT NULL,
    counted_tokens           bigint NOT NULL,
    counted_nano_usd         bigint NOT NULL,
    total_ms                 bigint NOT NULL,
    PRIMARY KEY (account_id, started_at, user_id, api_key_id, model_id, ending)
);

CREATE TABLE usage_days (
    account_id               bigint NOT NULL,
    day                      date NOT NULL,                          -- in UTC
    model_id                 bigint NOT NULL,
    calls                    bigint NOT NULL,
    estimated_calls          bigint NOT NULL,
    prompt_tokens            bigint NOT NULL,
    completion_tokens        bigint NOT NULL,
    cached_tokens            bigint NOT NULL,
    cost_nano_usd            bigint NOT NULL,
    counted_requests         bigint NOT NULL,
    counted_tokens           bigint NOT NULL,
    counted_nano_usd         bigint NOT NULL,
    total_ms                 bigint NOT NULL,
    PRIMARY KEY (account_id, day, model_id)
);

-- Refusals are no ledger rows: they are only counted, by the hour.
CREATE TABLE refusals (
    hour        timestamptz NOT NULL,
    account_id  bigint NOT NULL,
    user_id     bigint NOT NULL,                                     -- 0: none
    api_key_id  bigint NOT NULL,
    model_id    bigint NOT NULL,
    limit_id    bigint NOT NULL,                                     -- 0: not by a limit
    code        text NOT NULL,
    count       bigint NOT NULL,
    PRIMARY KEY (account_id, hour, user_id, api_key_id, model_id, limit_id, code)
);
