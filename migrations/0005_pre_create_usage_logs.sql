-- The ledger: one row a forwarded call. Partitioned by the time inside the UUIDv7, so that the id alone is unique
-- and old months can be dropped whole. No foreign keys: a row outlives what it names.

CREATE TABLE usage_logs (
    request_id              uuid NOT NULL PRIMARY KEY,
    started_at              timestamptz NOT NULL,
    account_id              bigint NOT NULL,
    user_id                 bigint,
    api_key_id              bigint NOT NULL,
    subscription_id         bigint NOT NULL,
    model_id                bigint NOT NULL,
    model_asked             text NOT NULL,
    model_served            text,
    endpoint                text NOT NULL,
    streamed                boolean NOT NULL,
    status                  smallint NOT NULL,
    ending                  text NOT NULL CHECK (ending IN ('completed', 'client_disconnected', 'upstream_error',
                                                            'timeout', 'refused_upstream', 'unreachable')),
    prompt_tokens           bigint NOT NULL,
    completion_tokens       bigint NOT NULL,
    cached_tokens           bigint NOT NULL DEFAULT 0,
    cache_write_tokens      bigint NOT NULL DEFAULT 0,
    reasoning_tokens        bigint NOT NULL DEFAULT 0,
    cost_nano_usd           bigint,                                  -- NULL: the model had no price
    price_id                bigint,
    litellm_cost_nano_usd   bigint,                                  -- NULL: LiteLLM told none
    -- What the windows were charged; seeds and rollups sum these.
    counted_requests        smallint NOT NULL,
    counted_tokens          bigint NOT NULL,
    counted_nano_usd        bigint NOT NULL,
    first_byte_ms           integer,
    total_ms                integer NOT NULL,
    estimated               boolean NOT NULL DEFAULT false,
    estimated_why           text CHECK (estimated_why IN ('reaped', 'no_usage', 'hung_up', 'cut_off')),
    error_code              text,
    CHECK (estimated = (estimated_why IS NOT NULL))
) PARTITION BY RANGE (request_id);
CREATE INDEX usage_logs_key ON usage_logs (api_key_id, request_id DESC);
CREATE INDEX usage_logs_account ON usage_logs (account_id, request_id DESC);

-- The smallest UUIDv7 of a moment: its 48 bits of milliseconds, version 7, all else zero.
CREATE FUNCTION uuid7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

-- Makes the partitions of this month, the one before and `ahead` months after. As the owner, so that the app's
-- role needs no right to make tables.
CREATE FUNCTION ensure_usage_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    month timestamptz; made integer := 0; partition text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    FOR n IN -1..least(greatest(ahead, 0), 24) LOOP
        month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n)) AT TIME ZONE 'UTC';
        partition := 'usage_logs_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMM');
        IF to_regclass(partition) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF usage_logs FOR VALUES FROM (%L) TO (%L)', partition,
                uuid7_floor(month), uuid7_floor((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

-- Drops every partition whose month ended before `before`; returns their names.
CREATE FUNCTION drop_usage_partitions(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    partition text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    FOR partition IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_logs'::regclass ORDER BY c.relname LOOP
        IF (to_date(right(partition, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC' <= before THEN
            EXECUTE format('DROP TABLE %I', partition);
            RETURN NEXT partition;
        END IF;
    END LOOP;
END $$;

SELECT ensure_usage_partitions(3);
