-- The caller's own id of a request, by which they and their admins look for it. The index reads every row once, which is
-- longer than a minute for a hundred million; gateways keep their rows in journals meanwhile.

SET LOCAL statement_timeout = '1h';

ALTER TABLE usage_logs ADD COLUMN client_request_id text;

CREATE INDEX usage_logs_client_request_id ON usage_logs (client_request_id, request_id DESC)
    WHERE client_request_id IS NOT NULL;

ALTER TABLE ledger_corrections ADD COLUMN client_request_id text;
DO $$
BEGIN
    EXECUTE format('GRANT INSERT (client_request_id) ON ledger_corrections TO %I', current_setting('litemaas.app_role'));
END $$;

CREATE OR REPLACE VIEW usage_entries AS
SELECT request_id AS entry_id, NULL::text AS correction, request_id, started_at, account_id, user_id, api_key_id,
    subscription_id, model_id, model_asked, model_served, endpoint, streamed, status, ending, error_code, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, price_id, own_cost_nano_usd,
    litellm_cost_nano_usd, first_byte_ms, total_ms, estimated, estimated_why, client_request_id
FROM usage_logs
UNION ALL
SELECT id, reason, request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked,
    model_served, endpoint, streamed, status, ending, error_code, sign * prompt_tokens, sign * completion_tokens,
    sign * cached_tokens, sign * cache_write_tokens, sign * reasoning_tokens, sign * cost_nano_usd, price_id,
    sign * own_cost_nano_usd, sign * litellm_cost_nano_usd, first_byte_ms, total_ms, estimated, estimated_why,
    client_request_id
FROM ledger_corrections;
