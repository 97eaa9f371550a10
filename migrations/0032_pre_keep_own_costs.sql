-- Three figures of what a call cost: by the model's price (own_cost_nano_usd), by LiteLLM (litellm_cost_nano_usd), and
-- what was charged (cost_nano_usd). NULL: the model had no price, or the row is of a version before this one, whose
-- charge was by the model's price.

ALTER TABLE usage_logs ADD COLUMN own_cost_nano_usd bigint;

-- In the order in which writers lock them. LiteLLM's figure is added up only where there is one of our own to compare it
-- with, so that gateways of the version before, which add neither, leave rows and rollups that agree.
DO $$
DECLARE
    rollup text;
BEGIN
    FOREACH rollup IN ARRAY ARRAY['usage_all_quarter_hours', 'usage_all_days', 'usage_model_quarter_hours',
        'usage_model_days', 'usage_quarter_hours', 'usage_days', 'usage_account_six_hours', 'usage_account_days',
        'usage_account_ten_days', 'usage_account_months', 'usage_failed_days', 'usage_failed_months'] LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN own_cost_nano_usd bigint NOT NULL DEFAULT 0, '
            'ADD COLUMN litellm_cost_nano_usd bigint NOT NULL DEFAULT 0', rollup);
    END LOOP;
END $$;

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
    usage_ten_days((started_at AT TIME ZONE 'UTC')::date) AS ten_days,
    coalesce(own_cost_nano_usd, 0) AS own_cost_nano_usd,
    CASE WHEN own_cost_nano_usd IS NULL THEN 0 ELSE coalesce(litellm_cost_nano_usd, 0) END AS litellm_cost_nano_usd
FROM usage_logs;

-- As before, with two more sums.
DROP FUNCTION add_up_usage(text, text, text, text, boolean);
CREATE FUNCTION add_up_usage(target text, key text, key_parts text, source text, latencies boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    names text := 'calls, completed_calls, hung_up_calls, estimated_calls, unpriced_calls, prompt_tokens, '
        'completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, counted_requests, '
        'counted_tokens, counted_nano_usd, timed_calls, total_ms, first_byte_calls, first_byte_ms, '
        'own_cost_nano_usd, litellm_cost_nano_usd';
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
            target, key, names, key_parts, sums, source);
    ELSE
        EXECUTE format('INSERT INTO %1$I (%2$s, %3$s) SELECT %4$s, %5$s FROM %6$s AS s GROUP BY %4$s ORDER BY %4$s',
            target, key, names, key_parts, sums, source);
    END IF;
END $$;

-- Which figure is charged: 'higher' of our own and LiteLLM's, or our 'own'. NULL: 'own' of a price that an admin set,
-- 'higher' of one that was read from LiteLLM.
ALTER TABLE model_prices ADD COLUMN charge text CHECK (charge IN ('higher', 'own'));
DO $$
BEGIN
    EXECUTE format('GRANT INSERT (charge) ON model_prices TO %I', current_setting('litemaas.app_role'));
END $$;
