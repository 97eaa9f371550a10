-- What exports of calls read: the ledger's rows, and the corrections, whose amounts are what they add or take away. Either
-- has its time in `entry_id`: a call when it began, a correction when it was made.

CREATE VIEW usage_entries AS
SELECT request_id AS entry_id, NULL::text AS correction, request_id, started_at, account_id, user_id, api_key_id,
    subscription_id, model_id, model_asked, model_served, endpoint, streamed, status, ending, error_code, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, price_id, own_cost_nano_usd,
    litellm_cost_nano_usd, first_byte_ms, total_ms, estimated, estimated_why
FROM usage_logs
UNION ALL
SELECT id, reason, request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked,
    model_served, endpoint, streamed, status, ending, error_code, sign * prompt_tokens, sign * completion_tokens,
    sign * cached_tokens, sign * cache_write_tokens, sign * reasoning_tokens, sign * cost_nano_usd, price_id,
    sign * own_cost_nano_usd, sign * litellm_cost_nano_usd, first_byte_ms, total_ms, estimated, estimated_why
FROM ledger_corrections;

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON usage_entries TO %I', current_setting('litemaas.app_role'));
END $$;

-- When the transaction began, so that both rows of a correction count in the same quarter of an hour.
CREATE OR REPLACE FUNCTION stamp_correction() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.made_at := date_trunc('milliseconds', now());
    NEW.id := (left(uuid7_floor(NEW.made_at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid;
    RETURN NEW;
END $$;
