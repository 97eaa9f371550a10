-- What loadtests/usage_bench.py fills an empty database with; a statement a paragraph, as the owner. Heavy users are few:
-- a key's share goes by the cube of a random number, so that the first of 100,000 keys has 2 % of the calls.

---- partitions
DO $$ BEGIN
    FOR n IN 0..{days} / 28 + 1 LOOP
        DECLARE
            month timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => n)) AT TIME ZONE 'UTC';
            name text := 'usage_logs_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMM');
        BEGIN
            IF to_regclass(name) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF usage_logs FOR VALUES FROM (%L) TO (%L)', name,
                    uuid7_floor(month), uuid7_floor((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
            END IF;
        END;
    END LOOP;
END $$;

---- people
INSERT INTO users (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, {users}) AS n;
INSERT INTO accounts (kind, name, owner_user_id, time_zone)
SELECT 'personal', email, id, (ARRAY['UTC', 'Europe/Madrid', 'America/New_York', 'Asia/Kolkata'])[1 + id % 4] FROM users;
INSERT INTO accounts (kind, name) SELECT 'team', 'team ' || n FROM generate_series(1, {teams}) AS n;
INSERT INTO models (name, provider, mode)
SELECT 'model-' || n, (ARRAY['openai', 'anthropic', 'mistral', 'vllm'])[1 + n % 4], 'chat' FROM generate_series(1, 20) AS n;
INSERT INTO api_keys (account_id, user_id, digest, pepper_version, last_four, created_by)
SELECT CASE WHEN n % 5 = 0 THEN {users} + 1 + (n / 5) % {teams} ELSE 1 + n % {users} END, 1 + n % {users},
    sha256(n::text::bytea), 1, lpad((n % 10000)::text, 4, '0'), 'bench'
FROM generate_series(1, {keys}) AS n;
CREATE TABLE bench_keys AS SELECT id, account_id, user_id FROM api_keys ORDER BY id;
ALTER TABLE bench_keys ADD PRIMARY KEY (id);
ANALYZE;

---- rows
WITH calls AS MATERIALIZED (
    SELECT $1::timestamptz + make_interval(secs => 86400 * random()) AS at, 1 + floor({keys} * random() ^ 3)::bigint AS key,
        1 + floor(20 * random() ^ 2)::bigint AS model, random() AS fate, random() AS of_prompt, random() AS of_answer,
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS slow, -- a normal distribution; random_normal() is Postgres 16's
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS quick
    FROM generate_series(1, $2::integer)),
ordered AS (
    SELECT date_trunc('milliseconds', c.at) AS at, c.key, c.model, k.account_id, k.user_id, c.slow, c.quick,
        CASE WHEN fate < 0.955 THEN 'completed' WHEN fate < 0.975 THEN 'client_disconnected'
             WHEN fate < 0.985 THEN 'upstream_error' WHEN fate < 0.992 THEN 'refused_upstream'
             WHEN fate < 0.997 THEN 'timeout' ELSE 'unreachable' END AS ending,
        CASE WHEN fate < 0.985 THEN 200 WHEN fate < 0.990 THEN 429 WHEN fate < 0.992 THEN 400 ELSE 504 END AS status,
        floor(4000 * c.of_prompt ^ 3)::bigint AS prompt, floor(1500 * c.of_answer ^ 2)::bigint AS answer
    FROM calls c JOIN bench_keys k ON k.id = c.key ORDER BY c.at)
INSERT INTO usage_logs (request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked,
    endpoint, streamed, status, ending, prompt_tokens, completion_tokens, cached_tokens, cost_nano_usd,
    counted_requests, counted_tokens, counted_nano_usd, first_byte_ms, total_ms, estimated, estimated_why)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
    at, account_id, user_id, key, 1, model, 'model-' || model, 'chat_completions', true, status, ending, prompt, answer,
    prompt / 3, prompt * 1000 + answer * 2000, 1, prompt + answer, prompt * 1000 + answer * 2000,
    CASE WHEN status = 200 THEN least(exp(6 + 0.8 * quick), 600000)::integer END,
    least(exp(8 + 0.9 * slow), 1800000)::integer,
    ending = 'client_disconnected', CASE ending WHEN 'client_disconnected' THEN 'hung_up' END
FROM ordered;
