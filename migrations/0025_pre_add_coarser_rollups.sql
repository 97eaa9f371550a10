-- More grains of sums, so that a question about everybody reads few rows at the edges of its range too, and sums of
-- failed calls apart (docs/usage.md says which question reads which):
--   usage_account_six_hours, usage_account_ten_days   between the grains that each account and user had, of all models
--   usage_failed_days, usage_failed_months            each account's and user's calls that failed
--   usage_all_quarter_hours, usage_all_days           all calls in one
-- They are filled from the sums that are there, so months that have no rows any more keep theirs. Writers wait
-- meanwhile, their rows in journals; readers, as seeds of counters, do not. A gateway of the version before adds to none of these: see CHANGELOG.md.

-- A large installation has hundreds of millions of sums.
SET LOCAL statement_timeout = '1h';

LOCK TABLE usage_model_quarter_hours, usage_model_days, usage_quarter_hours, usage_days, usage_account_days,
    usage_account_months IN SHARE ROW EXCLUSIVE MODE;

-- As sum(), but it counts in bigint: sum() counts bigints in numeric, at twice the cost. A total that is no bigint any
-- more is an error, as it was.
CREATE AGGREGATE usage_sum(bigint) (
    SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0', PARALLEL = SAFE);

-- The 1st, 11th or 21st of the day's month, whichever came last.
CREATE FUNCTION usage_ten_days(day date) RETURNS date LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT day - (extract(day FROM day)::integer - 1 - 10 * least((extract(day FROM day)::integer - 1) / 10, 2))
$$;

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
    timed_calls         bigint NOT NULL,
    total_ms            bigint NOT NULL,
    first_byte_calls    bigint NOT NULL,
    first_byte_ms       bigint NOT NULL
);
CREATE TABLE usage_account_six_hours (
    started_at   timestamptz NOT NULL,                               -- midnight, 6, 12 or 18 o'clock in UTC
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,                                    -- 0: none
    LIKE usage_sums,
    PRIMARY KEY (started_at, account_id, user_id)
);
CREATE TABLE usage_account_ten_days (
    ten_days     date NOT NULL,                                      -- the 1st, 11th or 21st of a month, in UTC
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,
    LIKE usage_sums,
    PRIMARY KEY (ten_days, account_id, user_id)
) WITH (fillfactor = 80);
CREATE TABLE usage_failed_days (
    model        bigint NOT NULL,                                    -- a model's id; 0: all models together
    error_class  text NOT NULL,                                      -- never 'none'
    day          date NOT NULL,
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,
    ending       text NOT NULL,
    LIKE usage_sums,
    PRIMARY KEY (model, error_class, day, account_id, user_id, ending)
);
CREATE TABLE usage_failed_months (
    model        bigint NOT NULL,
    error_class  text NOT NULL,
    month        date NOT NULL,                                      -- its first day
    account_id   bigint NOT NULL,
    user_id      bigint NOT NULL,
    ending       text NOT NULL,
    LIKE usage_sums,
    PRIMARY KEY (model, error_class, month, account_id, user_id, ending)
);
-- One row, changed by every batch of every writer: room for its next version on its own page.
CREATE TABLE usage_all_quarter_hours (
    started_at   timestamptz NOT NULL PRIMARY KEY,
    LIKE usage_sums,
    latencies    bigint[] NOT NULL
) WITH (fillfactor = 60);
CREATE TABLE usage_all_days (
    day          date NOT NULL PRIMARY KEY,
    LIKE usage_sums,
    latencies    bigint[] NOT NULL
) WITH (fillfactor = 60);
DROP TABLE usage_sums;

-- At the edges of a range: of one model, and of those that failed.
CREATE INDEX usage_quarter_hours_model ON usage_quarter_hours (started_at, model_id);
CREATE INDEX usage_quarter_hours_failed ON usage_quarter_hours (error_class, started_at) WHERE error_class <> 'none';

