-- Rollups that answer usage questions at any size: they gain all kinds of tokens, the class of an error and latencies,
-- and stand in three families, each at two or three grains (docs/usage.md says which question reads which):
--   usage_quarter_hours, usage_days                everything within an account
--   usage_model_quarter_hours, usage_model_days    everybody together, by model and ending
--   usage_account_days, usage_account_months       everybody, one by one

-- Number of the bucket a latency falls in; gateway/domain/latencies.py has the same bounds, and says why these.
CREATE FUNCTION latency_bucket(ms integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT width_bucket(ms, '{
    1,2,3,4,5,6,7,8,9,10,12,14,16,18,20,23,26,29,33,37,41,46,51,57,64,71,79,88,98,109,121,134,149,165,183,203,225,249,
    276,306,339,375,415,459,508,562,622,688,761,842,931,1030,1139,1259,1392,1539,1702,1882,2081,2301,2544,2812,3109,
    3437,3799,4199,4642,5131,5672,6270,6931,7661,8468,9360,10346,11436,12640,13971,15442,17068,18865,20851,23046,
    25472,28154,31118,34394,38015,42017,46440,51329,56733,62705,69306,76602,84666,93579,103430,114318,126352,139653,
    154354,170602,188561,208410,230348,254596,281396,311017,343756,379941,419935,464139,512996,566996,626680,692647,
    765558,846144,935212,1033656,1142462,1262722,1395641,1542551,1704925,1884391,2082748,2301985,2544300,2812122,
    3108135,3435308,3796920,4196596,4638343,5126590,5666232,6262678,6921908,7650530,8455849,9345939,10329723,11417063,
    12618860,13947162,15415285,17037947,18831416,20813671,23004584,25426120,28102554,31060718,34330268,37943981,
    41938085,46352621,51231845,56624671,62585163,69173075,76454452,84502290,93397268,103228560,114094725,126104697,
    139378876,154050337,170266162,188188916,207998276,229892832,254092078,280838613,310400573,343074318,379187405,
    419101869,463217856,511977631,565870014,625435279,691270572,764035896,844460728,933351331,1031598840,1140188192,
    1260208002,1392861476,1539478474,1701528840,1880637139,2078598944}'::integer[])
$$;

-- The few words errors come down to; gateway/domain/error_classes.py has the same.
CREATE FUNCTION error_class(ending text, status integer, error_code text, estimated_why text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN estimated_why = 'reaped' THEN 'gateway_lost'
        WHEN ending = 'completed' THEN 'none'
        WHEN ending = 'client_disconnected' THEN 'hung_up'
        WHEN ending IN ('timeout', 'unreachable') THEN ending
        WHEN ending = 'refused_upstream' AND status = 429 THEN 'rate_limited'
        WHEN ending = 'refused_upstream' AND status < 500 THEN 'rejected'
        WHEN ending = 'refused_upstream' THEN 'server_error'
        WHEN error_code = 'shutting_down' THEN 'shutting_down'
        ELSE 'broken_off' END
$$;

-- All elements of the arrays of a group. As text, for an aggregate over array_cat copies everything at each step.
CREATE FUNCTION joined_arrays(elements text) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_to_array(elements, ',')::bigint[], '{}')
$$;

-- What every rollup adds up. A latency is an element (measure * 256 + bucket) << 40 + number of calls; measure 0 is
-- the whole call, 1 its first byte.
CREATE TABLE usage_sums (
    calls               bigint NOT NULL,
    completed_calls     bigint NOT NULL,
    hung_up_calls       bigint NOT NULL,
    estimated_calls     bigint NOT NULL,
    unpriced_calls      bigint NOT NULL,
    prompt_tokens       bigint NOT NULL,
    completion_tokens   bigint NOT NULL,
    cached_tokens       bigint NOT NULL,
    cache_write_tokens  bigint NOT NULL,
    reasoning_tokens    bigint NOT NULL,
    cost_nano_usd       bigint NOT NULL,
    counted_requests    bigint NOT NULL,
    counted_tokens      bigint NOT NULL,
    counted_nano_usd    bigint NOT NULL,
    timed_calls         bigint NOT NULL,                             -- not reaped: their end was seen
    total_ms            bigint NOT NULL,
    first_byte_calls    bigint NOT NULL,
    first_byte_ms       bigint NOT NULL
);

-- One row of the ledger as what it adds to the rollups.
CREATE VIEW usage_as_sums AS
SELECT request_id, account_id, coalesce(user_id, 0) AS user_id, api_key_id, model_id, ending,
    error_class(ending, status, error_code, estimated_why) AS error_class,
    date_bin('15 minutes', started_at, '2000-01-01Z') AS started_at,
    (started_at AT TIME ZONE 'UTC')::date AS day,
    date_trunc('month', started_at AT TIME ZONE 'UTC')::date AS month,
    1::bigint AS calls,
    (ending = 'completed')::integer::bigint AS completed_calls,
    (ending = 'client_disconnected')::integer::bigint AS hung_up_calls,
    estimated::integer::bigint AS estimated_calls,
    (cost_nano_usd IS NULL)::integer::bigint AS unpriced_calls,
    prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
    coalesce(cost_nano_usd, 0) AS cost_nano_usd,
    counted_requests::bigint AS counted_requests, counted_tokens, counted_nano_usd,
    (estimated_why IS DISTINCT FROM 'reaped')::integer::bigint AS timed_calls,
    total_ms::bigint AS total_ms,
    (first_byte_ms IS NOT NULL)::integer::bigint AS first_byte_calls,
    coalesce(first_byte_ms, 0)::bigint AS first_byte_ms,
    CASE WHEN estimated_why IS DISTINCT FROM 'reaped'
        THEN ARRAY[(latency_bucket(total_ms)::bigint << 40) + 1] ELSE '{}' END
    || CASE WHEN first_byte_ms IS NOT NULL
        THEN ARRAY[((256 + latency_bucket(first_byte_ms))::bigint << 40) + 1] ELSE '{}' END AS latencies
FROM usage_logs;

ALTER TABLE usage_quarter_hours
    ADD COLUMN error_class         text NOT NULL DEFAULT 'none',
    ADD COLUMN completed_calls     bigint NOT NULL DEFAULT 0,
    ADD COLUMN hung_up_calls       bigint NOT NULL DEFAULT 0,
    ADD COLUMN unpriced_calls      bigint NOT NULL DEFAULT 0,
    ADD COLUMN cache_write_tokens  bigint NOT NULL DEFAULT 0,
    ADD COLUMN reasoning_tokens    bigint NOT NULL DEFAULT 0,
    ADD COLUMN timed_calls         bigint NOT NULL DEFAULT 0,
    ADD COLUMN first_byte_calls    bigint NOT NULL DEFAULT 0,
    ADD COLUMN first_byte_ms       bigint NOT NULL DEFAULT 0,
    ADD COLUMN latencies           bigint[] NOT NULL DEFAULT '{}',
    DROP CONSTRAINT usage_quarter_hours_pkey;

-- What the ledger still has rows of is added up anew below; of older sums only the words are known.
UPDATE usage_quarter_hours SET error_class = error_class(ending, 500, NULL, NULL), timed_calls = calls,
    completed_calls = CASE WHEN ending = 'completed' THEN calls ELSE 0 END,
    hung_up_calls = CASE WHEN ending = 'client_disconnected' THEN calls ELSE 0 END;
ALTER TABLE usage_quarter_hours
    ADD PRIMARY KEY (account_id, started_at, user_id, api_key_id, model_id, ending, error_class);
CREATE INDEX usage_quarter_hours_time ON usage_quarter_hours (started_at);

DROP TABLE usage_days;
CREATE TABLE usage_days (
    account_id   bigint NOT NULL,
    day          date NOT NULL,                                      -- in UTC, as all grains of a day or a month
    user_id      bigint NOT NULL,                                    -- 0: none
    api_key_id   bigint NOT NULL,
    model_id     bigint NOT NULL,
    ending       text NOT NULL,
    error_class  text NOT NULL,
    LIKE usage_sums,
    latencies    bigint[] NOT NULL,
    PRIMARY KEY (account_id, day, user_id, api_key_id, model_id, ending, error_class)
);
CREATE INDEX usage_days_day ON usage_days (day, account_id);
CREATE INDEX usage_days_failed ON usage_days (day) WHERE error_class <> 'none';

-- Few rows, changed by every batch of every writer: room for the next version of a row on its own page.
CREATE TABLE usage_model_quarter_hours (
    started_at   timestamptz NOT NULL,
    model_id     bigint NOT NULL,
    ending       text NOT NULL,
    error_class  text NOT NULL,
    LIKE usage_sums,
    latencies    bigint[] NOT NULL,
    PRIMARY KEY (started_at, model_id, ending, error_class)
) WITH (fillfactor = 60);
CREATE TABLE usage_model_days (
    day          date NOT NULL,
    model_id     bigint NOT NULL,
    ending       text NOT NULL,
    error_class  text NOT NULL,
    LIKE usage_sums,
    latencies    bigint[] NOT NULL,
    PRIMARY KEY (day, model_id, ending, error_class)
) WITH (fillfactor = 60);

CREATE TABLE usage_account_days (
    model        bigint NOT NULL,                                    -- a model's id; 0: all models together
    day          date NOT NULL,
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,
    LIKE usage_sums,
    PRIMARY KEY (model, day, account_id, user_id)
);
CREATE TABLE usage_account_months (
    model        bigint NOT NULL,
    month        date NOT NULL,                                      -- its first day
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,
    LIKE usage_sums,
    PRIMARY KEY (model, month, account_id, user_id)
) WITH (fillfactor = 80);
DROP TABLE usage_sums;

-- Inserts into `target` what `source` adds up to, grouped by `key`, from `since` on.
CREATE FUNCTION add_up_usage(target text, key text, source text, condition text, since timestamptz, latencies boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text := 'calls, completed_calls, hung_up_calls, estimated_calls, unpriced_calls, prompt_tokens, '
        'completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, counted_requests, '
        'counted_tokens, counted_nano_usd, timed_calls, total_ms, first_byte_calls, first_byte_ms';
    sums text := regexp_replace(names, '(\w+)', 'sum(\1)::bigint AS \1', 'g');
BEGIN
    IF latencies THEN
        EXECUTE format('INSERT INTO %1$I (%2$s, %3$s, latencies) SELECT %2$s, %3$s, coalesce((
                SELECT array_agg((c.code << 40) + c.n ORDER BY c.code) FROM (
                    SELECT e >> 40 AS code, sum(e & 1099511627775)::bigint AS n FROM unnest(added.latencies) AS e
                    GROUP BY 1) AS c), ''{}'')
            FROM (SELECT %2$s, %4$s,
                joined_arrays(string_agg(nullif(array_to_string(s.latencies, '',''), ''''), '','')) AS latencies FROM %5$s AS s WHERE %6$s
                GROUP BY %2$s) AS added', target, key, names, sums, source, condition) USING since;
    ELSE
        EXECUTE format('INSERT INTO %1$I (%2$s, %3$s) SELECT %2$s, %4$s FROM %5$s AS s WHERE %6$s GROUP BY %2$s',
            target, key, names, sums, source, condition) USING since;
    END IF;
END $$;

-- Adds up everything anew from the month of `since` on, in UTC: quarters from the ledger's rows, but of no month that
-- it has no rows of any more; everything else from the quarters. Writers wait meanwhile, their rows in journals.
CREATE FUNCTION rebuild_usage_rollups(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', since AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    first_day date := (first AT TIME ZONE 'UTC')::date;
    oldest timestamptz := (SELECT started_at FROM usage_logs ORDER BY request_id LIMIT 1);
    first_row timestamptz := greatest(first, date_trunc('month', oldest AT TIME ZONE 'UTC') AT TIME ZONE 'UTC');
BEGIN
    LOCK TABLE usage_quarter_hours, usage_days, usage_model_quarter_hours, usage_model_days, usage_account_days,
        usage_account_months IN SHARE ROW EXCLUSIVE MODE;
    IF oldest IS NOT NULL THEN
        DELETE FROM usage_quarter_hours WHERE started_at >= first_row;
        PERFORM add_up_usage('usage_quarter_hours',
            'account_id, started_at, user_id, api_key_id, model_id, ending, error_class',
            'usage_as_sums', 'request_id >= uuid7_floor($1)', first_row, true);
    END IF;
    DELETE FROM usage_days WHERE day >= first_day;
    DELETE FROM usage_model_quarter_hours WHERE started_at >= first;
    DELETE FROM usage_model_days WHERE day >= first_day;
    DELETE FROM usage_account_days WHERE day >= first_day;
    DELETE FROM usage_account_months WHERE month >= first_day;
    PERFORM add_up_usage('usage_days', 'account_id, day, user_id, api_key_id, model_id, ending, error_class',
        '(SELECT *, (started_at AT TIME ZONE ''UTC'')::date AS day FROM usage_quarter_hours)', 'started_at >= $1',
        first, true);
    PERFORM add_up_usage('usage_model_quarter_hours', 'started_at, model_id, ending, error_class',
        'usage_quarter_hours', 'started_at >= $1', first, true);
    PERFORM add_up_usage('usage_model_days', 'day, model_id, ending, error_class',
        '(SELECT *, (started_at AT TIME ZONE ''UTC'')::date AS day FROM usage_model_quarter_hours)',
        'started_at >= $1', first, true);
    PERFORM add_up_usage('usage_account_days', 'day, model, account_id, user_id',
        '(SELECT d.*, m.model FROM usage_days AS d CROSS JOIN LATERAL (VALUES (d.model_id), (0)) AS m (model))',
        'day >= ($1 AT TIME ZONE ''UTC'')::date', first, false);
    PERFORM add_up_usage('usage_account_months', 'month, model, account_id, user_id',
        '(SELECT *, date_trunc(''month'', day)::date AS month FROM usage_account_days)',
        'day >= ($1 AT TIME ZONE ''UTC'')::date', first, false);
END $$;

SELECT rebuild_usage_rollups('-infinity');

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
BEGIN
    EXECUTE format('GRANT SELECT ON usage_as_sums TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON usage_days, usage_model_quarter_hours, usage_model_days, '
        'usage_account_days, usage_account_months TO %I', app);
END $$;