CREATE OR REPLACE VIEW usage_as_sums AS
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
        THEN ARRAY[((256 + latency_bucket(first_byte_ms))::bigint << 40) + 1] ELSE '{}' END AS latencies,
    usage_ten_days((started_at AT TIME ZONE 'UTC')::date) AS ten_days
FROM usage_logs;

-- Inserts into `target` what `source` adds up to by `told`, which are columns of it or what is made of them, one for each
-- column of `key`; in the key's order, so that what is read together lies together. Most of the finest sums are of one call, whose latencies are taken as they are.
DROP FUNCTION add_up_usage(text, text, text, text, timestamptz, boolean);
CREATE FUNCTION add_up_usage(target text, key text, told text, source text, latencies boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    names text := 'calls, completed_calls, hung_up_calls, estimated_calls, unpriced_calls, prompt_tokens, '
        'completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, counted_requests, '
        'counted_tokens, counted_nano_usd, timed_calls, total_ms, first_byte_calls, first_byte_ms';
    sums text := regexp_replace(names, '(\w+)', 'usage_sum(s.\1)', 'g');
BEGIN
    IF latencies THEN
        EXECUTE format('INSERT INTO %1$I (%2$s, %3$s, latencies) SELECT %2$s, %3$s,
                CASE WHEN parts = 1 THEN one ELSE coalesce((
                    SELECT array_agg((c.code << 40) + c.n ORDER BY c.code) FROM (
                        SELECT e >> 40 AS code, usage_sum(e & 1099511627775) AS n
                        FROM unnest(joined_arrays(added.elements)) AS e GROUP BY 1) AS c), ''{}'') END
            FROM (SELECT %4$s, %5$s, count(*), min(s.latencies),
                string_agg(nullif(array_to_string(s.latencies, '',''), ''''), '','')
                FROM %6$s AS s GROUP BY %4$s) AS added (%2$s, %3$s, parts, one, elements) ORDER BY %2$s',
            target, key, names, told, sums, source);
    ELSE
        EXECUTE format('INSERT INTO %1$I (%2$s, %3$s) SELECT %4$s, %5$s FROM %6$s AS s GROUP BY %4$s ORDER BY %4$s',
            target, key, names, told, sums, source);
    END IF;
END $$;

-- The finest sums of [first, last) from the ledger's rows. This function and the two below only insert: what was there
-- has to be deleted, and writers kept out.
CREATE FUNCTION add_up_usage_rows(first timestamptz, last timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- By time, as a writer leaves them.
    key text := 'started_at, account_id, user_id, api_key_id, model_id, ending, error_class';
BEGIN
    PERFORM add_up_usage('usage_quarter_hours', key, key, format('(SELECT * FROM usage_as_sums
        WHERE request_id >= uuid7_floor(%L) AND request_id < uuid7_floor(%L))', first, last), true);
END $$;

-- All sums of a day or less in [first, last), starts of UTC days, from the finest.
CREATE FUNCTION add_up_usage_days(first timestamptz, last timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    quarters text := format('(SELECT * FROM %%I WHERE started_at >= %L AND started_at < %L)', first, last);
    days text := format('(SELECT * FROM %%I WHERE day >= %L AND day < %L AND %%s)',
        first AT TIME ZONE 'UTC', last AT TIME ZONE 'UTC');
    what text := 'model_id, ending, error_class';
    its_day text := '(started_at AT TIME ZONE ''UTC'')::date';
    of_failed text := 'model, error_class, day, account_id, user_id, ending';
BEGIN
    PERFORM add_up_usage('usage_days', 'account_id, day, user_id, api_key_id, ' || what,
        format('account_id, %s, user_id, api_key_id, %s', its_day, what), format(quarters, 'usage_quarter_hours'), true);
    PERFORM add_up_usage('usage_account_six_hours', 'started_at, account_id, user_id',
        'date_bin(''6 hours'', started_at, ''2000-01-01Z''), account_id, user_id',
        format(quarters, 'usage_quarter_hours'), false);
    PERFORM add_up_usage('usage_account_days', 'model, day, account_id, user_id', 'model_id, day, account_id, user_id',
        format(days, 'usage_days', 'true'), false);
    PERFORM add_up_usage('usage_account_days', 'day, account_id, user_id, model',
        its_day || ', account_id, user_id, s.model', format('(SELECT *, 0::bigint AS model FROM %s AS q)',
        format(quarters, 'usage_account_six_hours')), false);
    PERFORM add_up_usage('usage_failed_days', of_failed, replace(of_failed, 'model', 'model_id'),
        format(days, 'usage_days', 'error_class <> ''none'''), false);
    PERFORM add_up_usage('usage_failed_days', of_failed, replace(of_failed, 'model', 'zero'),
        format('(SELECT *, 0::bigint AS zero FROM %s AS d)', format(days, 'usage_failed_days', 'model <> 0')), false);
    PERFORM add_up_usage('usage_model_quarter_hours', 'started_at, ' || what, 'started_at, ' || what,
        format(quarters, 'usage_quarter_hours'), true);
    PERFORM add_up_usage('usage_model_days', 'day, ' || what, its_day || ', ' || what,
        format(quarters, 'usage_model_quarter_hours'), true);
    PERFORM add_up_usage('usage_all_quarter_hours', 'started_at', 'started_at',
        format(quarters, 'usage_model_quarter_hours'), true);
    PERFORM add_up_usage('usage_all_days', 'day', its_day, format(quarters, 'usage_all_quarter_hours'), true);
END $$;

-- All sums of more than a day in [first, last), starts of months, from those of days.
CREATE FUNCTION add_up_usage_months(first date, last date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    days text := format('(SELECT * FROM %%I WHERE day >= %L AND day < %L AND %%s)', first, last);
    its_month text := 'date_trunc(''month'', day)::date';
    key text := 'model, month, account_id, user_id';
    of_failed text := 'model, error_class, month, account_id, user_id, ending';
BEGIN
    PERFORM add_up_usage('usage_account_ten_days', 'ten_days, account_id, user_id',
        'usage_ten_days(day), account_id, user_id', format(days, 'usage_account_days', 'model = 0'), false);
    PERFORM add_up_usage('usage_account_months', key, replace(key, 'month', its_month),
        format(days, 'usage_account_days', 'true'), false);
    PERFORM add_up_usage('usage_failed_months', of_failed, replace(of_failed, 'month', its_month),
        format(days, 'usage_failed_days', 'true'), false);
END $$;

-- Adds up everything anew from the month of `since` on, in UTC: quarters from the ledger's rows, but of no month that
-- it has no rows of any more; everything else from the quarters. Writers wait meanwhile, their rows in journals.
CREATE OR REPLACE FUNCTION rebuild_usage_rollups(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', since AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    first_day date := (first AT TIME ZONE 'UTC')::date;
    oldest timestamptz; first_row timestamptz;
BEGIN
    LOCK TABLE usage_all_quarter_hours, usage_all_days, usage_model_quarter_hours, usage_model_days,
        usage_quarter_hours, usage_days, usage_account_six_hours, usage_account_days, usage_account_ten_days,
        usage_account_months, usage_failed_days, usage_failed_months IN SHARE ROW EXCLUSIVE MODE;
    oldest := (SELECT started_at FROM usage_logs ORDER BY request_id LIMIT 1);
    IF oldest IS NOT NULL THEN
        first_row := greatest(first, date_trunc('month', oldest AT TIME ZONE 'UTC') AT TIME ZONE 'UTC');
        DELETE FROM usage_quarter_hours WHERE started_at >= first_row;
        PERFORM add_up_usage_rows(first_row, '9999-12-31');
    END IF;
    DELETE FROM usage_all_quarter_hours WHERE started_at >= first;
    DELETE FROM usage_all_days WHERE day >= first_day;
    DELETE FROM usage_model_quarter_hours WHERE started_at >= first;
    DELETE FROM usage_model_days WHERE day >= first_day;
    DELETE FROM usage_days WHERE day >= first_day;
    DELETE FROM usage_account_six_hours WHERE started_at >= first;
    DELETE FROM usage_account_days WHERE day >= first_day;
    DELETE FROM usage_account_ten_days WHERE ten_days >= first_day;
    DELETE FROM usage_account_months WHERE month >= first_day;
    DELETE FROM usage_failed_days WHERE day >= first_day;
    DELETE FROM usage_failed_months WHERE month >= first_day;
    PERFORM add_up_usage_days(first, 'infinity');
    PERFORM add_up_usage_months(first_day, 'infinity');
END $$;

-- Adds up one day anew, in UTC: quarters from the ledger's rows, everything else from the quarters, its month from the
-- days. Writers wait meanwhile, their rows in journals; calls do not. Locks are taken in the order of the writers.
CREATE OR REPLACE FUNCTION rebuild_usage_day(the_day date) RETURNS void LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
DECLARE
    first timestamptz := the_day::timestamp AT TIME ZONE 'UTC';
    last timestamptz := (the_day + 1)::timestamp AT TIME ZONE 'UTC';
    its_month date := date_trunc('month', the_day)::date;
    next_month date := its_month + interval '1 month';
BEGIN
    LOCK TABLE usage_all_quarter_hours, usage_all_days, usage_model_quarter_hours, usage_model_days,
        usage_quarter_hours, usage_days, usage_account_six_hours, usage_account_days, usage_account_ten_days,
        usage_account_months, usage_failed_days, usage_failed_months IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM usage_all_quarter_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_all_days WHERE day = the_day;
    DELETE FROM usage_model_quarter_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_model_days WHERE day = the_day;
    DELETE FROM usage_quarter_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_days WHERE day = the_day;
    DELETE FROM usage_account_six_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_account_days WHERE day = the_day;
    DELETE FROM usage_account_ten_days WHERE ten_days >= its_month AND ten_days < next_month;
    DELETE FROM usage_account_months WHERE month = its_month;
    DELETE FROM usage_failed_days WHERE day = the_day;
    DELETE FROM usage_failed_months WHERE month = its_month;
    PERFORM add_up_usage_rows(first, last);
    PERFORM add_up_usage_days(first, last);
    PERFORM add_up_usage_months(its_month, next_month);
END $$;

-- From the sums that are there.
SELECT add_up_usage('usage_all_quarter_hours', 'started_at', 'started_at', 'usage_model_quarter_hours', true);
SELECT add_up_usage('usage_all_days', 'day', 'day', 'usage_model_days', true);
SELECT add_up_usage('usage_account_six_hours', 'started_at, account_id, user_id',
    'date_bin(''6 hours'', started_at, ''2000-01-01Z''), account_id, user_id', 'usage_quarter_hours', false);
SELECT add_up_usage('usage_account_ten_days', 'ten_days, account_id, user_id',
    'usage_ten_days(day), account_id, user_id', '(SELECT * FROM usage_account_days WHERE model = 0)', false);
SELECT add_up_usage('usage_failed_days', 'model, error_class, day, account_id, user_id, ending',
    'model, error_class, day, account_id, user_id, ending', '(SELECT d.*, m.model FROM usage_days AS d
    CROSS JOIN LATERAL (VALUES (d.model_id), (0)) AS m (model) WHERE d.error_class <> ''none'')', false);
SELECT add_up_usage('usage_failed_months', 'model, error_class, month, account_id, user_id, ending',
    'model, error_class, date_trunc(''month'', day)::date, account_id, user_id, ending', 'usage_failed_days', false);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON usage_account_six_hours, usage_account_ten_days, '
        'usage_failed_days, usage_failed_months, usage_all_quarter_hours, usage_all_days TO %I',
        current_setting('litemaas.app_role'));
END $$;
